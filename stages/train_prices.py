"""Trains the shallow and the deep network on house prices, once for each seed, with and without large houses."""

from pathlib import Path

from mlp.house_features import FEATURES
from mlp.spec import Architecture, Settings
from pipeline.files import atomic_output
from pipeline.jobs import train_all
from pipeline.params import Schema, Seeds
from pipeline.params.train_prices import TrainPrices
from pipeline.stage import run
from pipeline.training import prices


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
    jobs = {
        f"{houses}/{name}/seed-{job.seed}.safetensors": job
        for houses in ("all", "without_large")
        for name, architecture in networks.items()
        for job in prices.jobs(houses, architecture, settings, params.seeds)
    }
    trained = train_all("train_prices", list(jobs.values()), "train_prices.learning_rate")
    with atomic_output(Path("models/prices")) as folder:
        for path, each in zip(jobs, trained, strict=True):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(each.network)


if __name__ == "__main__":
    run(main, Params)
