"""The committed dvc.lock is of the committed dvc.yaml, params.yaml and metrics: seen in seconds, where `dvc status` takes a run.

Whether the code is still that of the lock is left to DVC: a comment is no reason to train again.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from flows.execution import changed_stages
from headway.layout import Layout

KINDS = ("outs", "metrics", "plots")


def read(file: Path) -> dict[str, Any]:
    return YAML(typ="safe").load(file)


def value(params: dict[str, Any], name: str) -> Any:
    """The value at a dotted path; a section is a mapping."""
    for part in name.split("."):
        params = params[part]
    return params


def declared(stage: dict[str, Any], kinds: tuple[str, ...], params: dict[str, Any]) -> set[str]:
    """Paths that a stage of dvc.yaml declares, with ``${…}`` filled in from params.yaml."""
    entries = [entry for kind in kinds for entry in stage.get(kind, [])]
    paths = [next(iter(entry)) if isinstance(entry, dict) else entry for entry in entries]
    return {re.sub(r"\$\{(.+?)\}", lambda found: str(value(params, found[1])), path) for path in paths}


def stale(layout: Layout) -> Iterator[str]:
    """What dvc.lock has otherwise than dvc.yaml, params.yaml, the metrics in git, or than itself at another stage."""
    graph, lock, params = read(layout.graph)["stages"], read(layout.lock)["stages"], read(layout.params)
    if set(graph) != set(lock):
        yield f"stages: {sorted(set(graph) ^ set(lock))}"
    both = [(name, graph[name], lock[name]) for name in graph if name in lock]
    made = {out["path"]: out["md5"] for _, _, locked in both for out in locked.get("outs", [])}
    for name, stage, locked in both:
        deps = {dep["path"]: dep["md5"] for dep in locked.get("deps", [])}
        outs = {out["path"]: out["md5"] for out in locked.get("outs", [])}
        if locked["cmd"] != stage["cmd"]:
            yield f"{name}: cmd"
        for word, paths, kinds in (("deps", deps, ("deps",)), ("outs", outs, KINDS)):
            if odd := set(paths) ^ declared(stage, kinds, params):
                yield f"{name}: {word} {sorted(odd)}"
        found = locked.get("params", {}).get("params.yaml", {})
        now = {key: value(params, key) for key in stage.get("params", [])}
        if odd := {key for key in found.keys() | now.keys() if key not in found or key not in now or found[key] != now[key]}:
            yield f"{name}: params {sorted(odd)}"
        if odd := {path for path, md5 in deps.items() if made.get(path, md5) != md5}:
            yield f"{name}: read another {sorted(odd)} than was made"
        for path in sorted(declared(stage, ("metrics",), params) & outs.keys()):
            if hashlib.md5((layout.root / path).read_bytes()).hexdigest() != outs[path]:
                yield f"{name}: {path} is another"


def test_the_committed_lock_is_of_this_graph_these_params_and_these_metrics(repository: Path) -> None:
    assert list(stale(Layout(repository))) == [], "dvc.lock is stale: `make run`, then commit dvc.lock and metrics"


@pytest.fixture(scope="module")
def written(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Layout:
    """The project's own graph with a lock that DVC has just written, for outs that hold no more than their names."""
    root = tmp_path_factory.mktemp("written") / "project"
    shutil.copytree(repository / "src", root / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in ("dvc.yaml", "params.yaml", "requirements.lock"):
        shutil.copy(repository / name, root / name)
    layout = Layout(root)
    params = read(layout.params)
    for stage in read(layout.graph)["stages"].values():
        for path in sorted(declared(stage, ("deps", *KINDS), params)):
            if not (root / path).exists():
                file = root / path if Path(path).suffix else root / path / "file"
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(path)
    dvc = [sys.executable, "-m", "dvc"]
    subprocess.run([*dvc, "init", "--quiet", "--no-scm"], cwd=root, check=True)
    subprocess.run([*dvc, "commit", "--quiet", "--force"], cwd=root, check=True)
    return layout


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("frame.html", "max-width: 62rem", "max-width: 60rem"),
        ("evaluation/page.py", "Precision at each recall.", "How precision falls as recall rises."),
        ("figures.py", "#2166ac", "#2166ff"),
        ("training.py", "SECONDS_BETWEEN_LINES = 10.0", "SECONDS_BETWEEN_LINES = 5.0"),
    ],
    ids=["style sheet", "caption", "palette", "progress bar"],
)
def test_a_change_of_how_things_look_reruns_the_report_alone(
    written: Layout, tmp_path: Path, file: str, old: str, new: str
) -> None:
    layout = Layout(Path(shutil.copytree(written.root, tmp_path / "project")))
    assert changed_stages(layout) == set()
    _edit(layout.root / "src" / "headway" / "reporting" / file, old, new)
    assert changed_stages(layout) == {"report"}


@pytest.fixture
def fresh(written: Layout, tmp_path: Path) -> Layout:
    """What of that is compared, to be changed."""
    for file in (written.graph, written.lock, written.params):
        shutil.copy(file, tmp_path)
    shutil.copytree(written.root / "metrics", tmp_path / "metrics")
    return Layout(tmp_path)


def test_nothing_is_stale_in_a_lock_that_dvc_has_just_written(fresh: Layout) -> None:
    assert list(stale(fresh)) == []


def _edit(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new, 1), encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda layout: _edit(layout.params, "salt: headway", "salt: other"), "prepare: params ['split.salt']"),
        (lambda layout: _edit(layout.params, "lowercase: true", "lowercase: false"), "tokenize: params ['tokenizer']"),
        (
            lambda layout: _edit(layout.params, "path: data/input", "path: elsewhere"),
            "ingest: deps ['data/input', 'elsewhere']",
        ),
        (lambda layout: _edit(layout.graph, "cmd: headway tune", "cmd: headway search"), "tune: cmd"),
        (lambda layout: _edit(layout.graph, "  tune:\n", "  search:\n"), "stages: ['search', 'tune']"),
        (
            lambda layout: _edit(layout.graph, ", results/data]", "]"),
            "prepare: outs ['results/data']",
        ),
        (lambda layout: _edit(layout.graph, "split.salt, ", ""), "prepare: params ['split.salt']"),
        (lambda layout: layout.metrics("test").write_text("{}"), "evaluate: metrics/test.json is another"),
    ],
    ids=["param", "section", "path", "command", "stage", "out", "declaration", "metric"],
)
def test_stale_inputs_are_named(fresh: Layout, change: Callable[[Layout], None], message: str) -> None:
    change(fresh)
    assert message in list(stale(fresh))


def test_a_stage_that_read_another_file_than_the_one_before_made_is_named(fresh: Layout) -> None:
    locked = read(fresh.lock)
    (raw,) = [dep for dep in locked["stages"]["prepare"]["deps"] if dep["path"] == "data/raw"]
    raw["md5"] = "0" * 32
    YAML().dump(locked, fresh.lock)
    assert list(stale(fresh)) == ["prepare: read another ['data/raw'] than was made"]
