"""What a cleanup keeps and removes of the prediction log: whole days that are older than params allow, and only parts."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.local import LocalFileSystem
from pydantic import ValidationError

from headway.cleanup import prediction_log
from headway.cleanup.group import Group
from headway.layout import Layout
from headway.params import LogParams

TODAY = date(2026, 12, 1)
FOLDERS = ("", "labels/", "labels/quarantine/")


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A log with a part of 100 bytes on each of three days, and labels; of one day, files of others too."""
    root = tmp_path / "log"
    for folder in FOLDERS:
        for day in ("2026-11-20", "2026-11-24", "2026-12-01"):
            path = root / folder / f"date={day}" / f"part-{day.replace('-', '')}T120000000000Z-1-a.parquet"
            path.parent.mkdir(parents=True)
            path.write_bytes(bytes(100))
    (root / "date=2026-11-20" / "notes.txt").write_text("mine")
    (root / "date=2026-11-20" / ".part-20261120T120000000000Z-1-b.parquet.partial").write_bytes(bytes(10))
    (root / "date=soon").mkdir()
    return root


def plan(log: Path, keep_days: int, folder: str = "log") -> list[Group]:
    return prediction_log.plan(LogParams(folder=folder, texts="none", keep_days=keep_days), Layout(log.parent), TODAY)


def clean(log: Path, keep_days: int, folder: str = "log") -> tuple[int, int]:
    """Remove what goes; the number of files that went, and their bytes."""
    groups = plan(log, keep_days, folder)
    for group in groups:
        for step in group.steps:
            step()
    return sum(group.count for group in groups if group.goes), sum(group.size for group in groups if group.goes)


def days(log: Path, folder: str) -> list[str]:
    return sorted(path.name for path in (log / folder).glob("date=20*"))


def test_days_before_those_that_are_kept_go_with_their_labels(log: Path) -> None:
    assert clean(log, 7) == (4, 310)
    for folder in FOLDERS[1:]:
        assert days(log, folder) == ["date=2026-11-24", "date=2026-12-01"]
    assert [path.name for path in (log / "date=2026-11-20").iterdir()] == ["notes.txt"]
    assert clean(log, 7) == (0, 0)


@pytest.mark.parametrize(("keep_days", "left"), [(0, 3), (11, 3), (10, 2), (1, 1)])
def test_as_many_days_stay_as_params_say_and_all_if_that_is_zero(log: Path, keep_days: int, left: int) -> None:
    (log / "date=2026-11-20" / "notes.txt").unlink()
    clean(log, keep_days)
    assert len(days(log, "")) == left
    assert len(days(log, "labels")) == left


def test_a_project_without_a_log_has_nothing_to_remove(log: Path) -> None:
    assert prediction_log.plan(LogParams(folder="", texts="none", keep_days=1), Layout(log.parent), TODAY) == []
    assert clean(log, 1, "nothing here yet") == (0, 0)


@pytest.mark.parametrize("keep_days", [0, 90])
def test_what_is_not_there_has_no_group(log: Path, keep_days: int) -> None:
    groups = plan(log, keep_days)
    assert [(group.what, group.count, group.goes) for group in groups] == [
        ("logged answers", 4, False),
        ("labels of answers", 6, False),
    ]


class Unreachable(LocalFileSystem):
    """A bucket that cannot be listed."""

    protocol = "unreachable"
    cachable = False

    def ls(self, path: str, detail: bool = False, **options: Any) -> Any:
        raise ConnectionError("no route to the bucket")


@pytest.mark.parametrize(
    ("folder", "why"),
    [
        ("unreachable://log", "unreachable://log cannot be listed: no route to the bucket"),
        ("nowhere://log", "nowhere://log cannot be opened"),
    ],
)
def test_a_log_that_cannot_be_listed_stays_and_the_reason_is_given(log: Path, folder: str, why: str) -> None:
    fsspec.register_implementation("unreachable", Unreachable, clobber=True)
    (group,) = plan(log, 7, folder)
    assert (group.goes, group.count) == (False, 1)
    assert why in group.why


def test_more_days_than_dates_can_hold_are_refused_by_the_params() -> None:
    assert LogParams(folder="log", texts="none", keep_days=36_500).keep_days == 36_500
    with pytest.raises(ValidationError):
        LogParams(folder="log", texts="none", keep_days=36_501)
