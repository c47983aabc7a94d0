"""One page of each kind, drawn once, and a browser in four looks: 1280 and 400 pixels wide, light and dark."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from headway.data.tokenization import tokenizer as tokenization
from headway.label_errors import LabelError, LabelErrors
from headway.promotion.changed_texts import ChangedText, ChangedTexts
from headway.promotion.decision import REFUSAL, Decision
from headway.reporting.data.page import data_page
from headway.reporting.decision import card
from headway.reporting.decision import page as decision_page
from headway.reporting.explanation import page as explanation_page
from headway.reporting.index import page as index_page
from headway.reporting.label_errors import page as label_errors_page
from headway.reporting.monitoring import page as monitoring_page
from headway.serving.explain import explain
from tests.evaluation.test_resampling import some
from tests.promotion.conftest import CHECK, ref
from tests.real_texts import translations
from tests.reporting import monitoring_records, test_data, test_decision, test_evaluation, test_study
from tests.search.conftest import study, tune_params
from tests.serving.test_explain import random_package

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext

WIDTHS, SCHEMES = (1280, 400), ("light", "dark")
LOOKS = [f"{width} {scheme}" for width in WIDTHS for scheme in SCHEMES]
REVIEW = "a charming , funny and quietly moving film , not bad at all , but bad enough"
ALL = ["decision", "card", "evaluation", "study", "data"]
COUNTS = {"only_candidate_correct": 91, "only_opponent_correct": 41, "rows": 2458, "significance": 0.025}
DIFFERENCE = {**CHECK, "details": COUNTS}
REFUSED = {**CHECK, "name": "better_than_champion", "passed": False, "threshold": 0.0, "low": -0.001}
REFUSED["details"] = {**COUNTS, "minimum_gain": 0.002}

QUARANTINED = [{"file": "a.csv", "row": 3, "reason": "missing label", "label": None, "text": REVIEW}]


def changed(record: Decision, text: str) -> ChangedTexts:
    """Five texts for the candidate and one, in Arabic, against it."""
    one = {"candidate": "negative", "candidate_probability": 0.93, "opponent": "positive", "opponent_probability": 0.71}
    won = [ChangedText(text=f"{text}<br /><br />{number}", label="negative", **one) for number in range(5)]
    lost = ChangedText(text=" ".join(translations("ar")[:20]), label="positive", **one)
    return ChangedTexts(
        decision=record.id,
        opponent="the champion, version 2",
        only_candidate_correct=tuple(won),
        only_opponent_correct=(lost,),
    )


def label_errors(text: str, classes: list[str]) -> LabelErrors:
    """Rows of every split, one of them in Arabic."""
    texts = [text, " ".join(translations("ar")[:20]), REVIEW]
    errors = [
        LabelError("0" * 16, split, classes[0], classes[-1], 0.97, one)
        for split, one in zip(("train", "validation", "test"), texts, strict=True)
    ]
    return LabelErrors(errors, checked=90, unchecked=1, reviewed=2)


def draw(folder: Path, rows: int, classes: int, text: str) -> None:
    """Write every kind of page but that of an explanation.

    Args:
        rows, classes: of the test split.
        text: among the rows.
    """
    random = np.random.default_rng(1)
    texts = [text, *(" ".join(random.choice(REVIEW.split(), 30)) for _ in range(rows - 1))]
    names = {f"class {number}" + " שלום" * (number % 2): (40, 5, 5) for number in range(classes)}
    trials = study(folder / "journal.log", trials=10)
    (folder / "journal.log").unlink()
    record = test_decision.a_record(checks=[DIFFERENCE, test_decision.LATENCY])
    refused = test_decision.a_record(REFUSAL, checks=[REFUSED, test_decision.LATENCY], champion=ref(2))
    links = index_page.links(["index", *ALL])
    metrics = {"test": record.candidate_scores, "data": test_data.profile_of(names) | {"classes": classes}}
    html = {
        "data": data_page(test_data.profile_of(names), QUARANTINED, test_data.texts_of(names, text[:1_000])).html,
        "study": test_study.page_of(trials, tune_params()).html,
        "evaluation": test_evaluation.render(some(rows, classes, seed=1), texts, some(rows, classes, seed=3))[-1],
        "decision": decision_page.render(record, links, changed(record, text), "http://127.0.0.1:5000/#/runs/1"),
        "refusal": decision_page.render(refused, links, changed(refused, text)),
        "label_errors": label_errors_page.render(label_errors(text, list(names))),
        "card": card.page(record, "headway", links),
        "index": index_page.render("headway", record, ALL, metrics),
    }
    for name, content in html.items():
        (folder / f"{name}.html").write_text(content, encoding="utf-8")


@pytest.fixture(scope="session")
def drawn(reviews: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one page of each kind, of small data."""
    folder = tmp_path_factory.mktemp("pages")
    draw(folder, rows=90, classes=6, text=REVIEW)
    package = random_package(reviews.params, tokenization.load(reviews.layout.encoded / "tokenizer.json"))
    explanation_page.write(folder / "explanation.html", explain(package, REVIEW))
    for name, made in monitoring_records.STATES.items():
        (folder / f"monitor_{name}.html").write_text(monitoring_page.render(made()), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same pages of 1,000 classes and with a text of a megabyte without a space."""
    folder = tmp_path_factory.mktemp("crowded")
    draw(folder, rows=5_000, classes=1_000, text="汉字" * 175_000)
    return folder


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Debian's Chromium, driven by Playwright, which keeps an event loop running in this thread until the module ends."""
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed (pip install -e '.[dev]')")
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("no Chromium on this machine (Debian: apt-get install chromium)")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def looks(chromium: Browser) -> dict[str, BrowserContext]:
    """A browser context for each look."""
    return {
        f"{width} {scheme}": chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        for width in WIDTHS
        for scheme in SCHEMES
    }
