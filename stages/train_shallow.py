"""Trains the shallow network on the images, once for each seed."""

from pipeline.datasets import description
from pipeline.image_networks import train_seeds
from pipeline.networks import shallow
from pipeline.params import DatasetName, Schema, Seeds
from pipeline.params.train_shallow import TrainShallow
from pipeline.stage import run


class Params(Schema):
    dataset: DatasetName
    seeds: Seeds
    train_shallow: TrainShallow


def main(params: Params) -> None:
    architecture, settings = shallow(params, description())
    train_seeds("shallow", params.dataset, architecture, settings, params.seeds)


if __name__ == "__main__":
    run(main, Params)
