"""Runs the pipeline under real DVC, on a small subset of the real data."""

import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import openpyxl
import pandas as pd
import psutil
import pytest
import yaml
from dvc_objects.fs.utils import tmp_fname
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from conftest import (
    ENVIRONMENT,
    HOUSES,
    IMAGES,
    PAGES,
    WorkingCopy,
    different,
    outputs,
    refusal_of_stage,
    run_here,
    stored,
    trains,
    with_environment,
    workers_of,
)
from mlp import ames
from mlp.house_features import FEATURES
from pipeline.files import atomic_output, remove_unfinished
from pipeline.networks import NETWORKS

RECOVER = "MAKEFLAGS= make recover"


def locked_stages(copy: WorkingCopy) -> dict[str, object]:
    return dict(yaml.safe_load((copy.path / "dvc.lock").read_text())["stages"])


def test_dvc_changes_only_what_it_is_asked_to_in_its_files(subset: WorkingCopy) -> None:
    subset.run("dvc freeze evaluate && dvc unfreeze evaluate && git diff --exit-code")


def test_a_second_repro_runs_nothing(subset: WorkingCopy) -> None:
    assert subset.stages_run_by("dvc repro") == []
    assert subset.status() == ""


def test_a_small_learning_rate_survives_dvcs_notation_and_ten_layers_train(
    subset: WorkingCopy, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = "-S train_deep.learning_rate=1e-5 -S 'hidden=[9,9,9,9,9,9,9,9,9,9]'"
    assert subset.stages_run_by(f"dvc exp run {changes} train_deep") == ["train_deep"]
    assert subset.stages_run_by("dvc repro --dry --force-downstream") == ["evaluate", *PAGES]
    run_here(subset, ["evaluate", *PAGES], monkeypatch)
    assert "1e-05" in (subset.path / "params.yaml").read_text()
    changed = subset.run("git diff --numstat params.yaml").stdout.split()[:2]
    assert changed == ["11", "4"]  # only the lines of the lists and of the number


def test_another_data_set_reruns_all_image_stages_and_is_named(
    subset: WorkingCopy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """tests/test_image_folder.py runs them under DVC, and switches back."""
    subset.edit_params(dataset="fashion_mnist")
    assert subset.stages_run_by("dvc repro --dry --force-downstream") == IMAGES + PAGES
    run_here(subset, IMAGES + PAGES, monkeypatch)
    assert "Sneaker" in (subset.path / "metrics/confusion.csv").read_text()
    assert "not judged" in (subset.path / "docs/lecture.md").read_text()
    report = (subset.path / "report.html").read_text()
    assert "test images of FashionMNIST" in report
    assert "predicted Ankle Boot" in report


def test_the_smallest_allowed_values_are_enough(subset: WorkingCopy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Uses no validation images, one seed, one hidden layer and lists of one item.

    The epoch is too short for the steps at which the lecture prints losses.
    """
    groups: dict[str, dict[str, object]] = {
        "preprocess": {"validation_size": 0},
        "compare_sizes": {"architectures": [[5]]},
        "compare_learning_rates": {"learning_rates": [0.01], "batch_size": 500},
        "train_binary": {"l1_penalties": [1e-5]},
        "evaluate_prices": {"ridge_penalties": [0]},
    }
    params = subset.params()
    subset.edit_params(seeds=[3], hidden=[8], **{name: params[name] | group for name, group in groups.items()})
    run_here(subset, [*IMAGES, *HOUSES, *PAGES], monkeypatch)
    metrics = json.loads((subset.path / "metrics/evaluation.json").read_text())
    assert metrics["deep"]["accuracy"]["std"] is None
    sizes = json.loads((subset.path / "metrics/sizes.json").read_text())
    assert sizes == {"hidden": None, "deep": {"accuracy": {"mean": None, "std": None}}}
    page = (subset.path / "docs/lecture.md").read_text()
    assert "| not judged | other settings |" in page
    assert "| 5 | 3,985 | not measured |" in page
    report = (subset.path / "report.html").read_text()
    assert "not measured" in report
    assert "There are no validation images" in report
    assert "Infinity" not in report
    assert subset.run("dvc plots show && dvc metrics show").returncode == 0


@pytest.mark.parametrize(
    ("key", "value", "stages"),
    [
        ("preprocess_prices.seed", 1, [*HOUSES, "report"]),
        ("train_prices.epochs", 1, ["train_prices", "evaluate_prices", "report"]),
        ("evaluate_prices.ridge_penalties", [5], ["evaluate_prices", "report"]),
        ("train_binary.betas", [0.8, 0.9], ["train_binary", "report"]),
        ("preprocess.seed", 1, [stage for stage in IMAGES + PAGES if stage != "download"]),
        ("train_shallow.epochs", 2, ["train_shallow", "evaluate", *PAGES]),
        ("compare_sizes.architectures", [[9], [7, 6]], ["compare_sizes", *PAGES]),
        ("compare_learning_rates.learning_rates", [0.01], ["compare_learning_rates", *PAGES]),
    ],
)
def test_images_and_houses_do_not_touch_each_other(
    subset: WorkingCopy, key: str, value: object, stages: list[str]
) -> None:
    group, _, name = key.partition(".")
    params = yaml.safe_load((subset.path / "params.yaml").read_text())
    subset.edit_params(**{group: params[group] | {name: value}})
    assert subset.stages_run_by("dvc repro --dry --force-downstream") == stages


def test_changed_houses_or_their_code_rerun_no_image_stage(subset: WorkingCopy) -> None:
    for name in ("mlp/ames.py", "mlp/binary.py", "stages/train_prices.py"):
        with (subset.path / name).open("a") as file:
            file.write("\n# changed\n")
    assert set(re.findall(r"^(\w+):$", subset.run("dvc status").stdout, re.MULTILINE)) == set(HOUSES)
    subset.run("git checkout -q .")
    book = openpyxl.load_workbook(subset.path / "data/ames/AmesHousing.xlsx")
    book["Sheet1"]["Q2"] = 216_000
    book.save(subset.path / "data/ames/AmesHousing.xlsx")
    assert subset.stages_run_by("dvc repro --dry --force-downstream") == [*HOUSES, "report"]


def test_a_users_own_houses_can_be_used(subset: WorkingCopy, monkeypatch: pytest.MonkeyPatch) -> None:
    book = openpyxl.load_workbook(subset.path / "data/ames/AmesHousing.xlsx")
    book["Sheet1"].delete_rows(302, 5000)
    book["Sheet1"].title = "Own"
    book.save(subset.path / "own houses.xlsx")
    own = "-S 'preprocess_prices.file=own houses.xlsx' -S preprocess_prices.sheet=Own"
    sizes = "-S preprocess_prices.test_size=60 -S preprocess_prices.validation_size=40"
    assert subset.stages_run_by(f"dvc exp run {own} {sizes} preprocess_prices") == HOUSES[:1]
    assert subset.stages_run_by("dvc repro --dry --force-downstream") == [*HOUSES[1:], "report"]
    run_here(subset, [*HOUSES[1:], "report"], monkeypatch)
    with safe_open(subset.path / "data/prices/all/train.safetensors", "np") as file:
        assert file.get_slice("prices").get_shape() == [200]


@pytest.mark.parametrize("file", ["evaluation", "sizes", "prices", "binary"])
def test_the_metrics_of_each_file_fit_on_one_screen(file: str, subset: WorkingCopy) -> None:
    """The screen has 24 lines of 80 characters; longer lines of the table wrap."""
    table = subset.run(f"dvc metrics show metrics/{file}.json").stdout.splitlines()
    assert len(table) == 2
    assert sum(math.ceil(len(line) / 80) for line in table) <= 24


def test_test_images_and_test_houses_choose_nothing(subset: WorkingCopy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Changes the labels and prices of the test splits: everything trained or chosen must stay the same."""

    def chosen() -> dict[str, object]:
        metrics = {name: json.loads((subset.path / f"metrics/{name}.json").read_text()) for name in ("sizes", "binary")}
        sizes = pd.read_csv(subset.path / "plots/sizes.csv").drop(columns=["test_accuracy", "standing"])
        predictions = pd.read_csv(subset.path / "plots/predictions.csv")
        return {
            "size": metrics["sizes"]["hidden"],
            "penalty": metrics["binary"]["l1_penalty"],
            "validation": sizes.sort_values(["hidden", "seed"]).to_csv(index=False),
            "ridge": predictions.predicted_price[predictions.model == "ridge"].tolist(),
            "networks": {name: content for name, content in outputs(subset).items() if name.startswith("models/")},
            "rates": (subset.path / "plots/learning_rates/first_epoch.csv").read_bytes(),
        }

    def accuracy() -> float:
        metrics = json.loads((subset.path / "metrics/evaluation.json").read_text())
        return float(metrics["shallow"]["accuracy"]["mean"])

    before, accuracy_before = chosen(), accuracy()
    images = subset.path / "data/processed/test.safetensors"
    houses = [subset.path / f"data/prices/{part}/test.safetensors" for part in ("all", "without_large")]
    for file, tensor in [(images, "labels"), *((each, "prices") for each in houses)]:
        content = load_file(file)
        file.unlink()  # it may be a link into the cache
        save_file(content | {tensor: content[tensor].flip(0).contiguous()}, file)
    run_here(subset, [*IMAGES[2:], *HOUSES[1:]], monkeypatch)
    assert accuracy() != accuracy_before
    assert chosen() == before


def test_evaluation_writes_what_it_measured(subset: WorkingCopy) -> None:
    printed = subset.run("python -m stages.evaluate").stdout
    assert json.loads(printed) == json.loads((subset.path / "metrics/evaluation.json").read_text())


def test_the_shares_of_a_confusion_matrix_sum_to_one_for_each_class(subset: WorkingCopy) -> None:
    shares = pd.read_csv(subset.path / "metrics/confusion.csv")
    sums = shares.groupby(["network", "actual"]).share.sum()
    assert sums.tolist() == pytest.approx([1] * 10 * len(NETWORKS), abs=1e-5)


def test_learning_curves_have_a_point_for_each_seed_and_epoch(subset: WorkingCopy) -> None:
    header, *rows = (subset.path / "plots/curves/deep.csv").read_text().splitlines()
    assert header == "seed,epoch,training_loss,validation_loss,validation_accuracy"
    assert [row.split(",")[:2] for row in rows] == [["0", "1"], ["0", "2"], ["1", "1"], ["1", "2"]]


@pytest.mark.parametrize("name", ["dvc.lock", ".dvc/tmp/rwlock"])
def test_a_lock_file_in_which_dvc_was_killed_is_repaired_as_documented(subset: WorkingCopy, name: str) -> None:
    before = outputs(subset)
    lock = subset.path / name
    text = lock.read_text()
    lock.write_text(text[: text.rindex("path")] if name == "dvc.lock" else text.rstrip("}"))
    assert subset.run("dvc repro", check=False).returncode != 0
    with_environment(subset)
    assert subset.stages_run_by(RECOVER) == []
    assert not different(outputs(subset), before)


def test_a_dvc_lock_that_lost_its_last_stages_and_a_temporary_file_are_repaired_too(subset: WorkingCopy) -> None:
    before = outputs(subset)
    (subset.path / "models" / tmp_fname()).touch()  # as DVC leaves it if it is killed while it links a file
    lock = subset.path / "dvc.lock"
    whole_lock = lock.read_text()
    lock.write_text(whole_lock[: whole_lock.index("  compare_sizes:")])
    assert subset.stages_run_by("dvc repro evaluate") == []
    assert "compare_sizes" not in locked_stages(subset)
    with_environment(subset)
    assert subset.stages_run_by(RECOVER) == []
    assert subset.status() == ""
    assert not different(outputs(subset), before)


def test_a_stage_removes_what_killed_stages_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This includes a zombie, and one whose process number this stage got later; a running stage's output is kept."""
    monkeypatch.chdir(tmp_path)
    zombie, ended = subprocess.Popen("true"), subprocess.Popen("true")
    ended.wait()
    os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)
    running = f"models/.shallow.{os.getppid()}.unfinished"
    for name in (f".report.html.{ended.pid}", f"models/.deep.{zombie.pid}", f"plots/curves/.deep.csv.{os.getpid()}"):
        (tmp_path / f"{name}.unfinished").mkdir(parents=True)
    (tmp_path / running).mkdir()
    remove_unfinished()
    assert sorted(map(str, Path().rglob("*"))) == ["models", running, "plots", "plots/curves"]
    zombie.wait()


def test_a_failed_run_leaves_the_old_output(tmp_path: Path) -> None:
    (tmp_path / "table").write_text("old")

    def fail(file: Path) -> None:
        file.write_text("half", encoding="utf-8")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), atomic_output(tmp_path / "table") as file:
        fail(file)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def test_an_invalid_parameter_is_reported_in_one_line_and_nothing_is_lost(subset: WorkingCopy) -> None:
    before = outputs(subset)
    subset.edit_params(seeds=[1, 1])
    done = subset.run("python -m stages.train_deep", check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "params.yaml: seeds is [1, 1]; allowed: a list of 1 to 1000 distinct integers, each from 0 to 2^63 - 1"
    ]
    assert not different(outputs(subset), before)


@pytest.mark.parametrize(
    ("damage", "stage", "line"),
    [
        ("rm params.yaml", "evaluate", "[Errno 2] No such file or directory: 'params.yaml'"),
        ("rm -r data/raw", "preprocess", "data/raw/mnist/description.json: missing; run `dvc repro`"),
        ("rm -r data/processed", "train_deep", "data/processed/description.json"),
        ("rm -r models/deep", "evaluate", "models/deep: missing; run `dvc repro`"),
        (
            "echo spoilt > models/deep/seed-0.safetensors",
            "evaluate",
            "models/deep/seed-0.safetensors: not as a stage wrote it",
        ),
        ("sed -i s/200/1001/ params.yaml", "preprocess", "validation_size is 1001; allowed: 0 to 1000"),
        ("rm data/ames/*.xlsx", "preprocess_prices", "'data/ames/AmesHousing.xlsx'"),
        ("cp README.md data/ames/AmesHousing.xlsx", "preprocess_prices", "AmesHousing.xlsx: not an Excel file"),
        ("sed -i s/Sheet1/Houses/ params.yaml", "preprocess_prices", "sheet 'Houses' is missing; available: Sheet1"),
        ("sed -i s/600/2528/ params.yaml", "preprocess_prices", "allowed: together fewer than all 2928"),
        ("sed -i s/600/2527/ params.yaml", "preprocess_prices", "have 1, 399, 2523 houses of at most 4000 square"),
        ("rm -r models/prices/all/deep", "evaluate_prices", "models/prices/all/deep: missing"),
        ("rm plots/sizes.csv", "lecture", "plots/sizes.csv: missing"),
        ("rm data/processed/description.json", "lecture", "data/processed/description.json: missing"),
    ],
)
def test_an_error_that_a_user_can_fix_is_one_line(
    subset: WorkingCopy, damage: str, stage: str, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    subset.run(damage)
    monkeypatch.chdir(subset.path)
    assert line in (refusal_of_stage(stage) or "")


def test_divergence_is_reported_in_one_line_with_a_remedy_and_outputs_stay(subset: WorkingCopy) -> None:
    before = outputs(subset)
    params = yaml.safe_load((subset.path / "params.yaml").read_text())
    wild = {"deep_hidden": [300] * 10, "epochs": 2, "learning_rate": 1}
    subset.edit_params(train_prices=params["train_prices"] | wild)
    done = subset.run("python -m stages.train_prices", check=False)
    assert done.returncode == 1
    (message,) = [text for text in done.stderr.splitlines() if text and "%" not in text]
    assert message == (
        "train_prices: DeepNeuralNet, seed 0: loss or weights are not finite after epoch 1, at learning rate 1.0; "
        "lower train_prices.learning_rate in params.yaml"
    )
    assert not different(outputs(subset), before)
    under_dvc = subset.run("dvc repro train_prices", check=False)
    assert under_dvc.returncode != 0
    assert message in under_dvc.stderr.splitlines()
    assert "Traceback" not in under_dvc.stderr
    assert not list((subset.path / "models").glob(".*.*"))
    subset.run("git checkout params.yaml && dvc repro train_prices")
    assert not different(outputs(subset), before)


def test_overflowing_prices_are_reported_in_one_line_with_a_remedy(
    subset: WorkingCopy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Training at too high a learning rate can end with numbers that are large but still finite."""
    params = yaml.safe_load((subset.path / "params.yaml").read_text())
    subset.edit_params(train_prices=params["train_prices"] | {"epochs": 1, "learning_rate": 1})
    run_here(subset, ["train_prices"], monkeypatch)
    message = refusal_of_stage("evaluate_prices")
    assert message is not None
    assert re.fullmatch(
        r"data/prices/all: (shallow|deep) predicts prices from .* dollars for the validation split; "
        "needed: an Excel file without extreme values, or a lower train_prices.learning_rate",
        message,
    )


def test_an_extreme_house_is_reported_in_one_line_too(subset: WorkingCopy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(subset.path)
    path = Path("data/prices/all/test.safetensors")
    houses = ames.load(path)
    houses.features[0, FEATURES.index("Lot Area")] = 1e10
    ames.save(houses, path)
    message = refusal_of_stage("evaluate_prices")
    assert message is not None
    assert re.fullmatch(r"data/prices/all: ridge predicts prices from .* dollars for the test .*", message)


def test_settings_are_distinguished_however_close_they_are(
    subset: WorkingCopy, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = subset.params()
    subset.edit_params(
        train_binary=params["train_binary"] | {"l1_penalties": [0, 1e-7, 2e-7]},
        compare_learning_rates=params["compare_learning_rates"] | {"learning_rates": [1e-7, 2e-7]},
    )
    run_here(subset, ["train_binary", "compare_learning_rates", "lecture"], monkeypatch)
    assert {*pd.read_csv(subset.path / "metrics/binary.csv").l1_penalty} == {0, 1e-7, 2e-7}
    for table in ("accuracy", "first_epoch"):
        rates = pd.read_csv(subset.path / f"plots/learning_rates/{table}.csv").learning_rate
        assert {*rates} == {1e-7, 2e-7}
    assert "at learning rate 2e-07, on all" in (subset.path / "docs/lecture.md").read_text()


def test_a_stage_also_runs_without_progress_output(subset: WorkingCopy) -> None:
    assert subset.run("python -m stages.train_binary", TQDM_DISABLE="1").stderr == ""


def ctrl_c(stage: psutil.Process) -> None:
    """Interrupts the whole process group, as a terminal does."""
    os.killpg(stage.pid, signal.SIGINT)


def kill(stage: psutil.Process) -> None:
    stage.kill()


@pytest.mark.parametrize(("end", "line"), [(ctrl_c, "interrupted"), (kill, "")])
def test_ending_a_training_ends_its_workers_and_leaves_the_outputs(
    subset: WorkingCopy, end: Callable[[psutil.Process], None], line: str
) -> None:
    before = outputs(subset)
    subset.edit_params(train_deep={"epochs": 100_000, "batch_size": 256, "learning_rate": 0.001})
    stage = subprocess.Popen(
        [sys.executable, "-m", "stages.train_deep"],
        cwd=subset.path,
        env=ENVIRONMENT,  # one worker: the second network waits
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # a background test run ignores Ctrl-C
    )
    try:
        while not any(trains(worker) for worker in workers_of(stage.pid)):
            assert stage.poll() is None
            time.sleep(0.1)
        end(psutil.Process(stage.pid))
        _, errors = stage.communicate(timeout=20)  # returns once all processes that could write have ended
    except BaseException:
        os.killpg(stage.pid, signal.SIGKILL)
        raise
    assert "Traceback" not in errors
    assert line in errors
    assert not different(visible(outputs(subset)), before)


def visible(files: dict[str, bytes]) -> dict[str, bytes]:
    """Returns all files but the leftovers of a killed run, which git ignores and the next run removes."""
    return {name: content for name, content in files.items() if "/." not in name}


def test_training_needs_no_test_images(subset: WorkingCopy, monkeypatch: pytest.MonkeyPatch) -> None:
    (subset.path / "data/processed/test.safetensors").unlink()
    monkeypatch.setenv("MLP_STORE", "off")
    run_here(subset, ["train_deep"], monkeypatch)


def test_a_network_is_fetched_from_another_folder(subset: WorkingCopy, tmp_path: Path) -> None:
    elsewhere = WorkingCopy(tmp_path / "elsewhere")
    elsewhere.path.mkdir()
    elsewhere.run(f"dvc get {subset.path} models/deep/seed-1.safetensors -o one.safetensors")
    assert (elsewhere.path / "one.safetensors").read_bytes() == (
        subset.path / "models/deep/seed-1.safetensors"
    ).read_bytes()


def test_each_network_is_an_artifact_with_a_version_of_its_own(subset: WorkingCopy, tmp_path: Path) -> None:
    artifacts = yaml.safe_load((subset.path / "dvc.yaml").read_text())["artifacts"]
    assert {artifact["path"] for artifact in artifacts.values()} == {
        str(path.relative_to(subset.path)) for path in (subset.path / "models").iterdir()
    }
    assert all(artifact["type"] == "model" and artifact["desc"] for artifact in artifacts.values())
    author = "GIT_COMMITTER_NAME=test GIT_COMMITTER_EMAIL=test@localhost"
    subset.run(f"{author} gto register binary --version v1.0.0")
    subset.run(f"dvc artifacts get . binary -o {tmp_path / 'binary'}")
    fetched = {path.name: path.read_bytes() for path in (tmp_path / "binary").iterdir()}
    expected = {path.name: path.read_bytes() for path in (subset.path / "models/binary").iterdir()}
    assert not different(fetched, expected)


def test_a_new_seed_and_a_new_size_train_only_their_own_networks(
    subset: WorkingCopy, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages, params = ["train_shallow", "train_deep", "compare_sizes"], subset.params()
    before = stored(subset.path)
    subset.edit_params(seeds=[*params["seeds"], 8])
    run_here(subset, stages, monkeypatch)
    assert len(stored(subset.path).keys() - before) == 2 + len(params["compare_sizes"]["architectures"])
    architectures = [*params["compare_sizes"]["architectures"], [6]]
    before = stored(subset.path)
    subset.edit_params(seeds=params["seeds"], compare_sizes=params["compare_sizes"] | {"architectures": architectures})
    run_here(subset, stages, monkeypatch)
    assert len(stored(subset.path).keys() - before) == len(params["seeds"])


@pytest.mark.parametrize("shell", ["/bin/sh", "/bin/bash"])
def test_a_stage_ends_with_the_dvc_that_started_it(subset: WorkingCopy, shell: str) -> None:
    """Otherwise it could replace the outputs of the next run. A shell between them may stay or exec the stage."""
    subset.edit_params(train_deep={"epochs": 100_000, "batch_size": 256, "learning_rate": 0.001})
    command = ["dvc", "repro", "-q", "-s", "train_deep"]
    dvc = subprocess.Popen(command, cwd=subset.path, env=ENVIRONMENT | {"SHELL": shell})
    while not workers_of(dvc.pid):  # until the stage trains
        assert dvc.poll() is None
        time.sleep(0.1)
    started = psutil.Process(dvc.pid).children(recursive=True)
    dvc.kill()
    dvc.wait()
    _, alive = psutil.wait_procs(started, timeout=5)
    assert not alive
