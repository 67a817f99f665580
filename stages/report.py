"""Writes report.html with all results of the pipeline, and the README's picture."""

import base64
import hashlib
import io
from collections.abc import Hashable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image
from safetensors.numpy import load_file

from mlp.errors import reading
from pipeline.charts import COLOURS, DARK_COLOURS, LOOK, PAGE_LOOK, chart, svg
from pipeline.datasets import description
from pipeline.files import read_json, write_texts
from pipeline.networks import NETWORKS
from pipeline.params import Schema
from pipeline.params.complete import Params
from pipeline.results import (
    OF_NETWORKS,
    OF_PENALTIES,
    OF_PRICES,
    OF_SIZES,
    Columns,
    Comparison,
    Evaluation,
    Finite,
    over_seeds,
    read_csv,
)
from pipeline.stage import run
from pipeline.templates import render

MODELS = ["ridge", "shallow", "deep"]  # models whose predicted prices are drawn
CONFUSIONS = 5  # listed for each network

PAIRS = Columns("first second verdict", numbers="difference low high adjusted_p_value")
CURVES = Columns("", "epoch", "training_loss", "validation_loss validation_accuracy")
MISTAKES = Columns("network actual predicted", "image", "probability_of_actual probability_of_predicted")


def main(params: Params) -> None:
    evaluation = read_json(Evaluation, Path("metrics/evaluation.json"))
    networks, sizes = read_csv("metrics/networks.csv", OF_NETWORKS), read_csv("plots/sizes.csv", OF_SIZES)
    pairs = read_csv("plots/size_comparisons.csv", PAIRS, may_be_empty=True)
    shares = read_csv("metrics/confusion.csv", Columns("network actual predicted", numbers="share"))
    prices = read_csv("metrics/prices.csv", OF_PRICES)
    penalties = read_csv("metrics/binary.csv", OF_PENALTIES)
    predictions = read_csv("plots/predictions.csv", Columns("model", numbers="price predicted_price"))
    reliability = read_csv("plots/reliability.csv", Columns("network", "images", "confidence accuracy"))
    claims = read_csv("plots/claims.csv", Columns("claim lecture here verdict reason"))
    images, mistakes = _mistakes()
    size, penalty = read_json(Size, Path("metrics/sizes.json")), read_json(Penalty, Path("metrics/binary.json"))
    files = list(_hashes(Path("data/raw", params.dataset), Path(params.preprocess_prices.file)))
    dataset = description().title

    cost = pd.concat([networks, sizes.rename(columns={"test_accuracy": "accuracy"})])
    cost = cost[["network", "hidden", "standing", "parameters", "multiply_adds", "accuracy"]].fillna("")
    by_size = chart("networks", cost, x="parameters", x_label="number of parameters", y="accuracy")
    accuracies = _curves("validation_accuracy")  # empty without validation images
    losses = _curves("training_loss", "validation_loss")
    charts = {
        "accuracies": chart("learning_curves", accuracies, y="value", y_label="validation accuracy"),
        "losses": chart("learning_curves", losses, y="value", y_label="mean cross-entropy (nats)"),
        "by_size": by_size,
        "by_cost": chart("networks", cost, x="multiply_adds", x_label="multiply-adds of training", y="accuracy"),
        "reliability": chart("reliability", reliability),
        **{f"confusion_{name}": chart("confusion", shares[shares.network == name]) for name in NETWORKS},
        **{f"prices_{model}": chart("predicted_prices", predictions[predictions.model == model]) for model in MODELS},
        "penalties": chart("networks", penalties, x="l1_norm", x_label="L1 norm of the weights", y="test_accuracy"),
    }
    tested = prices[prices.split == "test"]
    page = render(
        "report.html",
        colours=COLOURS,
        dark_colours=DARK_COLOURS,
        answer=answer(evaluation.comparison, dataset, images),
        dataset=dataset,
        evaluation=evaluation,
        networks=over_seeds(networks, "network", accuracy=".4f", loss=".4f", calibration_error=".4f"),
        sizes=_sizes(sizes, pairs),
        chosen_size=size.hidden,
        pictures={name: svg(each, PAGE_LOOK) for name, each in charts.items()},
        validated=not accuracies.empty,
        confusions={name: _top_confusions(shares[shares.network == name]) for name in NETWORKS},
        confident_errors={name: mistakes[mistakes.network == name].to_dict("records") for name in NETWORKS},
        seed=params.seeds[0],
        prices={
            houses: over_seeds(table, "model", rmse=",.0f", rmsle=".4f", r2=".3f")
            for houses, table in tested.groupby("houses", sort=False)
        },
        models=MODELS,
        penalties=over_seeds(
            penalties, "l1_penalty", l1_norm=".1f", training_loss=".3f", test_loss=".3f", test_accuracy=".4f"
        ),
        chosen_penalty=penalty.l1_penalty,
        claims=claims.to_dict("records"),
        params=pd.json_normalize(params.model_dump()).to_dict("records")[0].items(),
        files=files,
    )
    write_texts(
        {
            "docs/accuracy_by_size.svg": svg(by_size, LOOK),
            "report.html": page,
        }
    )


class Size(Schema):
    """The part of metrics/sizes.json that the report shows."""

    hidden: str | None


class Penalty(Schema):
    """The part of metrics/binary.json that the report shows."""

    l1_penalty: Finite


def answer(comparison: Comparison, dataset: str, images: int) -> str:
    """Returns the result of `evaluate` as one sentence."""
    shares = (comparison.low, comparison.difference, comparison.high)
    points = (round(100 * share, 2) + 0.0 for share in shares)  # 0.0 makes -0.0 positive
    low, difference, high = (f"{each:+.2f}" for each in points)
    found = {
        "shallow is better": "the shallow network is better than the deep one",
        "deep is better": "the deep network is better than the shallow one",
    }.get(comparison.verdict, "no difference is shown between the shallow and the deep network")
    return (
        f"On the {images:,} test images of {dataset}, {found}: deep minus shallow is {difference} percentage points of "
        f"mean accuracy, with a 95 % interval from {low} to {high}."
    )


def _curves(*measures: str) -> pd.DataFrame:
    """Returns a row for each value of these measures, with its source in `filename` and `field`, as DVC names them."""
    curves = [read_csv(f"plots/curves/{name}.csv", CURVES).assign(filename=f"{name}.csv") for name in NETWORKS]
    return pd.concat(curves).melt(["filename", "epoch"], list(measures), "field").dropna()


def _sizes(sizes: pd.DataFrame, pairs: pd.DataFrame) -> Iterator[dict[Hashable, Any]]:
    """Yields for each size, best first, its accuracies and its comparisons with the best and with all others.

    The first of each pair is the more accurate.
    """
    to_best = pairs[pairs["first"] == sizes.hidden.iloc[-1]].set_index("second").to_dict("index")
    shown = pairs[pairs.verdict.str.endswith("is better")]
    for row in over_seeds(sizes[::-1], "hidden", validation_accuracy=".4f", test_accuracy=".4f"):
        counts = {"wins": (shown["first"] == row["hidden"]).sum(), "losses": (shown["second"] == row["hidden"]).sum()}
        yield row | counts | {"to_best": to_best.get(row["hidden"])}


def _top_confusions(shares: pd.DataFrame) -> list[dict[Hashable, Any]]:
    wrong = shares[(shares.actual != shares.predicted) & (shares.share > 0)]
    return wrong.sort_values("share", ascending=False, kind="stable").head(CONFUSIONS).to_dict("records")


def _mistakes() -> tuple[int, pd.DataFrame]:
    """Returns the number of test images, and the most confident errors, each with its image as PNG."""
    table = read_csv("plots/mistakes.csv", MISTAKES, may_be_empty=True)
    with reading(Path("data/processed/test.safetensors")):
        images = load_file("data/processed/test.safetensors")["images"]
        if images.dtype != np.uint8 or images.ndim != 3:
            raise ValueError(f"images {list(images.shape)} of {images.dtype}")
    with reading(Path("plots/mistakes.csv")):
        if (table.image < 0).any():
            raise ValueError("an image below 0")
        table["png"] = [_png(images[index]) for index in table.image]
    return len(images), table


def _png(image: NDArray[np.uint8]) -> str:
    """Returns an image as Base64 PNG, uncompressed because the output of zlib depends on the machine."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG", compress_level=0)
    return base64.b64encode(file.getvalue()).decode()


def _hashes(raw: Path, houses: Path) -> Iterator[tuple[str, str]]:
    with reading(raw):
        files = sorted(raw.glob("*-ubyte"))
        if len(files) != 4:
            raise ValueError(f"{len(files)} IDX files")
    for file in files:
        with reading(file):
            yield file.as_posix(), hashlib.sha256(file.read_bytes()).hexdigest()
    yield houses.as_posix(), hashlib.sha256(houses.read_bytes()).hexdigest()


if __name__ == "__main__":
    run(main, Params)
