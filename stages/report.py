"""Writes report.html with everything the pipeline found, the README's two charts, and the page of `dvc plots`."""

import base64
import hashlib
import io
import json
from collections.abc import Hashable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import vl_convert
from numpy.typing import NDArray
from PIL import Image
from safetensors.numpy import load_file

from pipeline.charts import LOOK, PAGE_LOOK, chart, svg
from pipeline.datasets import description
from pipeline.files import write_text
from pipeline.networks import NETWORKS
from pipeline.params import Group
from pipeline.params.complete import Params
from pipeline.stage import run
from pipeline.tables import mean_and_std
from pipeline.templates import render

MODELS = ["ridge", "shallow", "deep"]  # whose predictions of prices are drawn
CLASSES: Any = {"dtype": {"actual": str, "predicted": str}, "keep_default_na": False}  # one may be called 01 or NA
CONFUSIONS = 5  # listed of each network


def main(params: Params) -> None:
    evaluation = _json("metrics/evaluation.json")
    networks, sizes = pd.read_csv("metrics/networks.csv"), pd.read_csv("plots/sizes.csv", dtype={"hidden": str})
    pairs = pd.read_csv("plots/size_comparisons.csv", dtype={"first": str, "second": str})
    shares = pd.read_csv("metrics/confusion.csv", **CLASSES)
    prices, penalties = pd.read_csv("metrics/prices.csv"), pd.read_csv("metrics/binary.csv")
    predictions = pd.read_csv("plots/predictions.csv")
    claims = pd.read_csv("plots/claims.csv", dtype=str, keep_default_na=False)
    images = load_file("data/processed/test.safetensors")["images"]
    dataset = description().title

    cost = pd.concat([networks, sizes.rename(columns={"hidden": "network", "test_accuracy": "accuracy"})])
    cost = cost[["network", "parameters", "multiply_adds", "accuracy"]]
    by_size = chart("networks", cost, x="parameters", x_label="number of parameters", y="accuracy")
    accuracies = chart("learning_curves", _curves("validation_accuracy"), y="value", y_label="validation accuracy")
    losses = _curves("training_loss", "validation_loss")
    charts = {
        "accuracies": accuracies,
        "losses": chart("learning_curves", losses, y="value", y_label="mean cross-entropy (nats)"),
        "by_size": by_size,
        "by_cost": chart("networks", cost, x="multiply_adds", x_label="multiply-adds of training", y="accuracy"),
        "reliability": chart("reliability", pd.read_csv("plots/reliability.csv")),
        **{f"confusion_{name}": chart("confusion", shares[shares.network == name]) for name in NETWORKS},
        **{f"prices_{model}": chart("predicted_prices", predictions[predictions.model == model]) for model in MODELS},
        "penalties": chart("networks", penalties, x="l1_norm", x_label="L1 norm of the weights", y="test_accuracy"),
    }
    tested = prices[prices.split == "test"]
    page = render(
        "report.html",
        answer=answer(evaluation, dataset, len(images)),
        dataset=dataset,
        evaluation=evaluation,
        networks=_over_seeds(networks, "network", accuracy=".4f", loss=".4f", calibration_error=".4f"),
        sizes=_over_seeds(sizes, "hidden", validation_accuracy=".4f", test_accuracy=".4f"),
        size_comparisons=pairs.to_dict("records"),
        chosen_size=_json("metrics/sizes.json")["hidden"],
        pictures={name: svg(each, PAGE_LOOK) for name, each in charts.items()},
        confusions={name: _top_confusions(shares[shares.network == name]) for name in NETWORKS},
        confident_errors=_confident_errors(images),
        seed=params.seeds[0],
        prices={
            houses: _over_seeds(table, "model", rmse=",.0f", rmsle=".4f", r2=".3f")
            for houses, table in tested.groupby("houses", sort=False)
        },
        models=MODELS,
        penalties=_over_seeds(
            penalties, "l1_penalty", l1_norm=".1f", training_loss=".3f", test_loss=".3f", test_accuracy=".4f"
        ),
        chosen_penalty=_json("metrics/binary.json")["l1_penalty"],
        claims=claims.to_dict("records"),
        params=list(_flat(params)),
        files=list(
            _hashes([*sorted(Path("data/raw", params.dataset).glob("*-ubyte")), Path(params.preprocess_prices.file)])
        ),
    )
    for path, picture in (("docs/accuracy_by_size.svg", by_size), ("docs/validation_accuracy.svg", accuracies)):
        write_text(Path(path), svg(picture, LOOK))
    vega = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    write_text(Path("plots/page.html"), render("dvc_plots.html", vega=vega))
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


def _json(path: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
    return content


def _curves(*measures: str) -> pd.DataFrame:
    """A row for each value of these measures, and the file and field that it comes from, as DVC names them."""
    curves = [pd.read_csv(f"plots/curves/{name}.csv").assign(filename=f"{name}.csv") for name in NETWORKS]
    return pd.concat(curves).melt(["filename", "epoch"], list(measures), "field").dropna()


def _over_seeds(table: pd.DataFrame, key: str, **measures: str) -> Iterator[dict[Hashable, Any]]:
    """For each value of a column: its number of seeds, what they share, and each measure in its format."""
    for _, group in table.groupby(key, sort=False):
        summaries = {name: mean_and_std(group[name].dropna().tolist(), form) for name, form in measures.items()}
        yield group.iloc[0].to_dict() | summaries | {"seeds": len(group)}


def _top_confusions(shares: pd.DataFrame) -> list[dict[Hashable, Any]]:
    wrong = shares[(shares.actual != shares.predicted) & (shares.share > 0)]
    return wrong.sort_values("share", ascending=False, kind="stable").head(CONFUSIONS).to_dict("records")


def _confident_errors(images: NDArray[np.uint8]) -> dict[str, list[dict[Hashable, Any]]]:
    table = pd.read_csv("plots/mistakes.csv", **CLASSES)
    table["png"] = [_png(images[index]) for index in table.image]
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
