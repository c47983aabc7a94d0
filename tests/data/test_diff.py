"""Two versions of the rows are compared row by row, and a git revision's rows come from where DVC keeps them."""

import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from headway import cli
from headway.data.diff import Difference, LabelChange, Version, compare, version_at
from headway.data.preparation.label_map import LabelMap
from headway.errors import HeadwayError
from headway.layout import Layout

SCHEMA = pa.schema(
    [
        ("row", pa.int64()),
        ("text", pa.large_string()),
        ("label", pa.string()),
        ("test", pa.bool_()),
        ("problem", pa.string()),
    ]
)


def write_rows(path, pairs):
    """Ingested rows of (text, label); None is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [
        {"row": number, "text": text, "label": label, "test": False, "problem": ""}
        for number, (text, label) in enumerate(pairs, start=1)
    ]
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), path)
    return Version(path)


@pytest.fixture(scope="module")
def sentences(ingested):
    """Real sentences with their labels, each once."""
    table = pq.read_table(ingested.layout.raw / "rows.parquet", columns=["text", "label"])
    return list(dict(zip(table["text"].to_pylist(), table["label"].to_pylist(), strict=True)).items())


@pytest.fixture
def compared(tmp_path):
    return lambda old, new: compare(write_rows(tmp_path / "old.parquet", old), write_rows(tmp_path / "new.parquet", new))


# Comparing


def test_added_removed_and_relabelled_rows_are_counted(sentences, compared):
    other = {"negative": "positive", "positive": "negative"}
    old = sentences[:6000]
    new = sentences[40:7000]
    new[:25] = [(text, other[label]) for text, label in new[:25]]
    new.reverse()
    found = compared(old, new)
    counts = Counter(label for _, label in old), Counter(label for _, label in new)
    assert found == Difference(
        before=6000,
        after=6960,
        unchanged=6000 - 40 - 25,
        relabelled=25,
        added=1000,
        removed=40,
        labels=[LabelChange(label, counts[0][label], counts[1][label]) for label in ("negative", "positive")],
    )


def test_repeated_rows_count_as_often_as_they_occur(compared):
    old = [("a", "1"), ("a", "1"), ("a", "1"), ("b", "1")]
    new = [("a", "1"), ("a", "2"), ("b", "1"), ("b", "1")]
    found = compared(old, new)
    assert (found.unchanged, found.relabelled, found.added, found.removed) == (2, 1, 1, 1)


def test_missing_texts_and_labels_are_compared(compared):
    found = compared([(None, "1"), ("a", None), ("", "1")], [(None, "1"), ("a", "1"), ("", "1")])
    assert (found.unchanged, found.relabelled, found.added, found.removed) == (2, 1, 0, 0)
    assert found.labels == [LabelChange(None, 1, 0), LabelChange("1", 2, 3)]
    assert compared([(None, "1")], [("", "1")]).unchanged == 0


def test_versions_without_rows_can_be_compared(compared):
    assert compared([], []).labels == []
    found = compared([], [("a", "1")])
    assert (found.before, found.added, found.removed) == (0, 1, 0)


pairs = st.lists(st.tuples(st.sampled_from(["a", "b", "", None]), st.sampled_from(["1", "2", "3", None])), max_size=12)


@given(pairs, pairs)
def test_the_counts_equal_those_of_a_plain_comparison(tmp_path_factory, old, new):
    folder = tmp_path_factory.mktemp("pairs")
    found = compare(write_rows(folder / "old.parquet", old), write_rows(folder / "new.parquet", new))
    gone, come = Counter(old) - Counter(new), Counter(new) - Counter(old)
    gone_texts, come_texts = (Counter(text for text, _ in rows.elements()) for rows in (gone, come))
    assert found.unchanged == (Counter(old) & Counter(new)).total()
    assert found.relabelled == (gone_texts & come_texts).total()
    assert found.added == (come_texts - gone_texts).total()
    assert found.removed == (gone_texts - come_texts).total()


@given(pairs, pairs)
def test_versions_are_compared_after_their_own_label_maps(tmp_path_factory, old, new):
    folder = tmp_path_factory.mktemp("pairs")
    maps = [{"1": "one", "2": ""}, {"1": "2", "2": "1"}]
    versions = [write_rows(folder / f"{number}.parquet", rows) for number, rows in enumerate((old, new))]
    found = compare(*[replace(version, label_map=LabelMap(own)) for version, own in zip(versions, maps, strict=True)])
    mapped = [
        [(text, own.get(label, label)) for text, label in rows if own.get(label, label) != ""]
        for rows, own in zip((old, new), maps, strict=True)
    ]
    plain = [write_rows(folder / f"mapped {number}.parquet", rows) for number, rows in enumerate(mapped)]
    assert found == compare(*plain)


def test_a_missing_version_is_one_line(tmp_path):
    rows = write_rows(tmp_path / "new.parquet", [("a", "1")])
    with pytest.raises(HeadwayError, match=r"old\.parquet: missing"):
        compare(Version(tmp_path / "old.parquet"), rows)


# Revisions

GRAPH = """
stages:
  ingest:
    cmd: python -c "import shutil; shutil.copytree('source', 'data/raw')"
    deps: [source]
    outs: [data/raw]
"""


def run(root, *command):
    subprocess.run(command, cwd=root, check=True, capture_output=True)


def dvc(root, *words):
    run(root, sys.executable, "-m", "dvc", *words, "--quiet")


def commit(root, tag):
    run(root, "git", "add", "--all")
    run(root, "git", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "--message", tag)
    run(root, "git", "tag", tag)


@pytest.fixture(scope="module")
def history(sentences, tmp_path_factory):
    """A git and DVC repository with two versions of the rows, tagged first and second, and before them one without lock."""
    root = tmp_path_factory.mktemp("history") / "project"
    (root / "data").mkdir(parents=True)
    run(root, "git", "init", "--quiet")
    dvc(root, "init")
    (root / ".gitignore").write_text("/data/raw\n/source\n/.headway\n")
    (root / "params.yaml").write_text("")
    (root / "dvc.yaml").write_text(GRAPH)
    commit(root, "start")
    for tag, rows in (("first", sentences[:50]), ("second", sentences[10:70])):
        write_rows(root / "source" / "rows.parquet", rows)
        dvc(root, "repro")
        commit(root, tag)
    return root


@pytest.fixture
def project(history, tmp_path):
    """A copy of that repository, to be changed."""
    return Layout(shutil.copytree(history, tmp_path / "project"))


def test_the_rows_of_a_revision_come_from_the_cache(project, sentences):
    with version_at("first", project) as first, version_at("HEAD", project) as second:
        assert pq.read_table(first.rows)["text"].to_pylist() == [text for text, _ in sentences[:50]]
        assert second.rows.read_bytes() == (project.raw / "rows.parquet").read_bytes()
        found = compare(first, second)
    assert (found.unchanged, found.added, found.removed) == (40, 20, 10)


def test_a_revision_has_the_label_map_of_its_own_params(project, monkeypatch):
    label = pq.read_table(project.raw / "rows.parquet")["label"][0].as_py()
    (project.root / "params.yaml").write_text(f"data: {{label_map: {{{label}: kept}}}}\nformer: {{knob: 1}}\n")
    commit(project.root, "mapped")
    (project.root / "params.yaml").write_text(f"data: {{label_map: {{{label}: renamed}}}}\n")
    monkeypatch.chdir(project.root)
    done = CliRunner().invoke(cli.app, ["data", "diff", "mapped"], catch_exceptions=False)
    names = [row[0] for row in cells(done.stdout)]
    assert {"kept", "renamed"} <= {*names}
    assert label not in names
    assert "0 added, 0 removed" in done.stdout


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (b'data: {label_map: {a: b, "a ": c}}\n', r"^params\.yaml of other: data\.label_map: the label 'a' has two targets"),
        (b"data: \xff\n", r"^revision other: DVC cannot read its files \(unable to read: 'params\.yaml'"),
        (b"<<<<<<< HEAD\ndata: 1\n", r"^revision other: DVC cannot read its files \("),
    ],
)
def test_a_revision_with_a_mistake_in_its_params_is_one_line(project, written, message):
    (project.root / "params.yaml").write_bytes(written)
    graph = (project.root / "dvc.yaml").read_text()
    (project.root / "dvc.yaml").write_text(graph.replace("deps: [source]", "deps: [source]\n    params: [data]"))
    commit(project.root, "other")
    with pytest.raises(HeadwayError, match=message) as raised, version_at("other", project):
        pass
    assert "\n" not in str(raised.value)


#: A params.yaml of an earlier release: knobs that were renamed, numbers where one may be derived, and a check that fails today.
FORMER = """
data: {source: package, path: source, max_rows: 0}
model: {d_feedforward: 128, bigram_buckets: 65536}
training: {warmup_share: 2, gradient_clip: -1.0, max_epochs: 4}
tune: {trials: many, executor: threads}
"""


def test_a_revision_with_the_params_of_an_earlier_release_is_compared(project, monkeypatch):
    graph = (project.root / "dvc.yaml").read_text()
    (project.root / "params.yaml").write_text(FORMER)
    (project.root / "dvc.yaml").write_text(graph.replace("deps: [source]", "deps: ['${data.path}']"))
    commit(project.root, "former")
    monkeypatch.chdir(project.root)
    done = CliRunner().invoke(cli.app, ["data", "diff", "former"], catch_exceptions=False)
    assert done.stdout == "nothing changed: the same 60 rows at former and now\n"


def test_the_rows_of_a_revision_are_removed_afterwards(project):
    with version_at("first", project):
        assert list(project.scratch.rglob("*.parquet"))
    assert not list(project.scratch.iterdir())


def test_rows_missing_in_the_cache_come_from_a_remote_set_up_later(project, tmp_path, sentences):
    run(project.root, "git", "checkout", "--quiet", "first")
    dvc(project.root, "remote", "add", "--default", "store", str(tmp_path / "store"))
    dvc(project.root, "push")
    shutil.rmtree(project.root / ".dvc" / "cache")
    with version_at("first", project) as rows:
        assert pq.read_table(rows.rows).num_rows == 50


@pytest.mark.parametrize("remote", [False, True])
def test_data_that_cannot_be_found_are_one_line(project, tmp_path, remote):
    if remote:
        (tmp_path / "store").mkdir()
        dvc(project.root, "remote", "add", "--default", "store", str(tmp_path / "store"))
    shutil.rmtree(project.root / ".dvc" / "cache")
    with (
        pytest.raises(
            HeadwayError,
            match=r"^revision first: its data/raw/rows.parquet is neither in DVC's cache nor on a remote",
        ),
        version_at("first", project),
    ):
        pass


@pytest.mark.parametrize(
    ("revision", "message"),
    [
        ("start", "revision start: has no dvc.lock"),
        ("nowhere", "revision nowhere: no such commit, branch or tag"),
        ("--all", "revision --all: no such commit, branch or tag"),
        ("", "revision : no such commit, branch or tag"),
    ],
)
def test_a_revision_without_data_is_one_line(history, revision, message):
    with pytest.raises(HeadwayError, match=message) as raised, version_at(revision, Layout(history)):
        pass
    assert "\n" not in str(raised.value)


def test_a_project_outside_git_is_an_error(tmp_path):
    with pytest.raises(HeadwayError, match="not a git repository"), version_at("HEAD", Layout(tmp_path)):
        pass


# The command


@pytest.fixture
def printed_diff(project, monkeypatch):
    """What ``headway data diff first`` prints once data/raw has rows of (text, label)."""
    monkeypatch.chdir(project.root)

    def run_on(pairs):
        shutil.rmtree(project.raw)
        write_rows(project.raw / "rows.parquet", pairs)
        done = CliRunner().invoke(cli.app, ["data", "diff", "first"], catch_exceptions=False)
        assert done.exit_code == 0
        return done.stdout

    return run_on


def cells(printed):
    """The rows of the printed table."""
    return [[cell.strip() for cell in line.split("│")[1:-1]] for line in printed.splitlines() if line.startswith("│")]


def test_the_command_prints_the_changes_in_total_and_by_label(printed_diff, sentences):
    old, new = sentences[:50], [(sentences[0][0], None), *sentences[5:50], *[(f"new {n}", "[red]") for n in range(1200)]]
    printed = printed_diff(new)
    assert printed.startswith("50 rows at first, 1,246 now: 1,200 added, 4 removed, 1 relabelled, 45 unchanged\n")
    (label,) = {label for _, label in old[:5]}
    kept = Counter(label for _, label in old[5:])
    assert cells(printed) == [
        ["[red]", "0", "1,200", "+1,200"],
        [label, str(kept[label] + 5), str(kept[label]), "-5"],
        ["(missing)", "0", "1", "+1"],
        *([other, str(count), str(count), "0"] for other, count in kept.items() if other != label),
    ]


def test_the_command_reports_that_nothing_changed(printed_diff, sentences):
    assert printed_diff(sentences[49::-1]) == "nothing changed: the same 50 rows at first and now\n"


def test_the_command_sums_the_labels_beyond_the_twenty_that_changed_most(printed_diff, sentences):
    new = [(f"{label} {row}", f"label {label}") for label in range(30) for row in range(label)]
    *shown, others = cells(printed_diff([*sentences[:50], *new]))
    assert len(shown) == 20
    assert [int(change) for *_, change in shown] == list(range(29, 9, -1))
    before = Counter(label for _, label in sentences[:50])
    assert others == [f"{9 + len(before)} others", "50", "95", "+45"]


def test_the_command_needs_the_current_rows(project, monkeypatch):
    monkeypatch.chdir(project.root)
    shutil.rmtree(project.raw)
    with pytest.raises(HeadwayError, match="missing; make it with `dvc repro ingest`, or fetch it with `dvc pull`"):
        CliRunner().invoke(cli.app, ["data", "diff", "first"], catch_exceptions=False)
