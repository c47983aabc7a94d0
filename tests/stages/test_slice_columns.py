"""Slice columns are carried from every kind of source to the test split, and change nothing else."""

from __future__ import annotations

import json
import shutil

import pandas as pd
import pyarrow.parquet as pq
import pytest

from headway.data.text.splits import SPLITS
from headway.errors import HeadwayError
from headway.files import sha256_of_file
from headway.layout import Layout
from headway.stages.ingest import ingest
from headway.stages.prepare import prepare

ROWS = {
    "text": ["fine", "dull", "so so", "fair"],
    "label": ["1", "0", "0", "1"],
    "shop": ["Köln", "", "Ulm", "Ulm"],
    "stars": [5, 1, 2, 4],
}
WRITERS = {
    "own.csv": lambda table, path: table.to_csv(path, index=False),
    "own.tsv": lambda table, path: table.to_csv(path, index=False, sep="\t"),
    "own.jsonl": lambda table, path: table.to_json(path, orient="records", lines=True, force_ascii=False),
    "own.json": lambda table, path: table.to_json(path, orient="records", force_ascii=False),
    "own.parquet": lambda table, path: table.to_parquet(path),
}


def carrying(params, columns, **knobs):
    return params.override({"data.slice_columns": columns, **{f"data.{name}": value for name, value in knobs.items()}})


@pytest.mark.parametrize("name", WRITERS)
def test_slice_columns_are_read_as_text_from_every_kind_of_file_and_an_empty_cell_is_missing(params, project, name):
    WRITERS[name](pd.DataFrame(ROWS), project.root / name)
    ingest(carrying(params, ["stars", "shop"], source="file", path=name), project)
    table = pq.read_table(project.raw / "rows.parquet")
    assert table.column_names == ["row", "text", "label", "test", "problem", "stars", "shop"]
    assert table["text"].to_pylist() == ROWS["text"]
    assert table["label"].to_pylist() == ROWS["label"]
    assert table["stars"].to_pylist() == ["5", "1", "2", "4"]
    assert table["shop"].to_pylist() == ["Köln", None, "Ulm", "Ulm"]


def test_slice_columns_are_read_from_the_hub(params, project, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", project.root / "cache")
    (project.root / "own" / "data").mkdir(parents=True)
    pd.DataFrame(ROWS).to_csv(project.root / "own" / "data" / "train.csv", index=False)
    ingest(carrying(params, ["stars"], source="hub", hub_name="./own", hub_revision="0" * 40), project)
    assert pq.read_table(project.raw / "rows.parquet")["stars"].to_pylist() == ["5", "1", "2", "4"]


def test_an_unreadable_row_has_no_slice_cells_and_undecodable_slice_cells_do_not_make_a_row_bad(params, project):
    (project.root / "own.csv").write_bytes(b"text,label,shop\nfine,1,caf\xff\nbroken,0\ndull,0,Ulm\n")
    ingest(carrying(params, ["shop"], source="file", path="own.csv", encoding="utf-8"), project)
    table = pq.read_table(project.raw / "rows.parquet")
    assert table["shop"].to_pylist() == ["caf\ufffd", None, "Ulm"]
    assert [bool(problem) for problem in table["problem"].to_pylist()] == [False, True, False]


def test_slice_columns_do_not_change_the_splits(ingested, tmp_path):
    params = ingested.params.override({"data.max_rows": 600})
    layouts = []
    for columns in ([], ["source"]):
        layout = Layout(tmp_path / str(len(columns)))
        layout.root.mkdir()
        chosen = carrying(params, columns)
        if columns:
            ingest(chosen, layout)
        else:
            shutil.copytree(ingested.layout.raw, layout.raw)
        prepare(chosen, layout)
        layouts.append(layout)
    plain, carried = layouts
    for split in SPLITS:
        table = pq.read_table(carried.prepared / f"{split}.parquet")
        assert set(table["source"].to_pylist()) == {"rotten_tomatoes"}
        assert table.drop_columns(["source"]).equals(pq.read_table(plain.prepared / f"{split}.parquet"))
    for name in ("quarantine.csv", "labels.json"):
        assert sha256_of_file(plain.prepared / name) == sha256_of_file(carried.prepared / name)
    assert plain.metrics("data").read_bytes() == carried.metrics("data").read_bytes()
    manifests = [json.loads((layout.raw / "manifest.json").read_text(encoding="utf-8")) for layout in layouts]
    assert manifests[0] == manifests[1]


def test_unlabelled_texts_need_no_slice_columns(params, project):
    (project.root / "input").mkdir()
    rows = [f"{word} number {index},{index % 2},s{index % 3}" for index in range(60) for word in ("film", "book")]
    (project.root / "input" / "a.csv").write_text("\n".join(["text,label,shop", *rows]))
    (project.root / "input" / "u.csv").write_text("text\nan unlabelled line\nand one more of these\n")
    knobs = {"source": "file", "path": "input", "unlabelled_files": "u.csv", "max_bad_share": 1.0}
    chosen = carrying(params, ["shop"], **knobs).override({"split.near_duplicates": 1.0})
    ingest(chosen, project)
    prepare(chosen, project)
    assert pq.read_table(project.prepared / "unlabelled.parquet").column_names == ["id", "text", "label", "label_id"]
    tested = pq.read_table(project.prepared / "test.parquet")
    for text, shop in zip(tested["text"].to_pylist(), tested["shop"].to_pylist(), strict=True):
        assert shop == f"s{int(text.split()[-1]) % 3}"


def test_an_unknown_slice_column_is_an_error_that_names_the_nearest(params, project):
    (project.root / "own.csv").write_text("text,label,store\nfine,1,Ulm\n")
    with pytest.raises(HeadwayError, match=r"has no column 'stor' \(data\.slice_columns\); did you mean store\?"):
        ingest(carrying(params, ["stor"], source="file", path="own.csv"), project)
    with pytest.raises(HeadwayError, match=r"has no column 'shop' \(data\.slice_columns\); known: text, label, source"):
        ingest(carrying(params, ["shop"]), project)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (["text"], "'text' is named twice"),
        (["shop", "shop"], "'shop' is named twice"),
        (["length"], "'length' is reserved"),
        (["id"], "'id' is reserved"),
    ],
)
def test_reserved_column_names_are_refused(params, columns, message):
    with pytest.raises(HeadwayError, match=message):
        carrying(params, columns)
