"""The demonstration of drift: dated entries of Python's changelog as a CSV, or one line why there are none."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from benchmarks import drift_demo
from benchmarks.panel.packages import Unavailable

CHANGELOG = """<h2>Python 3.11.2 final</h2><p><em>Release date: 2023-02-07</em></p>
<section><h3>Core and Builtins</h3><ul><li>gh-1: Fix "one", and two.</li></ul><h3>Library</h3><ul><li>Three.</li></ul></section>
<h2>Python 3.11.1 final</h2><p><em>Release date: 2022-12-06</em></p><h3>Library</h3><ul><li>Release date: 1999-01-01</li></ul>
<h2>Python 3.11.0</h2><h3>Library</h3><ul><li>Undated.</li></ul>"""


def test_dated_entries_are_written_the_earliest_first(tmp_path: Path) -> None:
    path = tmp_path / "new" / "changelog.csv"
    assert drift_demo.write(CHANGELOG, path) == (3, 2, "2022-12-06", "2023-02-07")
    with path.open(encoding="utf-8", newline="") as file:
        assert list(csv.reader(file)) == [
            ["text", "label", "date"],
            ["Release date: 1999-01-01", "Library", "2022-12-06"],
            ['Fix "one", and two.', "Core and Builtins", "2023-02-07"],
            ["Three.", "Library", "2023-02-07"],
        ]


@pytest.mark.parametrize("content", ["", "<h2>Python</h2><h3>Library</h3><ul><li>Undated.</li></ul>"])
def test_without_dated_entries_nothing_is_written_and_one_line_says_so(
    content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(drift_demo, "TARGET", tmp_path / "changelog.csv")
    monkeypatch.setattr(drift_demo, "python_changelog", lambda: content)
    assert drift_demo.main() == 0
    assert capsys.readouterr().err == "skipped: the changelog in python3.11-doc has no entry with a release date\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("error", [Unavailable("apt-get is not on this machine"), OSError("no file")])
def test_without_the_package_the_demonstration_is_skipped_in_one_line(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> str:
        raise error

    monkeypatch.setattr(drift_demo, "TARGET", tmp_path / "changelog.csv")
    monkeypatch.setattr(drift_demo, "python_changelog", fail)
    assert drift_demo.main() == 0
    assert capsys.readouterr().err == f"skipped: {error}\n"
