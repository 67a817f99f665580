"""Opens the report and DVC's plots in a real browser, and checks where their numbers come from."""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from html import unescape
from itertools import combinations
from pathlib import Path

import pandas as pd
import pytest
import vl_convert
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

from conftest import ROOT, WorkingCopy
from pipeline.charts import LOOK, chart, svg
from pipeline.networks import NETWORKS
from stages.evaluate import MISTAKES
from stages.report import _sizes

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chromium-browser"))), None)
browser_only = pytest.mark.skipif(
    not CHROMIUM and "CI" not in os.environ, reason="no Chromium: apt-get install chromium"
)
# no requests for updates, and no sandbox, which does not work as root, as in a container
SWITCHES = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-sandbox"]
SCREENS = {"phone": (390, 844), "desk": (1280, 900)}
MEASURES = {  # for each table in metrics/: columns to group by, and columns whose means are reported
    "networks.csv": (["network"], ["accuracy", "loss", "calibration_error"]),
    "prices.csv": (["houses", "model"], ["rmse", "rmsle", "r2"]),
    "binary.csv": (["l1_penalty"], ["l1_norm", "training_loss", "test_loss", "test_accuracy"]),
    "confusion.csv": (["network", "actual", "predicted"], ["percent"]),
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=SWITCHES)
        yield browser
        browser.close()


@pytest.fixture(params=[(screen, scheme) for screen in SCREENS for scheme in ("light", "dark")], ids="-".join)
def page(request: pytest.FixtureRequest, browser: Browser, subset_template: WorkingCopy) -> Iterator[Page]:
    """Opens the report, and checks after the test that it requested no other file and logged nothing."""
    screen, scheme = request.param
    width, height = SCREENS[screen]
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
    requested: list[str] = []
    errors: list[str] = []
    page.on("request", lambda each: requested.append(each.url))
    page.on("console", lambda message: errors.append(message.text))
    page.on("pageerror", lambda error: errors.append(str(error)))
    address = (subset_template.path / "report.html").as_uri()
    page.goto(address)
    yield page
    page.close()
    assert [url for url in requested if not url.startswith("data:")] == [address]
    assert errors == []


@browser_only
def test_every_picture_is_shown_and_nothing_is_wider_than_the_screen(page: Page) -> None:
    assert page.locator("figure").count() == 9 + len(NETWORKS)  # one confusion matrix per network
    for figure in page.locator("figure").all():
        box, picture = figure.bounding_box(), figure.locator("svg").bounding_box()
        assert box is not None
        assert picture is not None
        assert picture["width"] == pytest.approx(box["width"], abs=1)
        assert picture["width"] > 300
        assert picture["height"] > 150
    assert page.locator(".images img").count() == MISTAKES * len(NETWORKS)
    assert page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth === 28)")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


@browser_only
def test_the_first_column_stays_in_view_while_a_table_scrolls(page: Page) -> None:
    for region in page.locator(".scroll").all():
        region.evaluate("region => region.scrollLeft = region.scrollWidth")
        box, cell = region.bounding_box(), region.locator("tbody th").first.bounding_box()
        assert box is not None
        assert cell is not None
        assert cell["x"] == pytest.approx(box["x"], abs=1)
        assert cell["width"] < 0.65 * box["width"]


@browser_only
def test_axe_finds_no_accessibility_violations(page: Page) -> None:
    """Covers contrast, keyboard, names and structure, in both colour schemes and at both widths."""
    found = Axe().run(page).response
    assert "color-contrast" in {rule["id"] for rule in found["passes"]}
    assert [(rule["id"], rule["nodes"][0]["html"]) for rule in found["violations"]] == []


@browser_only
def test_colours_follow_the_scheme(browser: Browser, subset_template: WorkingCopy) -> None:
    colours = []
    for scheme in ("light", "dark"):
        page = browser.new_page(color_scheme=scheme)
        page.goto((subset_template.path / "report.html").as_uri())
        fill = "getComputedStyle(document.querySelector('figure svg text')).fill"
        colours.append((page.evaluate("getComputedStyle(document.body).backgroundColor"), page.evaluate(fill)))
        page.close()
    assert colours == [("rgb(255, 255, 255)", "rgb(28, 28, 28)"), ("rgb(22, 24, 27)", "rgb(236, 236, 236)")]


@browser_only
def test_scrollable_regions_can_be_reached_by_keyboard(page: Page) -> None:
    regions = page.locator(".scroll").count()
    reached = set()
    for _ in range(regions):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.closest('.scroll') && document.activeElement.outerHTML"))
    assert len(reached - {None}) == regions


def forty_sizes() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Returns tables as compare_sizes writes them: 40 is the best, 39 is not shown to be worse, all others are."""
    names = [str(number) for number in range(1, 41)]
    standing = ["shown to be worse"] * 38 + ["not shown to be worse", "best"]
    sizes = pd.DataFrame(
        [
            (name, int(name) * 1000, int(name) * 1e9, seed, 0.9, 0.9 + int(name) / 1000 + seed / 10_000, rank)
            for name, rank in zip(names, standing, strict=True)
            for seed in (0, 1)
        ],
        columns=["hidden", "parameters", "multiply_adds", "seed", "validation_accuracy", "test_accuracy", "standing"],
    )
    pairs = pd.DataFrame(combinations(reversed(names), 2), columns=["first", "second"])
    close = pairs["first"].astype(int) - pairs["second"].astype(int) == 1
    return sizes, pairs.assign(verdict=(pairs["first"] + " is better").mask(close, "no difference shown"))


def test_the_table_of_forty_sizes_has_a_row_for_each_the_best_first() -> None:
    rows = [*_sizes(*forty_sizes())]
    assert [row["hidden"] for row in rows] == [str(number) for number in range(40, 0, -1)]
    assert [row["standing"] for row in rows[:3]] == ["best", "not shown to be worse", "shown to be worse"]
    assert [(row["wins"], row["losses"]) for row in (rows[0], rows[1], rows[-1])] == [(38, 0), (37, 0), (0, 38)]
    assert rows[0]["to_best"] is None
    assert [row["to_best"]["verdict"] for row in rows[1:3]] == ["no difference shown", "40 is better"]


def test_the_chart_of_forty_sizes_names_the_best_and_marks_those_not_shown_to_be_worse(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(ROOT)
    sizes, _ = forty_sizes()
    rows = sizes.rename(columns={"test_accuracy": "accuracy"}).assign(network="")
    picture = svg(chart("networks", rows, x="parameters", x_label="size", y="accuracy"), LOOK)
    assert re.findall(">([^<]*(?:worse|best)[^<]*)</text>", picture) == [
        "size shown to be worse",
        "size not shown to be worse",
        "40, best size",
    ]
    means = re.findall('aria-roledescription="tick"', picture)
    assert len(means) == 40


def test_the_report_is_one_small_file_without_script(subset: WorkingCopy) -> None:
    html = (subset.path / "report.html").read_text()
    assert len(html.encode()) < 2_000_000
    assert "<script" not in html
    assert not re.findall(r"""(?:src|href)="(?!data:)[^"]*|url\((?!#)[^)]*|@import""", html)


def test_the_report_states_the_result_of_evaluate(subset: WorkingCopy) -> None:
    html = (subset.path / "report.html").read_text()
    evaluation = json.loads((subset.path / "metrics/evaluation.json").read_text())
    networks = pd.read_csv(subset.path / "metrics/networks.csv")
    assert evaluation["comparison"]["verdict"] in html
    assert f"{evaluation['comparison']['difference'] * 100:+.2f} percentage points" in html
    for _, group in networks.groupby("network"):
        assert f"{group.accuracy.mean():.4f} ± {group.accuracy.std():.4f}" in html
    mistakes = pd.read_csv(subset.path / "plots/mistakes.csv")
    assert mistakes.groupby("network").size().to_dict() == dict.fromkeys(networks.network, 16)
    for row in mistakes.itertuples():
        assert f'alt="test image {row.image}"' in html
    workbook = hashlib.sha256((subset.path / "data/ames/AmesHousing.xlsx").read_bytes()).hexdigest()
    assert workbook in html


@pytest.mark.parametrize("file", sorted(path.name for path in (ROOT / "metrics").iterdir()))
def test_the_report_covers_every_metrics_file(file: str, subset_template: WorkingCopy) -> None:
    html = (subset_template.path / "report.html").read_text()
    words = set(re.findall(r"[^\s<>]*[^\s<>,:]", re.sub("<!--.*?-->|<style>.*?</style>", "", html, flags=re.DOTALL)))
    for value in reported(subset_template.path / "metrics" / file):
        if isinstance(value, str):
            assert value in html
        else:
            signed = f"{round(value, 4) + 0.0:+.4f}"  # no minus before zero
            forms = (format(value, form) for form in (".4f", ".3f", ".2f", ".1f", ".3g", ",.0f"))
            assert {signed, *forms} & words, value


def reported(path: Path) -> Iterator[float | str]:
    """Yields all values of a JSON file, or a table's means over seeds: of test data, and of shares from 0.05 % up."""
    if path.suffix == ".json":
        levels = [json.loads(path.read_text(encoding="utf-8"))]
        for value in levels:
            if isinstance(value, dict):
                levels += value.values()
            else:
                yield value
    else:
        keys, measures = MEASURES[path.name]
        table = pd.read_csv(path)
        if path.name == "prices.csv":
            table = table[table.split == "test"]
        if path.name == "confusion.csv":
            table = table.assign(percent=100 * table.share + 1e-9)[table.share >= 0.0005]  # rounds halves up
        yield from table.groupby(keys)[measures].mean().to_numpy().ravel().tolist()


def test_the_report_shows_every_claim_of_the_lecture(subset: WorkingCopy) -> None:
    report = unescape((subset.path / "report.html").read_text())
    claims = pd.read_csv(subset.path / "plots/claims.csv", dtype=str, keep_default_na=False)
    assert len(claims) > 10
    page = (subset.path / "docs/lecture.md").read_text()
    for row in claims.itertuples(index=False):
        assert f"| {' | '.join(row)} |" in page
        assert all(cell in report for cell in row)


def test_the_picture_in_the_readme_has_axis_titles(subset: WorkingCopy) -> None:
    picture = (subset.path / "docs/accuracy_by_size.svg").read_text()
    assert "number of parameters" in picture
    assert "accuracy" in picture
    assert "var(" not in picture


def test_dvc_shows_at_most_eight_plots_each_with_titles(subset: WorkingCopy) -> None:
    plots = json.loads(subset.run("dvc plots show --json").stdout)["data"]
    assert len(plots) <= 8
    for name, [plot] in plots.items():
        text = plot["content"] if isinstance(plot["content"], str) else json.dumps(plot["content"])
        assert "<DVC_METRIC" not in text, name
        spec = json.loads(text)
        assert spec["title"]["text"], name
        assert set(re.findall(r'"title": "([^"]+)"', text)), name


def test_plots_of_two_commits_name_both_and_the_axes(subset: WorkingCopy) -> None:
    plots = json.loads(subset.run("dvc plots diff HEAD --json").stdout)["data"]
    texts = {
        name: set(re.findall(">([^<]+)</text>", vl_convert.vegalite_to_svg(plot["content"])))
        for name, [plot] in plots.items()
    }
    for name, found in texts.items():
        assert {"HEAD", "workspace"} <= found, name
        assert {"shallow", "deep"} <= found or name == "metrics/binary.csv"
    assert {"network", "images", "training", "validation"} <= texts["loss"]
    assert {"network", "L1 penalty 0.0", "L1 penalty 0.01"} <= texts["metrics/binary.csv"]


@browser_only
@pytest.mark.parametrize("command", ["dvc plots show", "dvc plots diff HEAD"])
def test_dvc_draws_every_plot_without_a_network(command: str, browser: Browser, subset: WorkingCopy) -> None:
    drawn = len(json.loads(subset.run(f"{command} --json").stdout)["data"])
    subset.run(command)
    page = browser.new_page(offline=True)
    messages: list[str] = []
    requested: list[str] = []
    page.on("console", lambda message: messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(str(error)))
    page.on("request", lambda each: requested.append(each.url))
    address = (subset.path / "dvc_plots/index.html").as_uri()
    page.goto(address)
    page.wait_for_function(f"document.querySelectorAll('svg.marks').length === {drawn}")
    page.close()
    assert requested == [address]
    assert messages == []
