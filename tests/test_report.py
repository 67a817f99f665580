"""The report, opened in a real browser, and where its numbers come from."""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator

import pandas as pd
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

from conftest import WorkingCopy

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chromium-browser"))), None)
browser_only = pytest.mark.skipif(
    not CHROMIUM and "CI" not in os.environ, reason="no Chromium: apt-get install chromium"
)
# without these it asks its maker for updates, and as root, as in a container, it has no sandbox
SWITCHES = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-sandbox"]
SCREENS = {"phone": (390, 844), "desk": (1280, 900)}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=SWITCHES)
        yield browser
        browser.close()


@pytest.fixture(params=[(screen, scheme) for screen in SCREENS for scheme in ("light", "dark")], ids="-".join)
def page(request: pytest.FixtureRequest, browser: Browser, subset_template: WorkingCopy) -> Iterator[Page]:
    """The report on a screen, after every file that it asks for is known to be itself and no error was shown."""
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
def test_every_picture_is_there_and_nothing_is_wider_than_the_screen(page: Page) -> None:
    assert page.locator("figure svg").count() == 10
    for picture in page.locator("figure svg").all():
        box = picture.bounding_box()
        assert box is not None
        assert box["width"] > 200
        assert box["height"] > 150
    assert page.locator(".images img").count() == 32
    assert page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth === 28)")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


@browser_only
def test_axe_finds_nothing_that_keeps_people_out(page: Page) -> None:
    """Contrast, keyboard, names and structure, in both colour schemes and widths."""
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
def test_the_keyboard_reaches_what_scrolls(page: Page) -> None:
    regions = page.locator(".scroll").count()
    reached = set()
    for _ in range(regions):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.closest('.scroll') && document.activeElement.outerHTML"))
    assert len(reached - {None}) == regions


def test_the_report_is_one_small_file_without_script(subset: WorkingCopy) -> None:
    html = (subset.path / "report.html").read_text()
    assert len(html.encode()) < 2_000_000
    assert "<script" not in html
    assert not re.findall(r"""(?:src|href)="(?!data:)[^"]*|url\((?!#)[^)]*|@import""", html)


def test_the_report_says_what_evaluate_found(subset: WorkingCopy) -> None:
    html = (subset.path / "report.html").read_text()
    evaluation = json.loads((subset.path / "metrics/evaluation.json").read_text())
    networks = pd.read_csv(subset.path / "metrics/networks.csv")
    assert evaluation["comparison"]["verdict"] in html
    assert f"{evaluation['comparison']['difference'] * 100:+.2f} percentage points" in html
    for of in (networks[networks.network == name] for name in ("shallow", "deep")):
        assert f"{of.accuracy.mean():.4f} ± {of.accuracy.std():.4f}" in html
    mistakes = pd.read_csv(subset.path / "plots/mistakes.csv")
    assert mistakes.groupby("network").size().to_dict() == {"deep": 16, "shallow": 16}
    for row in mistakes.itertuples():
        assert f'alt="test image {row.image}"' in html
    workbook = hashlib.sha256((subset.path / "data/ames/AmesHousing.xlsx").read_bytes()).hexdigest()
    assert workbook in html


def test_the_pictures_of_the_readme_say_what_their_axes_are(subset: WorkingCopy) -> None:
    for name, title in (("accuracy_by_size", "number of parameters"), ("validation_accuracy", "epoch")):
        picture = (subset.path / f"docs/{name}.svg").read_text()
        assert title in picture
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
