"""Both networks on house prices."""

from pipeline.params import HiddenLayers, Training, Units


class TrainPrices(Training):
    shallow_hidden: Units
    deep_hidden: HiddenLayers
