"""Writes what the documents show of the pipeline: its graph, its results, its history and what was measured."""

import json
import subprocess
from pathlib import Path

import pandas as pd

from pipeline.charts import LOOK, svg
from pipeline.tables import markdown_table
from stages.report import answer

DOCUMENTS = ["README.md", "docs/comparison.md", "docs/reproducibility.md"]
HOUSES = {"without_large": "without the large", "all": "all"}
BEFORE, AFTER = "ba2dc45", "98de53d"  # two commits of this repository, the second with a smaller deep network
HISTORY = [
    f"dvc params diff --md {BEFORE} {AFTER}",
    f"dvc metrics diff --md {BEFORE} {AFTER}",
    f"dvc exp show --md --rev {AFTER} -n 2 --only-changed --hide-workspace "
    "--drop 'Created|models|plots|metrics/[cn]|.*(json$|std|calibration|low|high|probability|mcnemar)'",
]
COMPARE = f"python -m tools.compare_commits {BEFORE} {AFTER}"


def blocks(root: Path) -> dict[str, str]:
    """The text of each block that a document has between its markers, by name."""
    evaluation = json.loads((root / "metrics/evaluation.json").read_text())
    return {
        "answer": f"{answer(evaluation, 'MNIST', 10_000)} {design(root)}",
        "comparison": comparison(evaluation["comparison"]),
        "seeds": seeds(pd.read_csv(root / "benchmarks/seeds.csv")),
        "compare": f"```\n{_output(COMPARE, root).strip()}\n```",
        "pipeline": f"```mermaid\n{_output('dvc dag --mermaid', root).strip()}\n```",
        "results": networks(pd.read_csv(root / "metrics/networks.csv")),
        "prices": prices(pd.read_csv(root / "metrics/prices.csv")),
        "binary": binary(pd.read_csv(root / "metrics/binary.csv")),
        "verified": verified(pd.read_csv(root / "docs/verified.csv", keep_default_na=False)),
        "history": "\n".join(f"```sh\n{command}\n```\n\n{_output(command, root).strip()}\n" for command in HISTORY),
    }


def fill(text: str, blocks: dict[str, str]) -> str:
    """A document's text with the content between its markers made anew."""
    for name, content in blocks.items():
        before, start, rest = text.partition(f"<!-- {name} -->\n")
        _, end, after = rest.partition(f"<!-- /{name} -->")
        if end:
            text = f"{before}{start}{content.strip()}\n{end}{after}"
    return text


def history_picture(root: Path) -> str:
    """What `dvc plots diff` shows of the accuracy of each network at both commits, as SVG."""
    shown = _output(f"dvc plots diff {BEFORE} {AFTER} --targets metrics/networks.csv --show-vega", root)
    return svg(json.loads(shown), LOOK)


def _output(command: str, root: Path) -> str:
    return subprocess.run(command, shell=True, cwd=root, check=True, capture_output=True, text=True).stdout


def networks(scores: pd.DataFrame) -> str:
    rows = []
    for name in scores.network.unique():
        of = scores[scores.network == name]
        parameters = f"{of.parameters.iloc[0]:,}"
        measures = [spread(each, ".4f") for each in (of.accuracy, of.loss, of.calibration_error)]
        rows.append([name, *measures, parameters, str(len(of))])
    return markdown_table(["network", "test accuracy", "test loss", "calibration error", "parameters", "seeds"], rows)


def design(root: Path) -> str:
    """What the comparison could have shown."""
    seeds = pd.read_csv(root / "metrics/networks.csv").seed.nunique()
    measured = pd.read_csv(root / "benchmarks/seeds.csv").set_index("seeds").detectable
    return f"With {seeds} seeds, four of five differences of {100 * measured[seeds]:.2f} points would be shown."


def comparison(found: dict[str, float | str]) -> str:
    """Each number of a comparison as it stands in metrics/evaluation.json."""
    return markdown_table(["`comparison`", "here"], [[f"`{key}`", str(value)] for key, value in found.items()])


def seeds(measured: pd.DataFrame) -> str:
    minutes = [f"{each:.1f}" for each in measured.core_minutes]
    alarms = [f"{each:.1%}" for each in measured.false_alarms]
    gaps = ["none" if pd.isna(each) else f"{100 * each:.2f} points" for each in measured.detectable]
    rows = zip(map(str, measured.seeds), minutes, alarms, gaps, strict=True)
    header = ["seeds", "minutes of training on one core", "false alarms", "shown four times of five: a difference of"]
    return markdown_table(header, rows)


def prices(scores: pd.DataFrame) -> str:
    rows = []
    for houses, label in HOUSES.items():
        for model in scores.model.unique():
            of = scores[(scores.houses == houses) & (scores.model == model) & (scores.part == "test")]
            rows.append([label, model, spread(of.rmse, ",.0f"), spread(of.rmsle, ".4f"), spread(of.r2, ".3f")])
    return markdown_table(["houses", "model", "RMSE in dollars", "RMSLE", "R² of the logarithm"], rows)


def binary(scores: pd.DataFrame) -> str:
    rows = []
    for penalty in scores.l1_penalty.unique():
        of = scores[scores.l1_penalty == penalty]
        losses = [spread(column, ".3f") for column in (of.training_loss, of.test_loss, of.test_accuracy)]
        rows.append([f"{penalty:g}", spread(of.l1_norm, ".1f"), *losses])
    return markdown_table(["L1 penalty", "L1 norm of the weights", "training loss", "test loss", "test accuracy"], rows)


def verified(rows: pd.DataFrame) -> str:
    cells = [[str(row.circumstance), str(row.result), str(row.remark)] for row in rows.itertuples()]
    return f"On {rows.machine[0]}:\n\n{markdown_table(['circumstance', 'result', 'remark'], cells)}"


def spread(values: "pd.Series[float]", form: str) -> str:
    """Mean, and standard deviation over seeds where there are several."""
    mean = format(values.mean(), form)
    return mean if len(values) == 1 else f"{mean} ± {values.std():{form}}"


if __name__ == "__main__":
    here = Path()
    content = blocks(here)
    for document in map(Path, DOCUMENTS):
        document.write_text(fill(document.read_text(), content))
    Path("docs/history.svg").write_text(history_picture(here))
