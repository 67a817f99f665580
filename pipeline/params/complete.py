"""The schema of the whole params.yaml."""

from pipeline.params import DatasetName, Group, HiddenLayers, Seeds, Training
from pipeline.params.compare_learning_rates import CompareLearningRates
from pipeline.params.compare_sizes import CompareSizes
from pipeline.params.evaluate_prices import EvaluatePrices
from pipeline.params.preprocess import Preprocess
from pipeline.params.preprocess_prices import PreprocessPrices
from pipeline.params.train_binary import TrainBinary
from pipeline.params.train_prices import TrainPrices
from pipeline.params.train_shallow import TrainShallow


class Params(Group):
    dataset: DatasetName
    hidden: HiddenLayers
    seeds: Seeds
    preprocess: Preprocess
    train_shallow: TrainShallow
    train_deep: Training
    compare_sizes: CompareSizes
    compare_learning_rates: CompareLearningRates
    preprocess_prices: PreprocessPrices
    train_prices: TrainPrices
    evaluate_prices: EvaluatePrices
    train_binary: TrainBinary
