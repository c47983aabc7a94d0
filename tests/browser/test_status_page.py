"""The status page of the service in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from headway.serving.package import ModelPackage
from tests.browser.conftest import LOOKS
from tests.browser.service import Service
from tests.browser.test_service_page import OVERFLOW, opened

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext

ESTIMATE = {"value": 0.914, "low": 0.9, "high": 0.93, "rows": 300}
MONITORING = {
    "status": "alarm",
    "reasons": ["accuracy of labelled answers fell below what is accepted", "<b>texts</b> " + "changed" * 40],
    "version": "7",
    "answers": 12345,
    "last_day": "2026-12-01",
    "estimated": ESTIMATE,
    "realised": None,
    "expected": 0.921,
}
STATUS = {
    "model": {
        "name": "film-reviews",
        "version": "7",
        "registered_at": "2026-11-30T04:00:00+00:00",
        "decision": "version 7 is promoted",
    },
    "serving": {
        "started_at": "2026-12-01T04:00:00+00:00",
        "answers_since": "2026-12-01T04:00:00+00:00",
        "checked_at": "2026-12-01T05:00:00+00:00",
        "swaps": 2,
        "failures": 0,
        "problem": None,
        "ready": True,
        "shadow": "8",
    },
    "requests": {"answered": 1234, "refused": 5, "failed": 0, "texts": 23456, "texts_not_classified": 3},
    "log": {"rows_written": 23000, "rows_waiting": 456, "rows_dropped": 0, "failed_writes": 0, "problem": None},
    "monitoring": MONITORING,
    "now": "2026-12-01T05:00:01+00:00",
}


@pytest.fixture
def service() -> Iterator[Service]:
    package: Any = ModelPackage  # the status is asked for, and no text is classified
    with Service(package).running() as started:
        started.status = STATUS
        yield started


@pytest.mark.parametrize("look", LOOKS)
def test_the_page_fits_the_screen_and_is_accessible(looks: dict[str, BrowserContext], service: Service, look: str) -> None:
    from axe_playwright_python.sync_playwright import Axe

    service.token = "a-secret"
    with opened(looks[look], service, "status", quiet=False) as page:
        page.wait_for_selector("#token-section:not([hidden])")
        page.fill("#token", "a-secret")
        page.click("text='Use it'")
        page.wait_for_selector("#known:not([hidden])")
        assert page.evaluate(OVERFLOW) == 0
        violations = Axe().run(page).response["violations"]
    assert [one["id"] for one in violations if one["impact"] in ("serious", "critical")] == []


def test_the_page_shows_champion_requests_log_and_verdict(looks: dict[str, BrowserContext], service: Service) -> None:
    with opened(looks["1280 light"], service, "status") as page:
        page.wait_for_selector("#known:not([hidden])")
        words = page.inner_text("main")
        assert page.title() == "film-reviews: status"
    for expected in (
        "Version 7",
        "Version 7 is promoted.",
        "Alarm: a loss of accuracy is shown.",
        "accuracy of labelled answers fell below what is accepted",
        "<b>texts</b> changed",
        "12,345, to 2026-12-01",
        "91.4% (90.0% to 93.0%; 300 answers)",
        "1,234",
        "23,456",
        "version 8",
        "23,000",
    ):
        assert expected in words


def test_a_problem_is_shown_and_a_verdict_on_another_version_is_not_taken_for_this_one(
    looks: dict[str, BrowserContext], service: Service
) -> None:
    serving = {**STATUS["serving"], "problem": "the registry does not answer"}  # type: ignore[dict-item]
    service.status = {**STATUS, "serving": serving, "log": None, "monitoring": {**MONITORING, "version": "6"}}
    with opened(looks["1280 light"], service, "status") as page:
        page.wait_for_selector("#problem:not([hidden])")
        words = page.inner_text("main")
    assert "The registry does not answer." in words
    assert "Not yet for version 7; version 6 was last monitored." in words
    assert "Alarm" not in words
    assert "not kept; set serving.log.folder" in words


def test_the_page_follows_the_service(looks: dict[str, BrowserContext], service: Service) -> None:
    with opened(looks["1280 light"], service, "status") as page:
        page.wait_for_selector("#known:not([hidden])")
        service.status = {**STATUS, "model": {**STATUS["model"], "version": "9"}}  # type: ignore[dict-item]
        page.evaluate("look()")
        page.wait_for_selector("#model-facts:has-text('Version 9')")
