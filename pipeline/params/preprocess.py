"""How the training images are split."""

from pipeline.params import Group, Seed, Size


class Preprocess(Group):
    validation_size: Size
    seed: Seed
