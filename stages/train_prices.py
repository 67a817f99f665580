"""Trains the shallow and the deep network on house prices, once for each seed, with and without large houses."""

from pathlib import Path

from mlp.house_features import FEATURES
from mlp.spec import Architecture, Settings
from pipeline.files import atomic_output
from pipeline.jobs import engine, epoch_done, run_jobs, seeds_of_jobs
from pipeline.params import Schema, Seeds
from pipeline.params.train_prices import TrainPrices
from pipeline.stage import run


class Params(Schema):
    seeds: Seeds
    train_prices: TrainPrices


def main(params: Params) -> None:
    group = params.train_prices
    networks = {
        "shallow": Architecture("ShallowNeuralNet", [len(FEATURES), group.shallow_hidden, 1]),
        "deep": Architecture("DeepNeuralNet", [len(FEATURES), group.deep_hidden, 1]),
    }
    settings = Settings(group.epochs, group.batch_size, group.learning_rate)
    jobs = []
    with atomic_output(Path("models/prices")) as folder:
        for houses in ("all", "without_large"):
            for name, architecture in networks.items():
                output = folder / houses / name
                output.mkdir(parents=True)
                jobs += [(houses, architecture, settings, seeds, output) for seeds in seeds_of_jobs(params.seeds)]
        total = 2 * len(networks) * len(params.seeds) * settings.epochs
        run_jobs("train_prices", _train, jobs, total, "train_prices.learning_rate")


def _train(houses: str, architecture: Architecture, settings: Settings, seeds: list[int], folder: Path) -> list[None]:
    from functools import partial  # torch takes two seconds, and only workers need it

    from mlp import ames, checkpoints
    from mlp.models import build
    from mlp.training import fit, regression_loss

    examples = ames.load(Path("data/prices", houses, "train.safetensors")).examples()
    make_network = partial(build, architecture)
    networks = fit(
        make_network, examples, regression_loss, settings, seeds, lambda *_: epoch_done(len(seeds)), engine()
    )
    for network, seed in zip(networks, seeds, strict=True):
        output = folder / f"seed-{seed}.safetensors"
        checkpoints.save(network, architecture, output, f"ames/{houses}", seed, settings._asdict())
    return []


if __name__ == "__main__":
    run(main, Params)
