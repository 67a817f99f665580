"""Writes report.html, one page with everything that the pipeline found, and the README's two pictures."""

import base64
import hashlib
import io
import json
from collections.abc import Hashable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image
from safetensors.numpy import load_file

from pipeline import charts
from pipeline.charts import LOOK, PAGE_LOOK, svg
from pipeline.datasets import description
from pipeline.files import write_text
from pipeline.networks import NETWORKS
from pipeline.params import Group
from pipeline.params.complete import Params
from pipeline.stage import run
from pipeline.tables import mean_and_std
from pipeline.templates import render

MODELS = ["ridge", "shallow", "deep"]
CONFUSIONS = 5  # of each network


def main(params: Params) -> None:
    evaluation = json.loads(Path("metrics/evaluation.json").read_text())
    networks, shares = pd.read_csv("metrics/networks.csv"), pd.read_csv("metrics/confusion.csv", dtype={"actual": str})
    sizes = pd.read_csv("plots/sizes.csv", dtype={"hidden": str})
    curves = pd.concat([pd.read_csv(f"plots/curves/{name}.csv").assign(network=name) for name in NETWORKS])
    cost = pd.concat([networks, sizes.rename(columns={"hidden": "network", "test_accuracy": "accuracy"})])
    predictions = pd.read_csv("plots/predictions.csv")
    images = load_file("data/processed/test.safetensors")["images"]
    dataset = description()

    by_size = charts.accuracy_by("parameters", "number of parameters", cost)
    accuracies = charts.learning_curves(curves, {"validation_accuracy": "validation"}, "validation accuracy")
    losses = {"training_loss": "training", "validation_loss": "validation"}
    pictures = {
        "accuracies": accuracies,
        "losses": charts.learning_curves(curves, losses, "mean cross-entropy (nats)"),
        "by_size": by_size,
        "by_cost": charts.accuracy_by("multiply_adds", "multiply-adds of the training", cost),
        "reliability": charts.reliability(pd.read_csv("plots/reliability.csv")),
        **{f"confusion_{name}": charts.confusion(shares[shares.network == name], dataset.classes) for name in NETWORKS},
        **{f"prices_{model}": charts.prices(predictions[predictions.model == model]) for model in MODELS},
    }
    page = render(
        "report.html",
        answer=answer(evaluation, dataset.title, len(images)),
        dataset=dataset.title,
        evaluation=evaluation,
        networks=_summaries(networks),
        sizes=_size_summaries(sizes),
        size_comparisons=pd.read_csv("plots/size_comparisons.csv", dtype={"first": str, "second": str}).to_dict(
            "records"
        ),
        chosen=json.loads(Path("metrics/sizes.json").read_text())["hidden"],
        pictures={name: svg(chart, PAGE_LOOK) for name, chart in pictures.items()},
        confusions={name: _top_confusions(shares[shares.network == name]) for name in NETWORKS},
        mistakes=_mistakes(images),
        seed=params.seeds[0],
        models=MODELS,
        params=list(_flat(params)),
        files=list(
            _hashes([*sorted(Path("data/raw", params.dataset).glob("*-ubyte")), Path(params.preprocess_prices.file)])
        ),
    )
    for path, chart in (("docs/accuracy_by_size.svg", by_size), ("docs/validation_accuracy.svg", accuracies)):
        write_text(Path(path), svg(chart, LOOK))
    write_text(Path("report.html"), page)


def answer(evaluation: dict[str, Any], dataset: str, images: int) -> str:
    """What `evaluate` found, in one sentence."""
    comparison = evaluation["comparison"]
    points = (round(100 * comparison[key], 2) + 0.0 for key in ("low", "difference", "high"))  # 0.0 makes -0.0 positive
    low, difference, high = (f"{each:+.2f}" for each in points)
    found = {
        "shallow is better": "the shallow network is better than the deep one",
        "deep is better": "the deep network is better than the shallow one",
    }.get(comparison["verdict"], "no difference is shown between the shallow and the deep network")
    return (
        f"On the {images:,} test images of {dataset}, {found}: deep minus shallow is {difference} percentage points of "
        f"mean accuracy, with a 95 % interval from {low} to {high}."
    )


def _summaries(networks: pd.DataFrame) -> Iterator[dict[str, Any]]:
    for name in NETWORKS:
        group = networks[networks.network == name]
        columns = {column: mean_and_std(group[column].tolist()) for column in ("accuracy", "loss", "calibration_error")}
        yield columns | {
            "name": name,
            "parameters": group.parameters.iloc[0],
            "multiply_adds": group.multiply_adds.iloc[0],
            "seeds": len(group),
        }


def _size_summaries(sizes: pd.DataFrame) -> Iterator[dict[str, Any]]:
    for hidden in sizes.hidden.unique():
        group = sizes[sizes.hidden == hidden]
        columns = {
            column: mean_and_std(group[column].dropna().tolist()) for column in ("validation_accuracy", "test_accuracy")
        }
        yield columns | {
            "hidden": hidden,
            "parameters": group.parameters.iloc[0],
            "multiply_adds": group.multiply_adds.iloc[0],
        }


def _top_confusions(shares: pd.DataFrame) -> list[dict[Hashable, Any]]:
    wrong = shares[(shares.actual != shares.predicted.astype(str)) & (shares.share > 0)]
    return wrong.sort_values("share", ascending=False, kind="stable").head(CONFUSIONS).to_dict("records")


def _mistakes(images: NDArray[np.uint8]) -> dict[str, list[dict[Hashable, Any]]]:
    table = pd.read_csv("plots/mistakes.csv")
    table["png"] = [_png(images[place]) for place in table.image]
    return {name: table[table.network == name].to_dict("records") for name in NETWORKS}


def _png(image: NDArray[np.uint8]) -> str:
    """A picture as text for the page, not compressed: what zlib makes of it depends on the machine."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG", compress_level=0)
    return base64.b64encode(file.getvalue()).decode()


def _flat(params: Group, prefix: str = "") -> Iterator[tuple[str, object]]:
    for name in type(params).model_fields:
        value = getattr(params, name)
        if isinstance(value, Group):
            yield from _flat(value, f"{name}.")
        else:
            yield prefix + name, value


def _hashes(files: list[Path]) -> Iterator[tuple[str, str]]:
    for file in files:
        yield file.as_posix(), hashlib.sha256(file.read_bytes()).hexdigest()


if __name__ == "__main__":
    run(main, Params)
