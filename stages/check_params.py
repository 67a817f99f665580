"""Validates params.yaml, so that a mistake is reported before anything is trained."""

from pipeline.datasets import source
from pipeline.params.complete import Params
from pipeline.stage import run


def main(params: Params) -> None:
    source(params.dataset)


if __name__ == "__main__":
    run(main, Params)
