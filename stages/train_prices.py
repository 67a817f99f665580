"""Trains the shallow and the deep network to tell house prices, once for each seed, with and without large houses."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from torch import Tensor
from torch.nn.functional import mse_loss

from mlp import ames, artifacts
from mlp.models import DeepNeuralNet, Network, ShallowNeuralNet, initialise
from mlp.params import Params
from mlp.training import Settings, fit
from stages import run, whole
from stages.parallel import epoch_done, run_jobs


def main(params: Params) -> None:
    group = params.train_prices
    inputs = len(ames.FEATURES)
    networks: dict[str, Callable[[], Network]] = {
        "shallow": partial(ShallowNeuralNet, inputs, group.shallow_hidden, 1),
        "deep": partial(DeepNeuralNet, inputs, group.deep_hidden, 1),
    }
    settings = Settings(group.epochs, group.batch_size, group.learning_rate)
    jobs = []
    with whole(Path("models/prices")) as folder:
        for houses in ("all", "without_large"):
            for name, make_network in networks.items():
                output = folder / houses / name
                output.mkdir(parents=True)
                jobs += [
                    (houses, make_network, settings, seed, output / f"seed-{seed}.safetensors") for seed in params.seeds
                ]
        run_jobs("train_prices", _train, jobs, group.epochs)


def _train(houses: str, make_network: Callable[[], Network], settings: Settings, seed: int, output: Path) -> None:
    training = ames.load(Path("data/prices", houses, "train.safetensors"))
    order = partial(ames.batches, training.inputs(), training.targets())
    network = fit(make_network, initialise, order, _loss, settings, seed, lambda *_: epoch_done())
    artifacts.save(network, output, f"ames/{houses}", seed, settings._asdict())


def _loss(network: Network, x: Tensor, targets: Tensor) -> Tensor:
    return mse_loss(network(x).squeeze(1), targets)


if __name__ == "__main__":
    run(main)
