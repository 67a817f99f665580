"""The validation split of the training images."""

from pipeline.params import Group, Seed, Size


class Preprocess(Group):
    validation_size: Size
    seed: Seed
