"""Renders README.md and the pages of docs/ that show results, each from its .jinja template."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pandas as pd
from ruamel.yaml import YAML

from pipeline.charts import LOOK, svg
from pipeline.datasets import source
from pipeline.files import read_json, write_texts
from pipeline.params import load
from pipeline.params.complete import Params
from pipeline.results import OF_NETWORKS, OF_PENALTIES, OF_PRICES, Evaluation, over_seeds, read_csv
from pipeline.stage import exit_on_user_error
from pipeline.tables import markdown_table
from pipeline.templates import document

PAGES = [
    "README.md",
    *(f"docs/{page}.md" for page in ("comparison", "house_prices", "reliability", "reproducibility", "scaling")),
]
HISTORY, PICTURE = Path("docs/history.md"), Path("docs/history.svg")
BEFORE, AFTER = "ba2dc45", "98de53d"  # commits on the history page: one, and its child with a smaller network
WORKERS = 1000  # in the example cluster of docs/scaling.md
HOUSES = {"without_large": "up to 4000 square feet", "all": "all"}


def main() -> None:
    values = results()
    for page in PAGES:
        write_texts({page: document(page, **values)})
    missing = [commit for commit in (BEFORE, AFTER) if not exists(commit)]
    if missing:
        print(f"{HISTORY}: left as it is, since this clone lacks the commits {', '.join(missing)}")
        return
    write_texts({str(HISTORY): history(BEFORE, AFTER), str(PICTURE): history_picture(BEFORE, AFTER)})


def results() -> dict[str, Any]:
    """Returns the values that the templates show, read from files in git."""
    networks, seeds = read_csv("metrics/networks.csv", OF_NETWORKS), pd.read_csv("benchmarks/seeds.csv")
    verified = pd.read_csv("docs/verified.csv", keep_default_na=False)
    verified_gpu = pd.read_csv("docs/verified_gpu.csv")  # measured on another machine
    faults = pd.read_csv("docs/faults.csv")
    count = networks.seed.nunique()
    return {
        "title": source(load(Params).dataset).title,
        "comparison": read_json(Evaluation, Path("metrics/evaluation.json")).comparison.model_dump(),
        "seeds": count,
        "detectable": seeds.detectable[seeds.seeds == count].dropna().tolist(),  # empty if unmeasured or undetectable
        "networks": networks_table(networks),
        "power": seeds.to_dict("records"),
        "sizes": pd.read_csv("benchmarks/sizes.csv").to_dict("records"),
        "prices": prices_table(read_csv("metrics/prices.csv", OF_PRICES)),
        "binary": binary_table(read_csv("metrics/binary.csv", OF_PENALTIES)),
        "ratio": epoch_ratios(pd.read_csv("benchmarks/training.csv")),
        "stacked": stacked_table(pd.read_csv("benchmarks/stacked.csv")),
        "scaling": scaling(pd.read_csv("benchmarks/jobs.csv"), pd.read_csv("benchmarks/training.csv")),
        "faults": markdown_table(
            [str(name).replace("_", " ") for name in faults],
            [[what, *(f"{count:,}" for count in counts)] for what, *counts in faults.to_numpy().tolist()],
        ),
        "verified": verified_table(pd.concat([verified, verified_gpu.assign(remark="")])),
    }


def verified_table(verified: pd.DataFrame) -> str:
    elsewhere = verified.remark.str.extract("^on (.*)", expand=False)  # remarks on successes name only other machines
    same = (verified.result == "same bytes").groupby(elsewhere.fillna(verified.machine), sort=False)
    rows = [[machine, str(len(each)), str(each.sum())] for machine, each in same]
    return markdown_table(["machine", "circumstances", "same bytes"], rows)


def networks_table(scores: pd.DataFrame) -> str:
    rows = [
        [row["network"], row["accuracy"], row["loss"], row["calibration_error"], f"{row['parameters']:,}"]
        for row in over_seeds(scores, "network", accuracy=".4f", loss=".4f", calibration_error=".4f")
    ]
    return markdown_table(["network", "test accuracy", "test loss", "calibration error", "parameters"], rows)


def prices_table(scores: pd.DataFrame) -> str:
    tested = scores[scores.split == "test"]
    rows = [
        [label, row["model"], row["rmse"], row["rmsle"], row["r2"]]
        for houses, label in HOUSES.items()
        for row in over_seeds(tested[tested.houses == houses], "model", rmse=",.0f", rmsle=".4f", r2=".3f")
    ]
    return markdown_table(["houses", "model", "RMSE (dollars)", "RMSLE", "R² of the log price"], rows)


def binary_table(scores: pd.DataFrame) -> str:
    measures = {"l1_norm": ".1f", "training_loss": ".3f", "test_loss": ".3f", "test_accuracy": ".3f"}
    rows = [
        [f"{row['l1_penalty']:g}", *(row[name] for name in measures)]
        for row in over_seeds(scores, "l1_penalty", **measures)
    ]
    return markdown_table(["L1 penalty", "L1 norm of the weights", "training loss", "test loss", "test accuracy"], rows)


def epoch_ratios(timings: pd.DataFrame) -> dict[str, float]:
    """Returns each network's median time of an epoch relative to its bare matrix products."""
    ours = timings[(timings.measured == "epoch") & (timings.way == "this project")]
    return {str(name): float(each.median()) for name, each in ours.groupby("network").ratio}


def stacked_table(timings: pd.DataFrame) -> str:
    """Returns a table of the seconds that an epoch takes, for all networks trained at once and for each."""
    rows = [
        [network, device, f"{networks:,}", f"{seconds:.2f}", f"{seconds / networks:.4f}"]
        for network, device, networks, _, seconds in timings.itertuples(index=False, name=None)
    ]
    return markdown_table(["network", "trained on", "networks at once", "seconds an epoch", "for each network"], rows)


def scaling(jobs: pd.DataFrame, timings: pd.DataFrame) -> dict[str, Any]:
    """Returns the timings of jobs, and the load that deep networks put on WORKERS workers, in bytes and seconds."""
    stage = YAML(typ="safe").load(Path("dvc.lock"))["stages"]["train_deep"]
    networks = next(each for each in stage["outs"] if each["path"] == "models/deep")
    epoch = timings.seconds[
        (timings.way == "this project") & (timings.network == "deep") & (timings.measured == "epoch")
    ]
    seconds = epoch.median() * load(Params).train_deep.epochs
    return {
        "machine": jobs.machine[0],
        "jobs": jobs_table(jobs),
        "workers": WORKERS,
        "seconds": seconds,
        "rate": WORKERS / seconds,
        "shipped": sum(each["size"] for each in stage["deps"] if each["path"].endswith(".safetensors")),
        "dispatch": jobs.dispatch_seconds[(jobs["where"] == "a Dask cluster") & (jobs.jobs == "house prices")].item(),
        "network": networks["size"] / networks["nfiles"],
    }


def jobs_table(jobs: pd.DataFrame) -> str:
    header = [
        "one epoch on",
        "where",
        "training (ms)",
        "overhead (ms)",
        "dispatch (ms)",
        "efficiency of two workers",
    ]
    rows = [
        [*row[:2], *(f"{1000 * seconds:.1f}" for seconds in row[2:5]), f"{row[5]:.2f}"]
        for row in jobs.drop(columns="machine").itertuples(index=False)
    ]
    return markdown_table(header, rows)


def exists(commit: str) -> bool:
    command = ["git", "cat-file", "-e", f"{commit}^{{commit}}"]
    return subprocess.run(command, capture_output=True).returncode == 0


def history(before: str, after: str) -> str:
    """Returns the page on the changes between two commits, with the output of the commands that it shows."""
    return document(str(HISTORY), before=before, after=after, output=output)


def history_picture(before: str, after: str) -> str:
    """Returns the plot by `dvc plots diff` of each network's accuracy at both commits, as SVG."""
    return svg(json.loads(output(f"dvc plots diff {before} {after} --targets metrics/networks.csv --show-vega")), LOOK)


def output(command: str) -> str:
    return subprocess.run(command, shell=True, check=True, capture_output=True, encoding="utf-8").stdout.strip()


if __name__ == "__main__":
    exit_on_user_error(main)
