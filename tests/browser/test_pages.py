"""Every page in a real browser: it fits the screen, works offline and without errors, and everyone can use it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from headway.reporting.figures import PALETTE
from tests.browser.conftest import LOOKS
from tests.reporting.monitoring_records import STATES

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

KINDS = ["index", "decision", "refusal", "card", "evaluation", "study", "data", "label_errors", "explanation"]
KINDS += [f"monitor_{name}" for name in STATES]
#: How far a page is wider than the screen, in pixels.
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@contextmanager
def opened(context: BrowserContext, path: Path) -> Iterator[Page]:
    """A page in the browser. At the end it must have made no request but for itself, and logged no error."""
    page = context.new_page()
    requests: list[str] = []
    errors: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: errors.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(path.as_uri())
    yield page
    page.close()
    assert requests == [path.as_uri()]
    assert errors == []


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_page_fits_the_screen_stays_offline_and_is_accessible(
    looks: dict[str, BrowserContext], drawn: Path, kind: str, look: str
) -> None:
    from axe_playwright_python.sync_playwright import Axe

    with opened(looks[look], drawn / f"{kind}.html") as page:
        assert page.evaluate(OVERFLOW) == 0
        found = Axe().run(page).response["violations"]
    serious = {
        one["id"]: [node["html"][:200] for node in one["nodes"]] for one in found if one["impact"] in ("serious", "critical")
    }
    assert serious == {}


def test_charts_and_pages_follow_the_colour_scheme(looks: dict[str, BrowserContext], drawn: Path) -> None:
    for index, scheme in enumerate(("light", "dark")):
        with opened(looks[f"1280 {scheme}"], drawn / "evaluation.html") as page:
            text = page.eval_on_selector("svg text", "element => getComputedStyle(element).fill")
            paper = page.eval_on_selector("body", "element => getComputedStyle(element).backgroundColor")
        colours = [as_rgb(light_and_dark[index]) for light_and_dark in PALETTE.values()]
        assert text in colours
        assert paper == as_rgb(PALETTE["paper"][index])


def as_rgb(colour: str) -> str:
    return f"rgb({', '.join(str(int(colour[start : start + 2], 16)) for start in (1, 3, 5))})"


def test_a_click_selects_a_whole_hash(looks: dict[str, BrowserContext], drawn: Path) -> None:
    with opened(looks["400 light"], drawn / "decision.html") as page:
        assert not page.is_visible("code.hash")
        page.click("summary:has-text('Models, data and code')")
        page.click("code.hash >> nth=-1")
        assert re.fullmatch("[0-9a-f]{64}", str(page.evaluate("getSelection().toString().trim()")))


def test_attention_maps_name_the_words_at_their_axes(looks: dict[str, BrowserContext], drawn: Path) -> None:
    with opened(looks["1280 light"], drawn / "explanation.html") as page:
        rows = page.locator("details[open] figure >> nth=0").locator(".rows bdi").all_inner_texts()
        columns = page.locator("details[open] figure >> nth=0").locator(".columns bdi").all_inner_texts()
        page.locator("details[open] canvas >> nth=0").focus()
        page.keyboard.press("ArrowDown")
        now = page.inner_text("details[open] figure .rows .now >> nth=0")
    assert columns == rows[:-1]
    assert {"charming", "film"} & set(columns)
    assert now in columns


def test_right_to_left_texts_run_in_their_direction(looks: dict[str, BrowserContext], drawn: Path) -> None:
    with opened(looks["400 dark"], drawn / "decision.html") as page:
        directions = page.eval_on_selector_all(
            ".changed .text", "found => found.map(one => getComputedStyle(one).direction)"
        )
    assert set(directions[:-1]) == {"ltr"}
    assert directions[-1] == "rtl"


def test_hostile_texts_of_a_log_make_no_element(looks: dict[str, BrowserContext], drawn: Path) -> None:
    with opened(looks["400 light"], drawn / "monitor_warning.html") as page:
        assert page.evaluate("document.images.length") == 0
        shown = page.inner_text(".status")
    assert shown == "warning"


@pytest.mark.slow
@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("kind", ["decision", "card", "evaluation", "data", "label_errors"])
def test_a_thousand_classes_and_a_text_of_a_megabyte_fit_too(
    looks: dict[str, BrowserContext], crowded: Path, kind: str, look: str
) -> None:
    with opened(looks[look], crowded / f"{kind}.html") as page:
        assert page.evaluate(OVERFLOW) == 0


@pytest.mark.slow
def test_a_printed_page_is_light_and_shows_what_is_folded(looks: dict[str, BrowserContext], drawn: Path) -> None:
    with opened(looks["1280 dark"], drawn / "decision.html") as page:
        page.emulate_media(media="print")
        assert page.evaluate("getComputedStyle(document.body).color") == as_rgb(PALETTE["ink"][0])
        assert page.evaluate("document.querySelector('code.hash').checkVisibility()")
