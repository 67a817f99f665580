"""Writes what README.md shows of the pipeline, its graph and its results, from dvc and the metrics."""

import json
import subprocess
from pathlib import Path
from typing import Any


def fill(text: str, graph: str, metrics: dict[str, Any]) -> str:
    """The README's text with the content between its markers made anew."""
    blocks = {"pipeline": f"```mermaid\n{graph.strip()}\n```", "results": results(metrics)}
    for name, content in blocks.items():
        before, start, rest = text.partition(f"<!-- {name} -->\n")
        _, end, after = rest.partition(f"<!-- /{name} -->")
        text = f"{before}{start}{content}\n{end}{after}"
    return text


def results(metrics: dict[str, Any]) -> str:
    rows = ["| network | test accuracy | test loss | parameters | seeds |", "|---|---|---|---|---|"]
    for name, of in metrics.items():
        cells = [name, spread(of["accuracy"]), spread(of["loss"]), f"{of['parameters']:,}", str(of["seeds"])]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def spread(summary: dict[str, float | None]) -> str:
    mean, std = summary["mean"], summary["std"]
    return f"{mean:.4f}" if std is None else f"{mean:.4f} ± {std:.4f}"


if __name__ == "__main__":
    dag = subprocess.run(["dvc", "dag", "--mermaid"], check=True, capture_output=True, text=True).stdout
    readme = Path("README.md")
    readme.write_text(fill(readme.read_text(), dag, json.loads(Path("metrics/evaluation.json").read_text())))
