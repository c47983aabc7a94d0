"""Decisions by hand: what a Prefect server gets of them, and that a failing server changes nothing."""

from __future__ import annotations

import pytest

from flows import report
from headway.cli import registry as commands
from headway.promotion.decision import PROMOTION, RETIREMENT, Decision
from tests.promotion.conftest import story


@pytest.fixture
def decision() -> Decision:
    return story((PROMOTION, 1), (RETIREMENT, 1))[-1]


def test_without_a_server_prefect_is_not_imported(decision: Decision, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.setattr(commands, "flows", lambda _: pytest.fail("Prefect was asked"))
    commands._publish(decision)


def test_with_a_server_the_decision_is_published(decision: Decision, monkeypatch: pytest.MonkeyPatch) -> None:
    published: list[Decision] = []
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:1/api")
    monkeypatch.setattr(report, "publish_by_hand", published.append)
    monkeypatch.setattr(commands, "flows", lambda module: {"report": report}[module])
    commands._publish(decision)
    assert published == [decision]


@pytest.mark.parametrize(
    ("url", "fails_late", "reason"),
    [
        ("http://127.0.0.1:9/api", False, "the Prefect server at http://127.0.0.1:9/api does not answer"),
        ("http://127.0.0.1:1/api", True, "the disk is full"),
    ],
)
def test_a_failing_server_is_reported_in_one_line(
    decision: Decision,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    url: str,
    fails_late: bool,
    reason: str,
) -> None:
    def full(_: Decision) -> None:
        raise RuntimeError("the disk is full\nand more")

    monkeypatch.setenv("PREFECT_API_URL", url)
    if fails_late:
        monkeypatch.setattr(report.server, "check", lambda: None)
        monkeypatch.setattr(report, "_by_hand", full)
    report.publish_by_hand(decision)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(
        f"headway: decision {decision.number} is recorded, but Prefect could not store it as an artifact: {reason}"
    )
