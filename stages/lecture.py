"""Writes docs/lecture.md with its picture: the lecture's claims, each beside what the pipeline measured."""

import json
import math
import statistics
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from mlp.by_hand import softmax
from mlp.claims import FAILED, HELD, OPEN, one_more_run, verdict_on_number, verdict_on_order
from mlp.params import Params
from stages import run, whole
from stages.charts import LOOK, Chart, svg

SHALLOW_ALONE, SHALLOW, DEEP = 0.9712, 0.9649, 0.9367  # the lecture's test accuracies
# and its losses of single batches in the deep network's first epoch, by step
CURVE = {25: 2.2469, 50: 2.1274, 75: 1.9379, 100: 1.8415, 125: 1.6548, 150: 1.466, 175: 1.2895, 200: 1.1478, 225: 0.991}
LOGITS = np.array([-1, 4, 10, 5, 7, 1, 4, -2, -1, 2]) / 20
SOFTMAX = "0.08089815 0.10387528 0.14021696 0.10920108 0.12068586 0.08940628 0.10387528 0.0769527 0.08089815 0.09399024"

PAGE = """# The lecture's claims, measured

`dvc repro` writes this page from what it measured on {dataset}, so that it cannot go stale: mean ± standard deviation
over seeds. A number of the lecture comes from one run. It held where 95 % of single runs of ours fall around it, after
the t distribution. An order of networks held where [their comparison](comparison.md) shows it, did not hold where that
shows the other order, and cannot be told apart otherwise. Accuracies of the same networks on training and test images
are told apart where the 95 % confidence interval of the mean difference leaves out 0.

{claims}

The shallow network: {shallow}. The deep network: {deep}.

## The deep network's first epoch

![The loss of every 25th step: the lecture's and ours](lecture.svg)

{overfitting}

## Sizes

{sizes}

Deep networks, {size_settings}.

## Where the lecture's systems are

| in the lecture | here |
|---|---|
| `ShallowNeuralNet`, `DeepNeuralNet`, `DenseReLU`, `DenseNoReLU` | [mlp/models.py](../mlp/models.py) |
| MNIST and FashionMNIST | [mlp/datasets.py](../mlp/datasets.py) |
| `AmesHousingDataset` | [mlp/ames.py](../mlp/ames.py) |
| `ShallowNeuralNet_PT`, named `BinaryShallowNeuralNet` | [mlp/models.py](../mlp/models.py) |
| softmax and cross-entropy by hand | [mlp/by_hand.py](../mlp/by_hand.py) |
"""


class Claim(NamedTuple):
    claim: str
    lecture: str
    here: str
    verdict: str
    reason: str


def main(params: Params) -> None:
    networks, sizes = pd.read_csv("metrics/networks.csv"), pd.read_csv("plots/sizes.csv", dtype={"hidden": str})
    shown = json.loads(Path("metrics/evaluation.json").read_text())["comparison"]["verdict"]
    folder = Path("plots/learning_rates")
    curves, rates = pd.read_csv(folder / "first_epoch.csv"), pd.read_csv(folder / "accuracy.csv")
    shallow, deep = (networks.accuracy[networks.network == name].tolist() for name in ("shallow", "deep"))
    overfitting, what_follows = about_overfitting(curves, rates)
    agrees = verdict_on_number(SHALLOW_ALONE, shallow) == HELD
    other_settings = f"; {SHALLOW_ALONE} lies in it, so the lecture's two runs hardly had the same settings" * agrees
    claims = [
        about_number("Test accuracy of the shallow network", SHALLOW_ALONE, shallow),
        about_number("The same, where the lecture sets it beside the deep one", SHALLOW, shallow, other_settings),
        about_number("Test accuracy of the deep network", DEEP, deep, "; for the reason see the learning rates"),
        *(
            about_number(f"The same at learning rate {rate:g}, on all training images", DEEP, of.test_accuracy.tolist())
            for rate, of in by_rate(rates)
        ),
        *(about_curve(rate, curves[curves.learning_rate == rate]) for rate, _ in by_rate(rates)),
        about_order(shallow, deep, shown),
        overfitting,
        about_smallest(sizes, pd.read_csv("plots/size_comparisons.csv", dtype={"first": str, "second": str})),
        *about_constants(),
    ]
    if params.dataset != "mnist":
        claims = [claim._replace(verdict="not asked, the lecture's images are MNIST's", reason="") for claim in claims]
        what_follows = "The lecture's curve is of MNIST: nothing follows from it here."
    first, second, third = params.train_shallow, params.train_deep, params.compare_sizes
    page = PAGE.format(
        dataset=params.dataset,
        claims=table(["claim", "lecture", "here", "verdict", "why"], claims),
        shallow=f"{first.hidden} hidden units, {settings(first.epochs, first.batch_size, first.learning_rate)}",
        deep=f"{params.hidden} hidden units, {settings(second.epochs, second.batch_size, second.learning_rate)}",
        overfitting=what_follows,
        sizes=table(["hidden layers", "parameters", "validation accuracy", "test accuracy"], size_rows(sizes)),
        size_settings=settings(third.epochs, third.batch_size, third.learning_rate),
    )
    with whole(Path("docs/lecture.svg")) as file:
        file.write_text(svg(picture(curves), LOOK))
    with whole(Path("docs/lecture.md")) as file:
        file.write_text(page)


def by_rate(table: pd.DataFrame) -> Iterator[tuple[float, pd.DataFrame]]:
    for rate in table.learning_rate.unique():
        yield float(rate), table[table.learning_rate == rate]


def about_number(claim: str, claimed: float, ours: list[float], differs: str = "") -> Claim:
    verdict = verdict_on_number(claimed, ours)
    low, high = one_more_run(ours)
    reason = f"95 % of single runs: {low:.4f} to {high:.4f}" if len(ours) > 1 else "one seed has no spread"
    return Claim(claim, f"{claimed:.4f}", spread(ours), verdict, reason + differs * (verdict == FAILED))


def about_curve(rate: float, curve: pd.DataFrame) -> Claim:
    """All printed losses of the first epoch at once: held if each fits, of the steps that there are."""
    losses = {step: curve.training_loss[curve.step == step].tolist() for step in CURVE if step in curve.step.tolist()}
    verdicts = [verdict_on_number(CURVE[step], ours, at_once=len(losses)) for step, ours in losses.items()]
    verdict = next((each for each in (FAILED, OPEN) if each in verdicts), HELD if verdicts else OPEN)
    return Claim(
        f"Losses of the deep network's first epoch, at learning rate {rate:g}",
        " ".join(f"{CURVE[step]:.4f}" for step in losses),
        " ".join(f"{statistics.mean(ours):.4f}" for ours in losses.values()),
        verdict,
        f"{verdicts.count(HELD)} of {len(verdicts)} fall where ours do, in 95 % of runs all at once",
    )


def about_order(shallow: list[float], deep: list[float], shown: str) -> Claim:
    differences = [a - b for a, b in zip(shallow, deep, strict=True)]
    verdict = {"shallow is better": HELD, "deep is better": FAILED}.get(shown, OPEN)
    return Claim(
        "The shallow network is better than the deep one",
        f"by {SHALLOW - DEEP:.4f}",
        f"by {spread(differences)}",
        verdict,
        "test accuracy, each with its own settings",
    )


def about_overfitting(curves: pd.DataFrame, rates: pd.DataFrame) -> tuple[Claim, str]:
    """The claim, and what follows from the curves.

    A network overfits if it is better on training images than on others. It does not if another learning rate makes
    it better on test images than it is on its own training images: then it is trained too little.
    """
    means = curves[curves.step.isin(list(CURVE))].groupby(["learning_rate", "step"]).training_loss.mean().unstack()
    distances = means.sub(pd.Series(CURVE)).pow(2).mean(axis=1)
    nearest = distances.idxmin() if len(distances) else rates.learning_rate[0]
    best = rates.groupby("learning_rate").training_accuracy.mean().idxmax()  # test images choose nothing
    its, others = (rates[rates.learning_rate == rate] for rate in (nearest, best))
    training, test, most = its.training_accuracy.tolist(), its.test_accuracy.tolist(), others.test_accuracy.tolist()
    verdict = verdict_on_order(training, test)
    text = (
        f"Learning rate {nearest:g} comes nearest to the lecture's curve. After the last epoch it gives a training "
        f"accuracy of {statistics.mean(training):.4f} and a test accuracy of {statistics.mean(test):.4f}."
    )
    if verdict_on_order(most, training) == HELD:
        verdict = FAILED
        text += (
            f" Learning rate {best:g} gives {statistics.mean(most):.4f} on the test images.\nSo the network of the "
            "lecture's curve does not overfit: even on the images that it trained on it stays below that.\n"
            "It is trained too little."
        )
    gap = [a - b for a, b in zip(training, test, strict=True)]
    claim = "The deep network is overfitting: training accuracy above test accuracy"
    return Claim(claim, f"test accuracy {DEEP:.4f}", f"by {spread(gap)}", verdict, "what follows from the curves"), text


def about_smallest(sizes: pd.DataFrame, comparisons: pd.DataFrame) -> Claim:
    smallest, *others = sizes.sort_values("parameters", kind="stable").hidden.unique().tolist()
    verdicts = comparisons.verdict[(comparisons["first"] == smallest) | (comparisons["second"] == smallest)]
    wins = int((verdicts == f"{smallest} is better").sum())
    losses = int(verdicts.str.endswith("is better").sum()) - wins
    return Claim(
        "The smallest of the sizes has the highest test accuracy",
        smallest,
        spread(sizes.test_accuracy[sizes.hidden == smallest].tolist()),
        FAILED if losses else HELD if others and wins == len(others) else OPEN,
        f"shown to be better than {wins} and worse than {losses} of {len(others)}",
    )


def about_constants() -> Iterator[Claim]:
    """What was counted or computed, from all training images."""
    images = json.loads(Path("data/processed/all.json").read_text())
    result = " ".join(f"{value:.8f}".rstrip("0") for value in softmax(LOGITS))
    for claim, lecture, here in [
        ("Steps of an epoch at batch size 64", "938", str(math.ceil(images["images"] / 64))),
        ("Steps of an epoch at batch size 256", "235", str(math.ceil(images["images"] / 256))),
        ("Mean of the training pixels", "0.1307", f"{images['mean']:.4f}"),
        ("Standard deviation of the training pixels", "0.3081", f"{images['std']:.4f}"),
        ("Softmax of [-1, 4, 10, 5, 7, 1, 4, -2, -1, 2] / 20", SOFTMAX, result),
    ]:
        yield Claim(claim, lecture, here, HELD if here == lecture else FAILED, "")


def size_rows(sizes: pd.DataFrame) -> Iterator[Sequence[str]]:
    for hidden in sizes.hidden.unique().tolist():
        of = sizes[sizes.hidden == hidden]
        validation = of.validation_accuracy.dropna().tolist()
        yield hidden, f"{of.parameters.iloc[0]:,}", spread(validation), spread(of.test_accuracy.tolist())


def spread(values: list[float]) -> str:
    if len(values) < 2:
        return f"{values[0]:.4f} (1 seed)" if values else "not measured"
    return f"{statistics.mean(values):.4f} ± {statistics.stdev(values):.4f} ({len(values)} seeds)"


def settings(epochs: int, batch_size: int, learning_rate: float) -> str:
    return f"{epochs} epochs, batch size {batch_size}, learning rate {learning_rate:g}"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def picture(curves: pd.DataFrame) -> Chart:
    """A Vega-Lite chart of the first epoch: each seed thin, their mean thick, the lecture's losses as points."""
    lecture = [{"step": step, "training_loss": loss, "of": "the lecture"} for step, loss in CURVE.items()]
    ours = curves.assign(of=[f"learning rate {rate:g}" for rate in curves.learning_rate])
    axes = {
        "x": {"field": "step", "type": "quantitative", "title": "step of the first epoch"},
        "color": {"field": "of", "type": "nominal", "sort": None, "legend": {"title": None, "symbolOpacity": 1}},
    }
    loss = {"field": "training_loss", "type": "quantitative", "title": "cross-entropy of the batch (nats)"}
    return {
        "data": {"values": lecture + ours.to_dict("records")},
        "width": 560,
        "height": 320,
        "encoding": axes,
        "layer": [
            {
                "transform": [{"filter": "datum.of != 'the lecture'"}],
                "mark": {"type": "line", "strokeWidth": 1, "opacity": 0.4},
                "encoding": {"y": loss, "detail": {"field": "seed"}},
            },
            {
                "transform": [{"filter": "datum.of != 'the lecture'"}],
                "mark": {"type": "line", "strokeWidth": 3},
                "encoding": {"y": loss | {"aggregate": "mean"}},
            },
            {
                "transform": [{"filter": "datum.of == 'the lecture'"}],
                "mark": {"type": "point", "filled": True, "size": 70},
                "encoding": {"y": loss},
            },
        ],
    }


if __name__ == "__main__":
    run(main)
