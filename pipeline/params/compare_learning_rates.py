"""The lecture's deep network at several learning rates."""

from pipeline.params import Count, Group, HiddenLayers, LearningRates, Seeds


class CompareLearningRates(Group):
    hidden: HiddenLayers
    learning_rates: LearningRates
    seeds: Seeds
    epochs: Count
    batch_size: Count
