"""Data and models are shared through a DVC remote; a change of the data is reported and undone."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import boto3
import fsspec
import pyarrow.parquet as pq
import pytest

from tests.e2e.conftest import Clone, commit, git
from tests.folders import sha256_of_folder
from tests.real_texts import chinese
from tests.s3 import KEYS, s3_endpoint

pytestmark = pytest.mark.e2e
BUCKET = "headway-store"


def succeed(clone: Clone, *command: str) -> str:
    """Run a command that must succeed; returns its output."""
    done = clone.run(*command)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def digests(clone: Clone) -> dict[str, str]:
    """Hashes of the data, the tokenizer with the encoded splits, and the model."""
    layout = clone.layout
    folders = {folder.name: folder for folder in (layout.raw, layout.prepared, layout.encoded, layout.candidate)}
    assert (layout.encoded / "tokenizer.json").exists()
    assert (layout.candidate / "weights.safetensors").exists()
    return {name: sha256_of_folder(folder) for name, folder in folders.items()}


def save(clone: Clone, message: str) -> None:
    git(clone.root, "add", "--all")
    commit(clone.root, message)


def bring_other_rows(clone: Clone) -> int:
    """Ingest a file with 40 rows removed, 25 relabelled and 7 added; returns the number of rows before."""
    table = pq.read_table(clone.layout.raw / "rows.parquet", columns=["text", "label"])
    rows = list(zip(table["text"].to_pylist(), table["label"].to_pylist(), strict=True))
    other = {"negative": "positive", "positive": "negative"}
    relabelled = [(text, other[label]) for text, label in rows[40:65]]
    added = [(f"{text} {text}", "neutral") for text, _ in rows[:7]]
    with (clone.root / "data" / "input" / "reviews.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *relabelled, *rows[65:], *added])
    succeed(clone, "dvc", "add", "data/input/reviews.csv")
    git(clone.root, "add", "data/input")
    assert git(clone.root, "diff", "--cached", "--name-only").splitlines() == ["data/input/reviews.csv.dvc"]
    clone.edit(("  source: package", "  source: file"), ("  path: data/input", "  path: data/input/reviews.csv"))
    succeed(clone, "dvc", "repro", "ingest")
    save(clone, "The second version")
    return len(rows)


def pushed_and_pulled(mine: Clone, root: Path) -> Clone:
    """A clone elsewhere that has pulled everything from the remote."""
    succeed(mine, "dvc", "push")
    git(mine.root, "clone", "--quiet", str(mine.root), str(root))
    other = Clone(root, mine.environment)
    assert not other.layout.raw.exists()
    succeed(other, "dvc", "pull")
    return other


def arrives_elsewhere(mine: Clone, root: Path) -> None:
    """Check that a clone gets every file byte for byte, and that DVC has nothing to run there."""
    other = pushed_and_pulled(mine, root)
    assert digests(other) == digests(mine)
    assert "Running stage" not in succeed(other, "dvc", "repro")
    assert json.loads(succeed(other, "dvc", "status", "--json")) == {}
    assert git(other.root, "status", "--porcelain") == ""
    shutil.rmtree(other.root / ".dvc" / "cache")
    rows = pq.read_metadata(mine.layout.raw / "rows.parquet").num_rows
    assert succeed(other, "headway", "data", "diff", "HEAD") == f"nothing changed: the same {rows:,} rows at HEAD and now\n"


@pytest.fixture
def mine(ran: Clone, tmp_path: Path) -> Clone:
    """A copy of the project after its first run, with everything committed and a folder as DVC remote."""
    copy = Clone(shutil.copytree(ran.root, tmp_path / "mine", symlinks=True))
    succeed(copy, "dvc", "remote", "add", "--default", "store", str(tmp_path / "store"))
    git(copy.root, "add", "dvc.lock", "metrics", "params.yaml", ".dvc/config")
    commit(copy.root, "The first version")
    assert git(copy.root, "status", "--porcelain") == "", "the documented `git add` misses a file that a run changes"
    return copy


@pytest.fixture
def endpoint() -> Iterator[str]:
    """An S3 endpoint on this machine, with an empty bucket."""
    with s3_endpoint() as url:
        client = boto3.client(
            "s3",
            endpoint_url=url,
            region_name=KEYS["AWS_DEFAULT_REGION"],
            aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
        )
        client.create_bucket(Bucket=BUCKET)
        yield url


def test_what_is_pushed_to_a_folder_can_be_pulled_elsewhere(mine: Clone, tmp_path: Path) -> None:
    arrives_elsewhere(mine, tmp_path / "other")


def test_what_is_pushed_to_s3_can_be_pulled_elsewhere(mine: Clone, tmp_path: Path, endpoint: str) -> None:
    mine.environment.update(KEYS)
    succeed(mine, "dvc", "remote", "add", "--force", "--default", "store", f"s3://{BUCKET}/headway")
    succeed(mine, "dvc", "remote", "modify", "store", "endpointurl", endpoint)
    save(mine, "A remote on S3")
    arrives_elsewhere(mine, tmp_path / "other")


def test_a_change_of_the_data_is_counted_and_can_be_undone(mine: Clone) -> None:
    before = digests(mine)
    rows = bring_other_rows(mine)
    printed = succeed(mine, "headway", "data", "diff", "HEAD~1")
    sizes = f"{rows:,} rows at HEAD~1, {rows - 40 + 7:,} now"
    assert printed.startswith(f"{sizes}: 7 added, 40 removed, 25 relabelled, {rows - 65:,} unchanged\n")
    assert [cell.strip() for cell in printed.splitlines()[-2].split("│")[1:-1]] == ["neutral", "0", "7", "+7"]
    git(mine.root, "checkout", "--quiet", "HEAD~1")
    succeed(mine, "dvc", "checkout")
    assert digests(mine) == before
    assert succeed(mine, "headway", "data", "diff", "HEAD").startswith("nothing changed")


def test_an_input_file_is_shared_once_dvc_tracks_it(mine: Clone, tmp_path: Path) -> None:
    bring_other_rows(mine)
    other = pushed_and_pulled(mine, tmp_path / "other")
    assert (other.root / "data" / "input" / "reviews.csv").read_bytes() == (
        mine.root / "data" / "input" / "reviews.csv"
    ).read_bytes()
    assert "Running stage" not in succeed(other, "dvc", "repro", "ingest")


@pytest.mark.slow
def test_a_changed_object_behind_a_url_is_ingested_again(clone: Clone, endpoint: str, tmp_path: Path) -> None:
    """From `headway init` to the splits; DVC itself detects that an object in the bucket has changed."""
    clone.environment.update(KEYS, AWS_ENDPOINT_URL=endpoint)
    bucket = fsspec.filesystem(
        "s3", endpoint_url=endpoint, key="test", secret="test", client_kwargs={"region_name": "us-east-1"}
    )
    texts, labels = chinese(1200)

    def upload(rows: int) -> None:
        with (tmp_path / "reviews.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("text", "label"), *zip(texts[-rows:], labels[-rows:], strict=True)])
        bucket.put_file(str(tmp_path / "reviews.csv"), f"{BUCKET}/in/reviews.csv")

    upload(1000)
    succeed(clone, "headway", "init", "--data", f"s3://{BUCKET}/in/*.csv", "--yes")
    assert "Running stage 'prepare'" in succeed(clone, "dvc", "repro", "prepare")
    assert "Running stage" not in succeed(clone, "dvc", "repro", "prepare")
    upload(1200)
    assert "Running stage 'ingest'" in succeed(clone, "dvc", "repro", "prepare")
    assert json.loads((clone.layout.raw / "manifest.json").read_text(encoding="utf-8"))["rows"] == 1200
