"""Writes docs/lecture.md with its picture, and plots/claims.csv: the lecture's claims and the measured results."""

import math
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from mlp.claims import FAILED, HELD, OPEN, prediction_interval, verdict_on_number, verdict_on_order
from mlp.errors import reading
from mlp.formulas import softmax
from pipeline.charts import LOOK, Chart, svg
from pipeline.datasets import description
from pipeline.files import read_json, write_texts
from pipeline.params import DatasetName, HiddenLayers, Schema, Training
from pipeline.params.compare_learning_rates import CompareLearningRates
from pipeline.params.compare_sizes import CompareSizes
from pipeline.params.train_shallow import TrainShallow
from pipeline.results import OF_NETWORKS, OF_SIZES, Columns, Evaluation, over_seeds, read_csv, seeds_alike
from pipeline.stage import run
from pipeline.tables import csv_text, markdown_table, mean_and_std
from pipeline.templates import render

SHALLOW_ALONE, SHALLOW, DEEP = 0.9712, 0.9649, 0.9367  # the lecture's test accuracies
# the lecture's losses of single batches in the deep network's first epoch, by step
CURVE = {25: 2.2469, 50: 2.1274, 75: 1.9379, 100: 1.8415, 125: 1.6548, 150: 1.466, 175: 1.2895, 200: 1.1478, 225: 0.991}
LOGITS = np.array([-1, 4, 10, 5, 7, 1, 4, -2, -1, 2]) / 20
# claims are judged only with these settings
SETTINGS = {
    "shallow": "64 hidden units, 5 epochs, batch size 64, learning rate 0.001",
    "deep": "[80, 40, 20] hidden units, 10 epochs, batch size 256, learning rate 0.001",
}
RATES_SETTINGS = ([80, 40, 20], 10, 256)  # hidden units, epochs and batch size
NOT_JUDGED = "not judged"
SOFTMAX = "0.08089815 0.10387528 0.14021696 0.10920108 0.12068586 0.08940628 0.10387528 0.0769527 0.08089815 0.09399024"


class Params(Schema):
    dataset: DatasetName
    hidden: HiddenLayers
    train_shallow: TrainShallow
    train_deep: Training
    compare_sizes: CompareSizes
    compare_learning_rates: CompareLearningRates


class Claim(NamedTuple):
    claim: str
    lecture: str
    here: str
    verdict: str
    reason: str


def main(params: Params) -> None:
    networks, sizes = read_csv("metrics/networks.csv", OF_NETWORKS), read_csv("plots/sizes.csv", OF_SIZES)
    pairs = read_csv("plots/size_comparisons.csv", Columns("first second verdict"), may_be_empty=True)
    shown = read_json(Evaluation, Path("metrics/evaluation.json")).comparison.verdict
    losses = Columns(integers="seed step", numbers="learning_rate training_loss")
    curves = read_csv("plots/learning_rates/first_epoch.csv", losses, may_be_empty=True)
    accuracies = Columns(integers="seed", numbers="learning_rate training_accuracy test_accuracy")
    rates = read_csv("plots/learning_rates/accuracy.csv", accuracies)
    with reading(Path("metrics/networks.csv")):
        shallow, deep = seeds_alike(networks, "network", "accuracy", ["shallow", "deep"])
    with reading(Path("plots/sizes.csv")):
        seeds_alike(sizes, "hidden", "test_accuracy", sizes.hidden.unique())
    with reading(Path("plots/learning_rates")):
        seeds_alike(rates, "learning_rate", "test_accuracy", {*rates.learning_rate, *curves.learning_rate})
    overfitting, what_follows = about_overfitting(curves, rates)
    agrees = verdict_on_number(SHALLOW_ALONE, shallow) == HELD
    other_settings = (
        f"; {SHALLOW_ALONE} lies in it, so the two runs of the lecture probably had different settings" * agrees
    )
    used = {
        "shallow": f"{params.train_shallow.hidden} hidden units, {training(params.train_shallow)}",
        "deep": f"{params.hidden} hidden units, {training(params.train_deep)}",
    }
    group = params.compare_learning_rates
    as_in_lecture = {name: text == SETTINGS[name] for name, text in used.items()} | {
        "rates": (group.hidden, group.epochs, group.batch_size) == RATES_SETTINGS,
        "both": used == SETTINGS,
        "any": True,
    }
    about = [
        ("shallow", about_number("Test accuracy of the shallow network", SHALLOW_ALONE, shallow)),
        (
            "shallow",
            about_number("The same, in its comparison with the deep one", SHALLOW, shallow, other_settings),
        ),
        (
            "deep",
            about_number("Test accuracy of the deep network", DEEP, deep, "; for the reason see the learning rates"),
        ),
        *(
            ("rates", about_number(f"The same at learning rate {rate}, on all training images", DEEP, accuracies))
            for rate, accuracies in rates.groupby("learning_rate", sort=False).test_accuracy.agg(list).items()
        ),
        *(
            ("rates", about_curve(rate, curves[curves.learning_rate == rate]))
            for rate in curves.learning_rate.unique().tolist()
        ),
        ("both", about_order(shallow, deep, shown)),
        ("rates", overfitting),
        ("any", about_smallest(sizes, pairs)),
        *(("any", claim) for claim in about_constants()),
    ]
    is_mnist = params.dataset == "mnist"
    claims = [
        claim
        if is_mnist and as_in_lecture[settings]
        else claim._replace(verdict=NOT_JUDGED, reason="other settings" if is_mnist else "other images")
        for settings, claim in about
    ]
    if not (is_mnist and as_in_lecture["rates"]):
        what_follows = "The lecture's curve comes from MNIST and other settings, so nothing follows from it here."
    size_rows = [
        [row["hidden"], f"{row['parameters']:,}", row["validation_accuracy"], row["test_accuracy"], row["standing"]]
        for row in over_seeds(sizes[::-1], "hidden", validation_accuracy=".4f", test_accuracy=".4f")
    ]
    page = render(
        "lecture.md",
        dataset=description().title,
        claims=markdown_table(["claim", "lecture", "here", "verdict", "why"], claims),
        shallow=used["shallow"],
        deep=used["deep"],
        overfitting=what_follows,
        sizes=markdown_table(
            ["hidden layers", "parameters", "validation accuracy", "test accuracy", "standing"], size_rows
        ),
        size_settings=training(params.compare_sizes),
    )
    write_texts(
        {
            "plots/claims.csv": csv_text(Claim._fields, claims),
            "docs/lecture.svg": svg(picture(curves), LOOK),
            "docs/lecture.md": page,
        }
    )


def about_number(claim: str, claimed: float, ours: list[float], differs: str = "") -> Claim:
    verdict = verdict_on_number(claimed, ours)
    low, high = prediction_interval(ours)
    reason = f"95 % prediction interval: {low:.4f} to {high:.4f}" if len(ours) > 1 else "one seed has no interval"
    return Claim(claim, f"{claimed:.4f}", mean_and_std(ours), verdict, reason + differs * (verdict == FAILED))


def about_curve(rate: float, curve: pd.DataFrame) -> Claim:
    """Judges all printed losses of the first epoch together: held if the loss of every step that was run fits."""
    losses = {step: curve.training_loss[curve.step == step].tolist() for step in CURVE if step in curve.step.tolist()}
    verdicts = [verdict_on_number(CURVE[step], ours, simultaneous=len(losses)) for step, ours in losses.items()]
    verdict = next((each for each in (FAILED, OPEN) if each in verdicts), HELD if verdicts else OPEN)
    return Claim(
        f"Losses of the deep network's first epoch, at learning rate {rate}",
        " ".join(f"{CURVE[step]:.4f}" for step in losses),
        " ".join(f"{statistics.mean(ours):.4f}" for ours in losses.values()),
        verdict,
        f"{verdicts.count(HELD)} of {len(verdicts)} lie in the simultaneous 95 % prediction intervals",
    )


def about_order(shallow: list[float], deep: list[float], shown: str) -> Claim:
    differences = [a - b for a, b in zip(shallow, deep, strict=True)]
    verdict = {"shallow is better": HELD, "deep is better": FAILED}.get(shown, OPEN)
    return Claim(
        "The shallow network is better than the deep one",
        f"by {SHALLOW - DEEP:.4f}",
        f"by {mean_and_std(differences)}",
        verdict,
        "test accuracy, each with its own settings",
    )


def about_overfitting(curves: pd.DataFrame, rates: pd.DataFrame) -> tuple[Claim, str]:
    """Returns the claim, and a text on what follows from the curves.

    A network overfits if it is better on training images than on others. It does not overfit if, at another learning
    rate, it is better on test images than it is here on its own training images: then it is undertrained.
    """
    means = curves[curves.step.isin(list(CURVE))].groupby(["learning_rate", "step"]).training_loss.mean().unstack()
    distances = means.sub(pd.Series(CURVE)).pow(2).mean(axis=1)
    nearest = distances.idxmin() if len(distances) else rates.learning_rate[0]
    best = rates.groupby("learning_rate").training_accuracy.mean().idxmax()  # never chosen on test images
    its, others = (rates[rates.learning_rate == rate] for rate in (nearest, best))
    training, test, most = its.training_accuracy.tolist(), its.test_accuracy.tolist(), others.test_accuracy.tolist()
    verdict = verdict_on_order(training, test)
    text = (
        f"Learning rate {nearest} comes nearest to the lecture's curve. After the last epoch it gives a training "
        f"accuracy of {statistics.mean(training):.4f} and a test accuracy of {statistics.mean(test):.4f}."
    )
    if verdict_on_order(most, training) == HELD:
        verdict = FAILED
        text += (
            f" Learning rate {best} gives {statistics.mean(most):.4f} on the test images.\nSo the network of the "
            "lecture's curve does not overfit: even on its own training images, its accuracy is lower.\n"
            "It is undertrained."
        )
    gap = [a - b for a, b in zip(training, test, strict=True)]
    claim = "The deep network is overfitting: training accuracy above test accuracy"
    return Claim(
        claim, f"test accuracy {DEEP:.4f}", f"by {mean_and_std(gap)}", verdict, "see its first epoch, below"
    ), text


def about_smallest(sizes: pd.DataFrame, comparisons: pd.DataFrame) -> Claim:
    smallest, *others = sizes.sort_values("parameters", kind="stable").hidden.unique().tolist()
    verdicts = comparisons.verdict[(comparisons["first"] == smallest) | (comparisons["second"] == smallest)]
    wins = int((verdicts == f"{smallest} is better").sum())
    losses = int(verdicts.str.endswith("is better").sum()) - wins
    return Claim(
        "The smallest of the sizes has the highest test accuracy",
        smallest,
        mean_and_std(sizes.test_accuracy[sizes.hidden == smallest].tolist()),
        FAILED if losses else HELD if others and wins == len(others) else OPEN,
        f"better than {wins} and worse than {losses} of {len(others)} others",
    )


def about_constants() -> Iterator[Claim]:
    """Yields claims on constants of the data, from all training images, and on arithmetic."""
    images = description()
    result = " ".join(f"{value:.8f}".rstrip("0") for value in softmax(LOGITS))
    for claim, lecture, here in [
        ("Steps of an epoch at batch size 64", "938", str(math.ceil(images.images / 64))),
        ("Steps of an epoch at batch size 256", "235", str(math.ceil(images.images / 256))),
        ("Mean of the training pixels", "0.1307", f"{images.mean:.4f}"),
        ("Standard deviation of the training pixels", "0.3081", f"{images.std:.4f}"),
        ("Softmax of [-1, 4, 10, 5, 7, 1, 4, -2, -1, 2] / 20", SOFTMAX, result),
    ]:
        yield Claim(claim, lecture, here, HELD if here == lecture else FAILED, "")


def training(group: Training) -> str:
    epochs = "1 epoch" if group.epochs == 1 else f"{group.epochs} epochs"
    return f"{epochs}, batch size {group.batch_size}, learning rate {group.learning_rate}"


def picture(curves: pd.DataFrame) -> Chart:
    """Returns a Vega-Lite chart of the first epoch: thin lines are seeds, thick ones means, points the lecture's."""
    lecture = [{"step": step, "training_loss": loss, "of": "the lecture"} for step, loss in CURVE.items()]
    ours = curves.assign(of=[f"learning rate {rate}" for rate in curves.learning_rate])
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
    run(main, Params)
