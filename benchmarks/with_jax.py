"""Trains the same networks in JAX, which compiles a whole epoch. JAX is in requirements-bench.lock.

As a command, trains a network for each seed of params.yaml and saves it, as the stages do, but without PyTorch:

    python -m benchmarks.with_jax NETWORK DTYPE NAMES_OF_PARAMETERS...
"""

# mypy: disable-error-code="import-not-found, no-untyped-call"
# the type check runs without JAX

import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from safetensors.numpy import load_file, save_file

from mlp.spec import Architecture, Settings
from pipeline.datasets import description
from pipeline.networks import NETWORKS
from pipeline.params import load
from pipeline.params.complete import Params

jax.config.update("jax_enable_x64", True)  # otherwise float64 becomes float32

Array = Any
Layers = list[tuple[Array, Array]]  # weights [inputs, outputs] and biases [outputs]


class State(NamedTuple):
    layers: Layers
    first: Layers  # Adam's first and second moments
    second: Layers
    steps: Array


def begin(architecture: Architecture, dtype: str, generator: np.random.Generator) -> State:
    """Draws the initial parameters from U(-1/sqrt(fan_in), 1/sqrt(fan_in)), as nn.Linear does."""
    sizes = np.hstack(architecture.arguments).tolist()
    layers = [
        (
            jnp.asarray(generator.uniform(-1, 1, (n_x, n_y)) / n_x**0.5, dtype),
            jnp.asarray(generator.uniform(-1, 1, n_y) / n_x**0.5, dtype),
        )
        for n_x, n_y in pairwise(sizes)
    ]
    zeros = jax.tree.map(jnp.zeros_like, layers)
    return State(layers, zeros, zeros, jnp.zeros((), dtype))


def logits(layers: Layers, x: Array) -> Array:
    *hidden, (weights, biases) = layers
    for w, b in hidden:
        x = jax.nn.relu(x @ w + b)
    return x @ weights + biases


def cross_entropy(layers: Layers, x: Array, labels: Array) -> Array:
    found = jax.nn.log_softmax(logits(layers, x))
    return -jnp.take_along_axis(found, labels[:, None], axis=1).mean()


def epoch(settings: Settings, state: State, x: Array, labels: Array, order: Array) -> tuple[State, Array]:
    """Trains on all images in the given order; returns the new state and the mean loss."""
    beta1, beta2 = settings.betas

    def step(state: State, chosen: Array) -> tuple[State, Array]:
        loss, gradients = jax.value_and_grad(cross_entropy)(state.layers, x[chosen], labels[chosen])
        steps = state.steps + 1
        first = jax.tree.map(lambda m, g: beta1 * m + (1 - beta1) * g, state.first, gradients)
        second = jax.tree.map(lambda v, g: beta2 * v + (1 - beta2) * g * g, state.second, gradients)
        rate, root = settings.learning_rate / (1 - beta1**steps), jnp.sqrt(1 - beta2**steps)
        layers = jax.tree.map(lambda w, m, v: w - rate * m / (jnp.sqrt(v) / root + 1e-8), state.layers, first, second)
        return State(layers, first, second, steps), loss * len(chosen)

    whole = len(order) - len(order) % settings.batch_size
    state, losses = jax.lax.scan(step, state, order[:whole].reshape(-1, settings.batch_size))
    total = losses.sum()
    if whole < len(order):
        state, loss = step(state, order[whole:])
        total += loss
    return state, total / len(order)


def time_epoch(
    architecture: Architecture, settings: Settings, x: Array, labels: Array, dtype: str
) -> tuple[float, float, float]:
    """Returns the seconds of an epoch, the seconds to compile it, and its loss. `x`: normalised pixels, [n, pixels]."""
    generator = np.random.default_rng(0)
    state = begin(architecture, dtype, generator)
    given = state, jnp.asarray(x, dtype), jnp.asarray(labels), jnp.asarray(generator.permutation(len(labels)))
    start = time.perf_counter()
    compiled = jax.jit(partial(epoch, settings)).lower(*given).compile()
    compiling = time.perf_counter() - start
    start = time.perf_counter()
    _, loss = compiled(*given)
    loss.block_until_ready()
    return time.perf_counter() - start, compiling, float(loss)


def main(name: str, dtype: str, names: Sequence[str]) -> None:
    params = load(Params)
    architecture, settings = NETWORKS[name](params, description())
    x, labels = images("train", dtype)
    validation = images("validation", dtype)
    run: Callable[..., tuple[State, Array]] = jax.jit(partial(epoch, settings))
    validate = jax.jit(lambda layers: (cross_entropy(layers, *validation), accuracy(layers, *validation)))
    curves = []
    folder = Path("models", name)
    folder.mkdir(parents=True)
    for seed in params.seeds:
        generator = np.random.default_rng(seed)
        state = begin(architecture, dtype, generator)
        for _ in range(settings.epochs):
            state, loss = run(state, x, labels, generator.permutation(len(labels)))
            curves.append([float(loss), *map(float, validate(state.layers))])
        arrays = [np.ascontiguousarray(each.T) for layer in state.layers for each in layer]
        save_file(dict(zip(names, arrays, strict=True)), folder / f"seed-{seed}.safetensors")
    np.savetxt("curves.csv", curves, delimiter=",")


def images(part: str, dtype: str) -> tuple[Array, Array]:
    """Reads the images of a split: normalised pixels, [n, pixels], and labels."""
    stored = load_file(f"data/processed/{part}.safetensors")
    pixels = stored["images"].reshape(len(stored["labels"]), -1) / np.asarray(255, dtype)
    return jnp.asarray((pixels - stored["mean"]) / stored["std"], dtype), jnp.asarray(stored["labels"])


def accuracy(layers: Layers, x: Array, labels: Array) -> Array:
    return (logits(layers, x).argmax(axis=1) == labels).mean()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
