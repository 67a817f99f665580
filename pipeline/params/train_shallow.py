"""The shallow network on images."""

from pipeline.params import Training, Units


class TrainShallow(Training):
    hidden: Units
