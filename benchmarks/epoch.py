"""Times one epoch of each network: this project's training, the same in float32, the usual loop, the bare products.

Everything runs on one thread, and the ways take turns, so that whatever else the machine does slows all alike.
"""

import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import torch
from numpy.random import SeedSequence
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset, Subset
from tqdm import tqdm

from mlp.datasets import CLASSES, PIXELS, LabelledImages, load
from mlp.errors import InputError
from mlp.models import DeepNeuralNet, Network, ShallowNeuralNet, initialise
from mlp.params import Params
from mlp.training import Epoch, Settings, adam_step, train
from stages import run, write_csv

Samples = Dataset[tuple[Tensor, int]]


class Case(NamedTuple):
    make_network: Callable[[], Network]
    settings: Settings

    def shapes(self) -> list[tuple[int, int]]:
        """Inputs and outputs of each linear layer."""
        layers = (layer for layer in self.make_network().modules() if isinstance(layer, nn.Linear))
        return [(layer.in_features, layer.out_features) for layer in layers]


class Timing(NamedTuple):
    seconds: float  # wall-clock time of one epoch
    loss: float | None = None  # mean cross-entropy over the epoch in nats, where there is one


def main(params: Params) -> None:
    processed, raw = Path("data/processed/train.safetensors"), Path("data/raw", params.dataset)
    for path in (processed, raw):
        if not path.exists():
            raise InputError(f"{path} is missing; `dvc repro preprocess` makes it")
    training, shallow, deep = load(processed), params.train_shallow, params.train_deep
    cases = {
        "shallow": Case(
            partial(ShallowNeuralNet, PIXELS, shallow.hidden, CLASSES),
            Settings(1, shallow.batch_size, shallow.learning_rate),
        ),
        "deep": Case(
            partial(DeepNeuralNet, PIXELS, params.hidden, CLASSES),
            Settings(1, deep.batch_size, deep.learning_rate),
        ),
    }
    timings = measure(cases, training, torchvision_samples(params.dataset, raw, training))
    print(f"Median seconds of an epoch of {len(training.labels)} images, one thread, torch {torch.__version__}")
    print(f"{'':8}{'ours':>8}{'float32':>9}{'naive':>8}{'products':>10}")
    rows = []
    for name in cases:
        ways = ("ours", "float32", "naive", "products")
        ours, float32, naive, products = (median_seconds(timings[name, way]) for way in ways)
        print(f"{name:8}{ours:8.2f}{float32:9.2f}{naive:8.2f}{products:10.2f}")
        rows.append([name, *(f"{ratio:.2f}" for ratio in (naive / ours, ours / float32, ours / products))])
    # ratios carry over to other machines, seconds do not
    header = ["network", "naive_over_ours", "ours_over_float32", "ours_over_products"]
    write_csv(Path("benchmarks/epoch.csv"), header, rows)
    print(Path("benchmarks/epoch.csv").read_text(), end="")


def measure(
    cases: dict[str, Case], training: LabelledImages, samples: Samples, repeats: int = 3
) -> dict[tuple[str, str], list[Timing]]:
    """Times each case in each way, `repeats` times; the usual loop reads the first of `samples`, as many images."""
    torch.set_num_threads(1)
    n = len(training.labels)
    ways: dict[str, Callable[[Case], Timing]] = {
        "ours": partial(time_ours, training=training),
        "float32": partial(time_float32, training=training),
        "naive": partial(time_naive, samples=Subset(samples, range(n))),
        "products": partial(time_products, n=n),
    }
    timings: dict[tuple[str, str], list[Timing]] = {(name, way): [] for name in cases for way in ways}
    for name, way in tqdm(list(timings) * repeats, desc="benchmark", unit="epoch"):
        timings[name, way].append(ways[way](cases[name]))
    return timings


def median_seconds(timings: list[Timing]) -> float:
    return statistics.median(timing.seconds for timing in timings)


def time_ours(case: Case, training: LabelledImages) -> Timing:
    validation = training._replace(images=training.images[:0], labels=training.labels[:0])
    curve: list[Epoch] = []
    start = time.perf_counter()
    train(case.make_network, training, validation, case.settings, 0, curve.append)
    return Timing(time.perf_counter() - start, curve[0].training_loss)


def time_float32(case: Case, training: LabelledImages) -> Timing:
    """Our training in float32: the same first weights but for their last bits, the same batches and steps."""
    n, pixels, total = len(training.labels), training.images.flatten(1), torch.zeros(())
    start = time.perf_counter()
    seeds = SeedSequence(0).generate_state(2, np.uint64).tolist()
    order, weights = (torch.Generator().manual_seed(each) for each in seeds)
    network = case.make_network()
    initialise(network, weights)
    step = adam_step(list(network.parameters()), case.settings.learning_rate, case.settings.betas)
    for chosen in torch.split(torch.randperm(n, generator=order), case.settings.batch_size):
        x = pixels.index_select(0, chosen).float().div_(255).sub_(training.mean).div_(training.std)
        labels = training.labels.index_select(0, chosen)
        loss = cross_entropy(network(x), labels)
        step(loss)
        total += loss.detach() * len(labels)
    return Timing(time.perf_counter() - start, total.item() / n)


def time_naive(case: Case, samples: Subset[tuple[Tensor, int]]) -> Timing:
    """The loop of most tutorials, in float32, on images that are transformed one at a time.

    What happens once and not in every epoch stays off the clock: torch.optim.Adam alone imports for a second.
    """
    torch.manual_seed(0)
    layers = [module for shape in case.shapes() for module in (nn.Linear(*shape), nn.ReLU())]
    network = nn.Sequential(nn.Flatten(), *layers[:-1])
    criterion = nn.CrossEntropyLoss()
    optimiser = torch.optim.Adam(network.parameters(), lr=case.settings.learning_rate)
    loader = DataLoader(samples, case.settings.batch_size, shuffle=True)
    total = 0.0
    start = time.perf_counter()
    for images, labels in loader:
        optimiser.zero_grad()
        loss = criterion(network(images), labels)
        loss.backward()
        optimiser.step()
        total += loss.item() * len(labels)
    return Timing(time.perf_counter() - start, total / len(samples))


def torchvision_samples(dataset: str, raw: Path, training: LabelledImages) -> Samples:
    """The training images in `raw` as torchvision gives them: float32 [1, 28, 28], normalised, each with its label."""
    from torchvision import datasets, transforms  # slow to import

    reader = {"mnist": datasets.MNIST, "fashion_mnist": datasets.FashionMNIST}[dataset]
    normalise = transforms.Normalize((training.mean.item(),), (training.std.item(),))
    with TemporaryDirectory() as root:  # it reads everything at once, from a folder of its own choice
        folder = Path(root, reader.__name__)
        folder.mkdir()
        (folder / "raw").symlink_to(raw.resolve())
        samples: Samples = reader(root, transform=transforms.Compose([transforms.ToTensor(), normalise]))
    return samples


def time_products(case: Case, n: int) -> Timing:
    """The matrix products of an epoch on a ready-made batch: no data, biases, ReLU, loss or optimiser."""
    weights = [torch.rand(outputs, inputs, dtype=torch.float64) for inputs, outputs in case.shapes()]
    batch_size = case.settings.batch_size
    x = torch.rand(batch_size, weights[0].shape[1], dtype=torch.float64)
    upstream = torch.rand(batch_size, weights[-1].shape[0], dtype=torch.float64)
    start = time.perf_counter()
    for done in range(0, n, batch_size):
        matrix_products(weights, x[: n - done], upstream[: n - done])  # the last batch may be smaller
    return Timing(time.perf_counter() - start)


def matrix_products(weights: list[Tensor], x: Tensor, upstream: Tensor) -> list[Tensor]:
    """Forward and backward through bare linear layers; returns the weights' gradients, each [outputs, inputs].

    `x` is [b, inputs of the first layer], `upstream` the loss's gradient by the logits, [b, outputs of the last].
    """
    inputs = [x]
    for weight in weights:
        inputs.append(inputs[-1] @ weight.T)
    gradients = []
    for layer in reversed(range(len(weights))):
        gradients.append(upstream.T @ inputs[layer])
        if layer > 0:  # training needs no gradient by the images
            upstream = upstream @ weights[layer]
    return gradients[::-1]


if __name__ == "__main__":
    run(main)
