"""The data stages: the same bytes every time and on any machine, and every row accounted for."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from ruamel.yaml import YAML

from headway.data.text.splits import SPLITS
from headway.data.tokenization.encoded import EncodedTexts
from headway.errors import HeadwayError
from headway.files import read_json
from headway.layout import Layout
from headway.params import load
from headway.reporting.data.remarks import remarks
from headway.stages.ingest import ingest
from headway.stages.prepare import prepare
from headway.stages.tokenize import tokenize
from tests.folders import sha256_of_folder

ROOT = Path(__file__).resolve().parents[2]
STAGES = {"ingest": ingest, "prepare": prepare, "tokenize": tokenize}

# Another process runs the data stages of the project in its folder.
ELSEWHERE = """
from headway import environment
environment.configure()
from headway.layout import Layout
from headway.params import load
from headway.stages.ingest import ingest
from headway.stages.prepare import prepare
from headway.stages.tokenize import tokenize
layout = Layout.find()
for stage in (ingest, prepare, tokenize):
    stage(load(layout.params), layout)
"""


def run_all(params, layout):
    for stage in STAGES.values():
        stage(params, layout)
    return hashes(layout)


def hashes(layout):
    return [sha256_of_folder(path) for path in (layout.raw, layout.prepared, layout.encoded, layout.metrics("data").parent)]


def project_with(root, **data):
    """A project whose params.yaml has other values in its data section."""
    layout = Layout(root)
    yaml = YAML()
    tree = yaml.load(layout.params)
    tree["data"].update(data)
    yaml.dump(tree, layout.params)
    return load(layout.params), layout


def run_elsewhere(layout):
    """The hashes of what another process leaves: one thread instead of many, another hash seed, another locale and zone."""
    layout = Layout(shutil.copytree(layout.root, layout.root.with_name("elsewhere"), ignore=shutil.ignore_patterns("data")))
    other = {"RAYON_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "12", "LC_ALL": "C", "TZ": "Asia/Tokyo"}
    subprocess.run([sys.executable, "-c", ELSEWHERE], cwd=layout.root, env={**os.environ, **other}, check=True)
    return hashes(layout)


def test_all_rotten_tomatoes_give_the_same_bytes_twice_and_in_another_process(project):
    params, layout = project_with(project.root, subset="rotten_tomatoes")
    first = run_all(params, layout)
    assert run_all(params, layout) == first
    assert run_elsewhere(layout) == first


@pytest.mark.slow
def test_all_of_imdb_gives_the_same_bytes_here_and_in_another_process(project):
    params, layout = project_with(project.root, subset="imdb", source="package", max_rows=0)
    assert run_all(params, layout) == run_elsewhere(layout)


@pytest.mark.e2e
def test_the_data_stages_reproduce_the_outs_in_dvc_lock(tmp_path):
    """In a copy of the project as git has it; on any machine, for no weights are involved."""
    assert (ROOT / "dvc.lock").is_file(), "dvc.lock is not there yet: run `dvc repro` and commit it"
    committed = YAML(typ="safe").load((ROOT / "dvc.lock").read_text(encoding="utf-8"))["stages"]
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.decode()
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "dvc.lock").unlink(missing_ok=True)
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    subprocess.run(["dvc", "repro", "tokenize"], cwd=tmp_path, check=True)
    made = YAML(typ="safe").load((tmp_path / "dvc.lock").read_text(encoding="utf-8"))["stages"]
    for stage in STAGES:
        assert made[stage]["outs"] == committed[stage]["outs"]


def test_every_row_is_in_one_split_or_counted(reviews):
    report = read_json(reviews.layout.metrics("data"), made_by="prepare")
    left = report["rows_kept"] + report["rows_not_sampled"] + sum(report["rows_quarantined"].values())
    assert report["rows_in"] == left == 8530
    assert report["rows_kept"] == sum(report["splits"].values())
    for name in SPLITS:
        rows = pq.read_table(reviews.layout.prepared / f"{name}.parquet")
        encoded = EncodedTexts.open(reviews.layout.encoded / f"{name}.arrow")
        assert report["splits"][name] == rows.num_rows == len(encoded)


def test_no_text_is_in_two_splits(reviews):
    texts = [pq.read_table(reviews.layout.prepared / f"{name}.parquet")["text"].to_pylist() for name in SPLITS]
    assert len(set().union(*texts)) == sum(map(len, texts))


def test_label_ids_are_indices_into_the_labels(reviews):
    labels = read_json(reviews.layout.prepared / "labels.json", made_by="prepare")
    assert labels == ["negative", "positive"]
    for name in SPLITS:
        rows = pq.read_table(reviews.layout.prepared / f"{name}.parquet")
        assert [labels[index] for index in rows["label_id"].to_pylist()] == rows["label"].to_pylist()


def test_the_tokenizer_is_fitted_on_the_training_split_alone(own_reviews):
    layout = own_reviews.layout
    before = (layout.encoded / "tokenizer.json").read_bytes()
    for name in ("validation", "test"):
        table = pq.read_table(layout.prepared / f"{name}.parquet")
        column = table.schema.get_field_index("text")
        unseen = ["unheard unheard words words"] * table.num_rows
        pq.write_table(table.set_column(column, "text", [unseen]), layout.prepared / f"{name}.parquet")
    report = tokenize(own_reviews.params, layout)
    assert (layout.encoded / "tokenizer.json").read_bytes() == before
    assert report.splits["test"].unknown_share >= 0.5


def test_ones_own_file_passes_all_data_stages(project):
    sentiments = {"好": "很好看的电影", "坏": "非常无聊", "جيد": "فيلم رائع"}
    lines = [f'"{text}, {number}\nend",{label}' for number in range(40) for label, text in sentiments.items()]
    (project.root / "own.csv").write_text("\n".join(["comment,mood", *lines, ",好", "alone,"]), encoding="utf-8")
    params, layout = project_with(
        project.root, source="file", path="own.csv", text_column="comment", label_column="mood", max_rows=0
    )
    run_all(params, layout)
    report = read_json(layout.metrics("data"), made_by="prepare")
    assert report["rows_kept"] == 120
    gone = {reason: count for reason, count in report["rows_quarantined"].items() if count}
    assert gone == {"missing text": 1, "missing label": 1}
    assert read_json(layout.prepared / "labels.json", made_by="prepare") == sorted(sentiments)
    manifest = read_json(layout.raw / "manifest.json", made_by="ingest")
    assert manifest["label_counts"] == {"": 1, "جيد": 40, "坏": 40, "好": 41}
    train = pq.read_table(layout.prepared / "train.parquet")
    assert all("\nend" in text for text in train["text"].to_pylist())


def test_oddities_of_the_files_are_remarked_upon(project):
    folder = project.root / "own"
    (folder / "more").mkdir(parents=True)
    rows = "".join(f"a film number {number} or more;{('good', 'bad')[number % 2]}\n" for number in range(60))
    (folder / "a.csv").write_text("text;label\n" + rows)
    (folder / "b.csv").write_text("id;text;label\n1;très été déjà;good\n2;and so;goo", encoding="cp1252")
    (folder / "more" / "c.csv").write_text("text;label\n" + rows)
    (folder / "texts.csv").write_text("text\nno label here\n\n<br>")
    params, layout = project_with(project.root, source="file", path="own", unlabelled_files="texts.csv", max_rows=0)
    ingest(params, layout)
    found = {
        remark.key: remark.words.striptags() for remark in remarks(prepare(params, layout).model_dump()) if remark.warning
    }
    assert list(found) == ["files_left", "cut_files", "encodings", "columns", "imbalance", "rare_classes"]
    assert "One data file is in the folder not read: more/c.csv." in found["files_left"]
    assert "Possibly truncated: b.csv." in found["cut_files"]
    assert "cp1252 for b.csv" in found["encodings"]
    assert found["columns"].endswith(": b.csv (id).")


def test_an_unreadable_source_leaves_the_old_data_and_no_scratch_files(own_reviews):
    layout = own_reviews.layout
    before = hashes(layout)
    (layout.root / "own.csv").write_text("text,mood\nfine,1\ndull,0\n")
    params, _ = project_with(layout.root, source="file", path="own.csv")
    with pytest.raises(HeadwayError, match=r"own\.csv"):
        ingest(params, layout)
    assert hashes(layout) == before
    assert not (layout.scratch / "ingest").exists()


def test_rows_that_cannot_be_split_leave_the_old_splits(own_reviews):
    layout = own_reviews.layout
    before = hashes(layout)
    (layout.root / "own.csv").write_text("text,label\nfine,1\ndull,0\n")
    params, _ = project_with(layout.root, source="file", path="own.csv")
    ingest(params, layout)
    with pytest.raises(HeadwayError, match=r"split\.validation"):
        prepare(params, layout)
    assert hashes(layout)[1:] == before[1:]
