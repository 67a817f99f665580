"""Trains the deep network on the images, once for each seed."""

from pipeline.datasets import description
from pipeline.image_networks import train_seeds
from pipeline.networks import deep
from pipeline.params import DatasetName, HiddenLayers, Schema, Seeds, Training
from pipeline.stage import run


class Params(Schema):
    dataset: DatasetName
    hidden: HiddenLayers
    seeds: Seeds
    train_deep: Training


def main(params: Params) -> None:
    architecture, settings = deep(params, description())
    train_seeds("deep", params.dataset, architecture, settings, params.seeds)


if __name__ == "__main__":
    run(main, Params)
