"""Real texts that drift: the entries of Python's changelog, 2015 to 2023, with their sections as labels and their release dates.

``python -m benchmarks.drift_demo`` writes them as a CSV, ready for ``split.time_column``. The texts are in Debian's package
python3.11-doc, which is downloaded once.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

from benchmarks.panel.packages import Unavailable
from benchmarks.panel.parsers import dated_python_news
from benchmarks.panel.sets import UNREADABLE, python_changelog

PROJECT = Path(__file__).resolve().parents[1]
TARGET = PROJECT / "data" / "drift" / "python_changelog.csv"


def write(content: str, path: Path) -> tuple[int, int, str, str]:
    """Write the dated entries of a changelog as a CSV with the columns text, label and date, the earliest first.

    Returns:
        The numbers of entries and of labels, and the first and the last date.

    Raises:
        Unavailable: the changelog has no dated entry.
    """
    rows = sorted((row for row in dated_python_news(content) if row[2]), key=lambda row: row[2])
    if not rows:
        raise Unavailable("the changelog in python3.11-doc has no entry with a release date")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("text", "label", "date"))
        writer.writerows(rows)
    return len(rows), len({label for _, label, _ in rows}), rows[0][2], rows[-1][2]


def main() -> int:
    """Write the CSV and print what to do with it; the exit status is 0 also if the package cannot be had."""
    try:
        rows, labels, first, last = write(python_changelog(), TARGET)
    except (Unavailable, *UNREADABLE) as error:
        print(f"skipped: {error}", file=sys.stderr)  # noqa: T201
        return 0
    where = TARGET.relative_to(PROJECT)
    print(  # noqa: T201
        f"{where}: {rows:,} entries of Python's changelog in {labels} classes, {first} to {last}\n"
        f"1. .venv/bin/headway init --data {where} --yes\n"
        "2. in params.yaml: split.time_column: date\n"
        "3. make run: the section “Over time” of reports/evaluation.html shows the test rows, the latest tenth\n"
        '4. for a model of the past on the same test rows, split.train_until: "2018-12-31", then .venv/bin/dvc repro report'
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
