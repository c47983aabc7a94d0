"""Ingest streams a source into data/raw, whole or not at all."""

import json
from dataclasses import asdict
from datetime import datetime

import pyarrow.parquet as pq
import pytest

from headway.data.sources.source import LABELLED, UNLABELLED
from headway.errors import HeadwayError
from headway.stages import ingest as stage
from headway.stages.ingest import ingest
from tests.folders import sha256_of_folder

MESSY = 'text;label\nfine;1\n"dull;\nvery";0\na;b;c\ncafé;\n"end;1\n'


def of_file(params, path, **knobs):
    return params.override({"data.source": "file", "data.path": path, **{f"data.{knob}": knobs[knob] for knob in knobs}})


def test_a_messy_file_is_ingested_with_every_row(params, project):
    (project.root / "own.csv").write_text(MESSY, encoding="utf-8-sig")
    manifest = ingest(of_file(params, "own.csv"), project)
    table = pq.read_table(project.raw / "rows.parquet")
    assert table.schema == LABELLED
    assert [row["problem"] for row in table.to_pylist()] == [
        *("", "", "expected 2 fields, found 3", "", "a quote is opened and never closed"),
    ]
    assert table["row"].to_pylist() == [1, 2, 3, 4, 5]
    written = json.loads((project.raw / "manifest.json").read_text(encoding="utf-8"))
    assert written == asdict(manifest)
    assert written["rows"] == 5
    assert written["unreadable"] == 2
    assert written["label_counts"] == {"": 1, "0": 1, "1": 1}
    assert written["files"] == [
        {
            "name": "own.csv",
            "size": len(MESSY.encode("utf-8-sig")),
            "sha256": written["sha256"],
            "encoding": "utf-8-sig",
            "encoding_guessed": False,
            "delimiter": ";",
            "rows": 5,
            "columns": ["text", "label"],
            "unterminated_label": None,
        }
    ]


@pytest.mark.parametrize(
    ("end", "label"),
    [("dull,0\n", None), ("dull,0", "0"), ("dull,", ""), ("du", ""), ("dull,neg\r\n", None), ("dull,ne", "ne")],
)
def test_a_last_line_without_a_line_end_is_noted_in_the_manifest(params, project, end, label):
    (project.root / "own.csv").write_bytes(b"text,label\nfine,1\nso so,0\n" + end.encode())
    assert ingest(of_file(params, "own.csv"), project).files[0].unterminated_label == label


def test_texts_without_labels_are_written_to_their_own_file(params, project):
    (project.root / "input").mkdir()
    (project.root / "input" / "a.csv").write_text("text,label\nfine,1\n")
    assert ingest(of_file(params, "input"), project).unlabelled_rows == 0
    assert not (project.raw / "unlabelled.parquet").exists()
    (project.root / "input" / "u.jsonl").write_text('{"text": "so"}\n{"text": "and so"}\n')
    manifest = ingest(of_file(params, "input", unlabelled_files="u.*"), project)
    table = pq.read_table(project.raw / "unlabelled.parquet")
    assert table.schema == UNLABELLED
    assert table["text"].to_pylist() == ["so", "and so"]
    assert (manifest.rows, manifest.unlabelled_rows) == (1, 2)


def test_the_time_is_written_to_the_scratch_folder_and_not_to_the_outs(params, project):
    (project.root / "own.csv").write_text(MESSY)
    manifest = ingest(of_file(params, "own.csv"), project)
    before = sha256_of_folder(project.raw)
    note = json.loads((project.scratch / "ingested.json").read_text())
    assert note["rows_sha256"] == manifest.rows_sha256
    assert datetime.fromisoformat(note["when"]).tzinfo is not None
    ingest(of_file(params, "own.csv"), project)
    assert sha256_of_folder(project.raw) == before


def test_the_hash_of_the_rows_depends_only_on_texts_labels_and_their_order(params, project):
    def digest(name, content):
        (project.root / name).write_text(content)
        return ingest(of_file(params, name), project).rows_sha256

    first = digest("a.csv", "text,label\nfine,1\ndull,0\n")
    assert digest("b.tsv", 'id\tlabel\ttext\n7\t1\t"fine"\n8\t0\tdull\n') == first
    assert digest("c.csv", "text,label\ndull,0\nfine,1\n") != first
    assert digest("d.csv", "text,label\nfin,e1\ndull,0\n") != first


def test_a_file_that_grows_while_it_is_read_is_refused_and_the_last_data_kept(params, project, monkeypatch):
    file = project.root / "own.csv"
    file.write_text("text,label\n" + "fine,1\n" * 20_000)
    ingest(of_file(params, "own.csv"), project)
    before = sha256_of_folder(project.raw)

    class GrowingTally(stage.Tally):
        def add(self, batch):
            if not self.rows:
                with file.open("a") as more:
                    more.write("late,1\n")
            return super().add(batch)

    monkeypatch.setattr(stage, "Tally", GrowingTally)
    with pytest.raises(HeadwayError, match=r"^own\.csv: changed while it was read; run again when it is complete$"):
        ingest(of_file(params, "own.csv"), project)
    assert sha256_of_folder(project.raw) == before
    assert not project.raw.with_name("raw.partial").exists()


def test_a_file_with_only_a_header_is_refused(params, project):
    (project.root / "own.csv").write_text("text,label\n")
    with pytest.raises(HeadwayError, match=r"^file own\.csv: holds no rows; expected rows with a text and a label$"):
        ingest(of_file(params, "own.csv"), project)
    assert not project.raw.exists()
