"""Times training, here and in other libraries: an epoch of one network, and all seeds from start to last file.

Everything runs on one core, and the ways of training alternate, so that other load on the machine slows all alike.
Writes benchmarks/training.csv, and from that benchmarks/results.md.
"""

import multiprocessing
import os
import platform
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import pandas as pd
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset
from tqdm import tqdm

from mlp.classification import train
from mlp.errors import InputError
from mlp.evaluation import accuracy
from mlp.images import LabelledImages, load
from mlp.models import build
from mlp.prediction import predict
from mlp.spec import Architecture, Settings
from pipeline.datasets import description
from pipeline.files import write_texts
from pipeline.jobs import start_process
from pipeline.networks import NETWORKS
from pipeline.params.complete import Params
from pipeline.stage import run
from pipeline.tables import csv_text, markdown_table
from pipeline.templates import document

Samples = Dataset[tuple[Tensor, int]]

ROUNDS = 9  # repeats of each way's single epoch
FULL_RUNS = 5  # repeats of each way's training of all seeds
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
}
OURS, PRODUCTS, JAX = "this project", "matrix products", "JAX"
PROCESSED = Path("data/processed")

HEADERS = {
    "ratio": "ratio",
    "seconds": "seconds",
    "compile_seconds": "seconds of compiling",
    "loss": "training loss",
    "accuracy": "test accuracy",
}


class Case(NamedTuple):
    architecture: Architecture
    settings: Settings
    training: LabelledImages
    dataset: str
    raw: Path  # the folder of the data set's raw files


class Timing(NamedTuple):
    seconds: float
    compile_seconds: float | None = None
    loss: float | None = None  # mean cross-entropy over the epoch in nats
    accuracy: float | None = None  # on the test images, mean over the networks


class Row(NamedTuple):
    measured: str  # "epoch" or "full run"
    network: str
    way: str
    run: int
    networks: int  # number trained
    ratio: float  # of the seconds to those of the matrix products (epoch) or of this project (full run)
    timing: Timing


def main(params: Params) -> None:
    for path in (PROCESSED / "train.safetensors", Path("data/raw", params.dataset)):
        if not path.exists():
            raise InputError(f"{path} is missing; `dvc repro preprocess` makes it")
    if find_spec("jax") is None:
        print("JAX is left out; `pip install --require-hashes -r requirements-bench.lock` installs it")
    os.environ.update(ONE_THREAD)  # child processes inherit these, and what `stages` sets
    if sys.platform == "linux":  # otherwise compilers use all cores
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    rows = measure_epochs(params) + measure_full_runs(params)
    header = ["measured", "network", "way", "run", "networks", "ratio", *Timing._fields, "machine", "versions"]
    cells = [(*row[:-1], *row.timing, machine(), versions()) for row in rows]
    write_texts({"benchmarks/training.csv": csv_text(header, cells)})
    text = page(pd.read_csv("benchmarks/training.csv"))
    write_texts({"benchmarks/results.md": text})
    print(text, end="")


def measure_epochs(params: Params) -> list[Row]:
    """Times each way in a new process in each round: its memory layout makes a process faster or slower for its life.

    All start as those of the pipeline do, which exclude imported objects from garbage collection.
    """
    ways, context = epoch_ways(), multiprocessing.get_context("spawn")
    timings: dict[tuple[int, str, str], Timing] = {}
    rounds = [(number, way) for number in range(ROUNDS) for way in ways]
    for number, way in tqdm(rounds, desc="epochs", unit="process"):
        with ProcessPoolExecutor(1, context, start_process) as process:
            for name in NETWORKS:
                timings[number, name, way] = process.submit(time_epoch, way, name, params).result()
    return [
        Row("epoch", name, way, number, 1, timing.seconds / timings[number, name, PRODUCTS].seconds, timing)
        for number, name, way in product(range(ROUNDS), NETWORKS, ways)
        for timing in [timings[number, name, way]]
    ]


def time_epoch(way: str, name: str, params: Params) -> Timing:
    """Times an epoch from random weights, after one that loads libraries and allocates memory."""
    architecture, settings = NETWORKS[name](params, description())
    training = load(PROCESSED / "train.safetensors")
    case = Case(architecture, settings._replace(epochs=1), training, params.dataset, Path("data/raw", params.dataset))
    train_epoch = epoch_ways()[way]
    train_epoch(case)
    return train_epoch(case)


def epoch_ways() -> dict[str, Callable[[Case], Timing]]:
    ways: dict[str, Callable[[Case], Timing]] = {
        OURS: time_ours,
        PRODUCTS: time_products,
        "the usual loop": time_usual_loop,
        "scikit-learn": time_scikit_learn,
    }
    return ways | {f"{JAX}, {dtype}": partial(time_jax, dtype=dtype) for dtype in dtypes()}


def dtypes() -> list[str]:
    """Returns the dtypes to time JAX with: none unless it is installed, as by `make bench`."""
    return ["float64", "float32"] if find_spec("jax") else []


def time_ours(case: Case) -> Timing:
    nothing = case.training._replace(images=case.training.images[:0], labels=case.training.labels[:0])
    start = time.perf_counter()
    _, [[epoch]], _ = train(partial(build, case.architecture), case.training, nothing, case.settings, [0])
    return Timing(time.perf_counter() - start, loss=epoch.training_loss)


def time_usual_loop(case: Case) -> Timing:
    """Times the loop of most tutorials, in float32, on images that are transformed one at a time.

    Setup that is not repeated every epoch is not timed: the imports of torch.optim.Adam alone take a second.
    """
    torch.manual_seed(0)
    layers = [module for shape in shapes(case.architecture) for module in (nn.Linear(*shape), nn.ReLU())]
    network = nn.Sequential(nn.Flatten(), *layers[:-1])
    criterion = nn.CrossEntropyLoss()
    optimiser = torch.optim.Adam(network.parameters(), lr=case.settings.learning_rate)
    n = len(case.training.labels)  # the same number for all ways
    samples = Subset(torchvision_samples(case.dataset, case.raw, case.training), range(n))
    loader = DataLoader(samples, case.settings.batch_size, shuffle=True)
    total = 0.0
    start = time.perf_counter()
    for images, labels in loader:
        optimiser.zero_grad()
        loss = criterion(network(images), labels)
        loss.backward()
        optimiser.step()
        total += loss.item() * len(labels)
    return Timing(time.perf_counter() - start, loss=total / n)


def torchvision_samples(dataset: str, raw: Path, training: LabelledImages) -> Samples:
    """Returns torchvision's data set of the images in `raw`: float32 [1, 28, 28], normalised, each with its label."""
    from torchvision import datasets, transforms  # slow to import

    reader = {"mnist": datasets.MNIST, "fashion_mnist": datasets.FashionMNIST}[dataset]
    normalise = transforms.Normalize((training.mean.item(),), (training.std.item(),))
    with TemporaryDirectory() as root:  # it reads all files at once, from a folder with a fixed name
        folder = Path(root, reader.__name__)
        folder.mkdir()
        (folder / "raw").symlink_to(raw.resolve())
        samples: Samples = reader(root, transform=transforms.Compose([transforms.ToTensor(), normalise]))
    return samples


def time_scikit_learn(case: Case) -> Timing:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    network = MLPClassifier(
        [outputs for _, outputs in shapes(case.architecture)][:-1],
        alpha=0,  # no penalty
        batch_size=case.settings.batch_size,
        learning_rate_init=case.settings.learning_rate,
        max_iter=case.settings.epochs,
        random_state=0,
    )
    x, labels = normalised(case.training).numpy(), case.training.labels.numpy()
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # one epoch does not converge
        network.fit(x, labels)
    return Timing(time.perf_counter() - start, loss=network.loss_)


def time_jax(case: Case, dtype: str) -> Timing:
    from benchmarks import with_jax

    x, labels = normalised(case.training).numpy(), case.training.labels.numpy()
    return Timing(*with_jax.time_epoch(case.architecture, case.settings, x, labels, dtype))


def normalised(images: LabelledImages) -> Tensor:
    """Returns the normalised pixels, float64 [n, pixels]."""
    return (images.images.flatten(1).double() / 255 - images.mean) / images.std


def time_products(case: Case) -> Timing:
    """Times the matrix products of an epoch on one random batch: no data, biases, ReLU, loss or optimiser."""
    weights = [torch.rand(outputs, inputs, dtype=torch.float64) for inputs, outputs in shapes(case.architecture)]
    n, batch_size = len(case.training.labels), case.settings.batch_size
    x = torch.rand(batch_size, weights[0].shape[1], dtype=torch.float64)
    upstream = torch.rand(batch_size, weights[-1].shape[0], dtype=torch.float64)
    start = time.perf_counter()
    for done in range(0, n, batch_size):
        matrix_products(weights, x[: n - done], upstream[: n - done])  # the last batch may be smaller
    return Timing(time.perf_counter() - start)


def matrix_products(weights: list[Tensor], x: Tensor, upstream: Tensor) -> list[Tensor]:
    """Runs bare linear layers forward and backward; returns the weights' gradients, each [outputs, inputs].

    `x` is [b, inputs of the first layer], `upstream` the gradient with respect to the logits, [b, outputs of the last].
    """
    inputs = [x]
    for weight in weights:
        inputs.append(inputs[-1] @ weight.T)
    gradients = []
    for layer in reversed(range(len(weights))):
        gradients.append(upstream.T @ inputs[layer])
        if layer > 0:  # training needs no gradient with respect to the images
            upstream = upstream @ weights[layer]
    return gradients[::-1]


def shapes(architecture: Architecture) -> list[tuple[int, int]]:
    """Returns the numbers of inputs and outputs of each linear layer."""
    layers = (layer for layer in build(architecture).modules() if isinstance(layer, nn.Linear))
    return [(layer.in_features, layer.out_features) for layer in layers]


def measure_full_runs(params: Params) -> list[Row]:
    ways = [OURS, *(f"{JAX}, {dtype}" for dtype in dtypes())]
    rows = []
    with tqdm(total=FULL_RUNS * len(NETWORKS) * len(ways), desc="all seeds", unit="training") as bar:
        for number in range(FULL_RUNS):
            for name in NETWORKS:
                timings = []
                for way in ways:
                    timings.append(time_full_run(way, name, params))
                    bar.update()
                rows += [
                    Row("full run", name, way, number, len(params.seeds), timing.seconds / timings[0].seconds, timing)
                    for way, timing in zip(ways, timings, strict=True)
                ]
    return rows


def time_full_run(way: str, name: str, params: Params) -> Timing:
    """Times the stage, or its JAX counterpart, in a temporary folder, and measures the test accuracy."""
    architecture, _ = NETWORKS[name](params, description())
    network = build(architecture)
    arguments = [f"stages.train_{name}"]
    if way != OURS:
        arguments = ["benchmarks.with_jax", name, way.removeprefix(f"{JAX}, "), *network.state_dict()]
    with TemporaryDirectory() as folder:
        Path(folder, "params.yaml").symlink_to(Path("params.yaml").absolute())
        Path(folder, "data").mkdir()
        Path(folder, "data/processed").symlink_to(PROCESSED.absolute())
        environment = os.environ | {"PYTHONPATH": str(Path.cwd()), "MLP_WORKERS": "1", "TQDM_DISABLE": "1"}
        environment.pop("MLP_DEVICE", None)
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", *arguments], cwd=folder, env=environment, check=True)
        seconds = time.perf_counter() - start
        test = load(PROCESSED / "test.safetensors")
        accuracies = []
        for path in Path(folder, "models", name).iterdir():
            network.load_state_dict(load_file(path))
            accuracies.append(accuracy(predict(network, test.examples()), test.labels))
    return Timing(seconds, accuracy=statistics.mean(accuracies))


def page(rows: pd.DataFrame) -> str:
    """Renders benchmarks/results.md from the rows of benchmarks/training.csv."""
    epochs, full_runs = (rows[rows.measured == measured] for measured in ("epoch", "full run"))
    return document(
        "benchmarks/results.md",
        by="make bench",
        machine=rows.machine[0],
        versions=rows.versions[0],
        epochs=epochs.run.nunique(),
        epoch=medians(epochs, {"ratio": ".2f", "seconds": ".2f", "compile_seconds": ".1f", "loss": ".3f"}),
        networks=full_runs.networks.max(),
        full_runs=full_runs.run.nunique(),
        full_run=medians(full_runs, {"ratio": ".2f", "seconds": ".1f", "accuracy": ".4f"}),
    )


def medians(rows: pd.DataFrame, forms: dict[str, str]) -> str:
    """Returns a table of medians, with a row for each way and network, and a column for each key of `forms`."""
    found = rows.groupby(["network", "way"], sort=False)[list(forms)].median()
    cells = [
        [
            *map(str, index),
            *("" if pd.isna(value) else format(value, form) for value, form in zip(each, forms.values(), strict=True)),
        ]
        for index, each in zip(found.index, found.to_numpy(), strict=True)
    ]
    return markdown_table(["network", "way", *(HEADERS[column] for column in forms)], cells)


def machine() -> str:
    """Returns the name of the processor."""
    try:
        names = [
            line
            for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
            if line.startswith("model name")
        ]
        return names[0].partition(":")[2].strip()
    except (OSError, IndexError):  # only Linux has the file, and not for every processor the line
        return platform.processor() or platform.machine()


def versions() -> str:
    names = {"NumPy": "numpy", "PyTorch": "torch", "scikit-learn": "scikit-learn"} | ({JAX: "jax"} if dtypes() else {})
    return ", ".join(f"{name} {version(package)}" for name, package in names.items())


if __name__ == "__main__":
    run(main, Params)
