"""Trains the shallow network, once for each seed."""

from mlp.params import Params
from stages import run
from stages.train import train_seeds


def main(params: Params) -> None:
    train_seeds("shallow", params)


if __name__ == "__main__":
    run(main)
