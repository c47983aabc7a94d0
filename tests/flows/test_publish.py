"""Decisions by hand: what a Prefect server gets of them, and that one which fails takes nothing back."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows import office, report
from headway.layout import Layout
from headway.promotion.decision import PROMOTION, RETIREMENT, Decision
from tests.promotion.conftest import story


@pytest.fixture
def record() -> Decision:
    return story((PROMOTION, 1), (RETIREMENT, 1))[-1]


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    found = Layout(tmp_path)
    found.scratch.mkdir()
    return found


def test_without_a_server_prefect_is_not_asked(
    record: Decision, layout: Layout, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.setattr(report, "publish_by_hand", lambda _: pytest.fail("Prefect was asked"))
    assert "retired" in office.tell(layout, record).read_text(encoding="utf-8")
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("url", "failing", "told"),
    [
        ("http://127.0.0.1:9/api", False, "the Prefect server at http://127.0.0.1:9/api does not answer"),
        ("", True, "the disk is full"),
    ],
)
def test_a_server_that_fails_is_told_of_and_the_decision_stands(
    record: Decision,
    layout: Layout,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    url: str,
    failing: bool,
    told: str,
) -> None:
    def full(_: Decision) -> None:
        raise RuntimeError("the disk is full\nand more")

    monkeypatch.setenv("PREFECT_API_URL", url or "http://127.0.0.1:1/api")
    if failing:
        monkeypatch.setattr(office.server, "check", lambda: None)
        monkeypatch.setattr(report, "publish_by_hand", full)
    assert office.tell(layout, record).is_file()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"headway: decision {record.number} stands, but Prefect holds no artifact of it: {told}")
