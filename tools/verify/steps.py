"""Trains a network of each kind for each seed, in any Python that has torch, NumPy and safetensors.

tools/verify/elsewhere.py sends this module to other Pythons with only mlp and the examples, so it imports nothing else.
"""

import os
import platform
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from mlp.binary import penalised_loss
from mlp.evaluation import probabilities
from mlp.examples import Examples
from mlp.house_features import FEATURES
from mlp.images import LabelledImages
from mlp.models import BinaryShallowNeuralNet, DeepNeuralNet, ShallowNeuralNet
from mlp.on_torch import OnTorch
from mlp.prediction import predict
from mlp.spec import Settings
from mlp.training import Loss, classification_loss, fit, regression_loss

SEEDS = [0, 1]
USUAL = Settings(epochs=100, batch_size=64, learning_rate=0.001)
WILD = Settings(epochs=10, batch_size=128, learning_rate=0.1)  # large enough for products of bytes


class Residual(nn.Module):
    """A network with a residual connection and dropout, which the lecture's networks lack."""

    def __init__(self, n_x: int, n_y: int) -> None:
        super().__init__()
        self.fc1, self.fc2, self.fc3 = nn.Linear(n_x, 32), nn.Linear(32, 32), nn.Linear(32, n_y)
        self.dropout = nn.Dropout(0.2)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.fc1(x.flatten(1)))
        logits: Tensor = self.fc3(x + self.dropout(torch.relu(self.fc2(x))))
        return logits


def main(examples: Path) -> None:
    """Writes to standard output a line with the machine's name, and then all results as a safetensors file."""
    # one as in the pipeline, unless a circumstance sets another: several slow each other down on a busy machine
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 1)))
    results = {
        f"{name}.seed-{seed}.{part}": tensor
        for name, training in trainings(load_file(examples)).items()
        for seed, parts in zip(SEEDS, results_of(*training), strict=True)
        for part, tensor in parts.items()
    }
    sys.stdout.buffer.write(machine().encode() + b"\n" + to_bytes(results))


def trainings(data: dict[str, Tensor]) -> dict[str, tuple[Callable[[], nn.Module], Examples, Loss, Settings]]:
    images = LabelledImages(*(data[name] for name in LabelledImages._fields)).examples()
    prices, above_median = (Examples(data["houses"], data[name]) for name in ("prices", "above_median"))
    pixels, classes = images.inputs.shape[1], int(images.targets.max()) + 1
    shallow = partial(ShallowNeuralNet, pixels, 64, classes)
    deep = partial(DeepNeuralNet, pixels, [80, 40, 20], classes)
    binary_loss = partial(penalised_loss, l1_penalty=0.001)
    return {
        "shallow": (shallow, images, classification_loss, USUAL),
        "deep": (deep, images, classification_loss, USUAL),
        "wild-shallow": (shallow, images, classification_loss, WILD),
        "wild-deep": (deep, images, classification_loss, WILD),
        "ten-layers": (partial(DeepNeuralNet, pixels, [20] * 10, classes), images, classification_loss, USUAL),
        "residual": (partial(Residual, pixels, classes), images, classification_loss, USUAL),
        "prices": (partial(DeepNeuralNet, len(FEATURES), [80, 40, 20], 1), prices, regression_loss, USUAL),
        "binary": (partial(BinaryShallowNeuralNet, len(FEATURES), 8), above_median, binary_loss, USUAL),
    }


def results_of(
    make_network: Callable[[], nn.Module], examples: Examples, loss: Loss, settings: Settings
) -> list[dict[str, Tensor]]:
    """Returns each seed's parameters, losses and predictions. If MLP_DEVICE is set, trains all seeds at once on it."""
    device = os.environ.get("MLP_DEVICE")
    results = []
    for seeds in [SEEDS] if device else [[seed] for seed in SEEDS]:
        epochs: list[list[float]] = []
        networks = fit(
            make_network,
            examples,
            loss,
            settings,
            seeds,
            lambda *done, epochs=epochs: epochs.append(done[2]),
            OnTorch(device) if device else None,
        )
        for network, losses in zip(networks, zip(*epochs, strict=True), strict=True):
            outputs = predict(network, examples)
            parts = network.state_dict() | {"losses": torch.tensor(losses, dtype=torch.float64), "outputs": outputs}
            if loss is classification_loss:
                parts["probabilities"] = probabilities(outputs)
            results.append(parts)
    return results


def machine() -> str:
    instructions, python = torch.backends.cpu.get_cpu_capability(), platform.python_version()
    name = f"{platform.machine()} with {instructions}, Python {python}, torch {torch.__version__}"
    device = os.environ.get("MLP_DEVICE", "cpu")
    return name if device == "cpu" else f"{OnTorch(device).name()}, {name}"
