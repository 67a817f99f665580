"""Two of anything at once in one clone: one waits or is refused, and no result is wrong."""

import subprocess
import time

import pytest

from conftest import ENVIRONMENT, WorkingCopy
from faults.conftest import at_work, files

pytestmark = pytest.mark.slow


def results(copy: WorkingCopy) -> dict[str, bytes]:
    return {name: content for name, content in files(copy).items() if name.startswith(("models", "metrics", "plots"))}


@pytest.mark.parametrize("other", ["dvc repro evaluate_prices", "dvc exp run evaluate_prices"])
@pytest.mark.parametrize("delay", [0, 3])
def test_a_run_beside_another(houses: WorkingCopy, other: str, delay: int) -> None:
    before = files(houses)
    houses.run("dvc exp run -q -S train_prices.epochs=1 evaluate_prices")
    expected = results(houses)
    houses.run("git checkout -q . && dvc checkout -q && rm -r .dvc/cache/runs store")
    assert files(houses) == before
    houses.edit_params(train_prices=houses.params()["train_prices"] | {"epochs": 1})
    both = []
    for command in ("dvc repro evaluate_prices", other):
        both.append(
            subprocess.Popen(command.split(), cwd=houses.path, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)
        )
        time.sleep(delay)
    ended = {run.wait(): run.communicate()[1] for run in both}
    assert 0 in ended
    for status, said in ended.items():
        assert status == 0 or "busy" in said or "lock" in said, said
    assert results(houses) == expected
    houses.run("git checkout -q params.yaml && dvc repro evaluate_prices")
    assert files(houses) == before
    assert houses.status() == ""


def test_a_queue_goes_on_after_its_worker_was_killed_as_documented(houses: WorkingCopy) -> None:
    before = files(houses)
    houses.run(
        "dvc exp run --queue -n first -S train_prices.epochs=3 -S 'seeds=[1,2,3,4,5,6,7,8,9]' evaluate_prices"
        " && dvc exp run --queue -n second -S train_prices.epochs=1 evaluate_prices"
        " && dvc queue start -j 1"
    )
    while not (runs := [each for each in at_work(houses) if "stages.train_prices" in each.cmdline()]):
        time.sleep(0.2)
    for process in at_work(houses):
        if "queue-worker" in process.cmdline():
            process.kill()
    assert runs[0].is_running()
