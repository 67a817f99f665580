"""Deep networks of several sizes."""

from pipeline.params import Architectures, Training


class CompareSizes(Training):
    architectures: Architectures
