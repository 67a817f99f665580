"""Writes what README.md shows of the pipeline, its graph and its results, from dvc and the metrics."""

import subprocess
from pathlib import Path

import pandas as pd

from stages.lecture import table

HOUSES = {"without_large": "without the large", "all": "all"}


def fill(text: str, graph: str, metrics: Path) -> str:
    """The README's text with the content between its markers made anew."""
    blocks = {
        "pipeline": f"```mermaid\n{graph.strip()}\n```",
        "results": networks(pd.read_csv(metrics / "networks.csv")),
        "prices": prices(pd.read_csv(metrics / "prices.csv")),
        "binary": binary(pd.read_csv(metrics / "binary.csv")),
    }
    for name, content in blocks.items():
        before, start, rest = text.partition(f"<!-- {name} -->\n")
        _, end, after = rest.partition(f"<!-- /{name} -->")
        text = f"{before}{start}{content}\n{end}{after}"
    return text


def networks(scores: pd.DataFrame) -> str:
    rows = []
    for name in scores.network.unique():
        of = scores[scores.network == name]
        parameters = f"{of.parameters.iloc[0]:,}"
        rows.append([name, spread(of.accuracy, ".4f"), spread(of.loss, ".4f"), parameters, str(len(of))])
    return table(["network", "test accuracy", "test loss", "parameters", "seeds"], rows)


def prices(scores: pd.DataFrame) -> str:
    rows = []
    for houses, label in HOUSES.items():
        for model in scores.model.unique():
            of = scores[(scores.houses == houses) & (scores.model == model) & (scores.part == "test")]
            rows.append([label, model, spread(of.rmse, ",.0f"), spread(of.rmsle, ".4f"), spread(of.r2, ".3f")])
    return table(["houses", "model", "RMSE in dollars", "RMSLE", "R² of the logarithm"], rows)


def binary(scores: pd.DataFrame) -> str:
    rows = []
    for penalty in scores.l1_penalty.unique():
        of = scores[scores.l1_penalty == penalty]
        losses = [spread(column, ".3f") for column in (of.training_loss, of.test_loss, of.test_accuracy)]
        rows.append([f"{penalty:g}", spread(of.l1_norm, ".1f"), *losses])
    return table(["L1 penalty", "L1 norm of the weights", "training loss", "test loss", "test accuracy"], rows)


def spread(values: "pd.Series[float]", form: str) -> str:
    """Mean, and standard deviation over seeds where there are several."""
    mean = format(values.mean(), form)
    return mean if len(values) == 1 else f"{mean} ± {values.std():{form}}"


if __name__ == "__main__":
    dag = subprocess.run(["dvc", "dag", "--mermaid"], check=True, capture_output=True, text=True).stdout
    readme = Path("README.md")
    readme.write_text(fill(readme.read_text(), dag, Path("metrics")))
