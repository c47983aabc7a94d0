"""Decisions by hand: what a Prefect server gets of them, and that a failing server changes nothing."""

from __future__ import annotations

import pytest

from flows import report
from flows.local_server import Address
from headway.cli import registry as commands
from headway.promotion.decision import PROMOTION, RETIREMENT, Decision
from tests.promotion.conftest import story


@pytest.fixture
def decision() -> Decision:
    return story((PROMOTION, 1), (RETIREMENT, 1))[-1]


@pytest.mark.parametrize(
    ("named", "running"),
    [("", None), ("http://127.0.0.1:1/api", None), ("", Address("http://127.0.0.1:1/api", "headway:secret"))],
    ids=["none", "named", "running"],
)
def test_a_decision_is_published_to_the_server_that_a_flow_would_use(
    decision: Decision, monkeypatch: pytest.MonkeyPatch, named: str, running: Address | None
) -> None:
    published: list[Decision] = []
    monkeypatch.setattr(commands, "flows", lambda module: {"report": report}[module])
    monkeypatch.setattr(report, "_by_hand", published.append)
    monkeypatch.setattr(report.server, "named", lambda: named)
    monkeypatch.setattr(report.server, "check", lambda: None)
    monkeypatch.setattr(report.server.local_server, "running", lambda home: running)
    monkeypatch.setattr(report.server.local_server, "embedded", lambda home: pytest.fail("a server was started"))
    commands._publish(decision)
    assert published == ([decision] if named or running else [])


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
    monkeypatch.setattr(report.server, "named", lambda: url)
    if fails_late:
        monkeypatch.setattr(report.server, "check", lambda: None)
        monkeypatch.setattr(report, "_by_hand", full)
    report.publish_by_hand(decision)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(
        f"headway: decision {decision.number} is recorded, but Prefect could not store it as an artifact: {reason}"
    )
