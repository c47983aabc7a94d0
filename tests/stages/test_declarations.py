"""dvc.yaml says exactly what a stage reads: the params, found by running it, and the code, found in its imports."""

import ast
import importlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

import headway
from headway.layout import Layout
from headway.params import Params
from headway.ranges import Choices, FloatRange, IntRange, Section
from headway.tracking import Tracker

ROOT = Path(__file__).resolve().parents[2]
STAGES = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
ORDER = ["ingest", "prepare", "tokenize", "baseline", "tune", "train", "evaluate", "report"]

#: What no stage makes: the lock, which pins the data package, and what a person brings, corrections, word vectors and
#: pretrained encoders.
BROUGHT = {"requirements.lock", "data/corrections", "data/feedback", "data/vectors", "data/encoders/${pretrained.path}"}

#: Modules that read params without an effect on outs: checks of params, and values that are only logged to MLflow.
BYSTANDERS = {"headway.params", "headway.ranges", "headway.lineage", "headway.tracking", "headway.tracking_labels"}
#: Modules without an effect on outs: where trials run (every executor returns the same, tests/executors), and the command line.
#: What a stage reads from params.yaml is declared under ``params``, value by value.
SHAPELESS = ("headway.executors", "headway.cli", "headway.params")

#: Modules directly in src/headway: errors, files, processes, MLflow and the like, which shape no out.
INFRASTRUCTURE = {
    "__init__",
    "chosen_file",
    "credentials",
    "environment",
    "errors",
    "files",
    "foreign_text",
    "git",
    "layout",
    "lineage",
    "network",
    "notifications",
    "params",
    "params_errors",
    "params_sections",
    "phrases",
    "preflight",
    "process",
    "progress",
    "tables",
    "mlflow_connection",
    "mlflow_errors",
    "tracking",
    "tracking_labels",
    "tracking_run",
    "yaml_files",
    "tracking_database",
}

TINY = {
    "tune.trials": 1,
    "tune.max_epochs": 1,
    "training.max_epochs": 1,
    "model.d_model": 8,
    "model.n_heads": 2,
    "model.dim_feedforward": 8,
    "model.bigram_buckets": 64,
    "evaluation.bootstrap_samples": 100,
}


def leaves_of(kind, prefix=""):
    """Dotted paths of the values below a section, a knob's range being one value."""
    for name, field in kind.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from leaves_of(field.annotation, f"{prefix}{name}.")
        else:
            yield prefix + name


def paths_of_sections(kind=Params, prefix=""):
    """Each section class with its dotted path."""
    yield kind, prefix
    for name, field in kind.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from paths_of_sections(field.annotation, f"{prefix}{name}.")


PREFIX = dict(paths_of_sections())
RANGES = (FloatRange, IntRange, Choices)
EVERY = set(leaves_of(Params))


@pytest.fixture
def recorded(monkeypatch):
    """The dotted paths of the params that code of ours has read; filled while the test runs.

    A section counts when it was reached from the whole: the sizes in a model package are a section too, but no params.
    """
    reads, reached = set(), []
    plain = Section.__getattribute__

    def note(section, name):
        value = plain(section, name)
        kind = type(section)
        if kind is not Params and not any(section is one for one in reached):
            return value
        reached.extend(one for one in (value.values() if name == "space" else [value]) if isinstance(one, Section))
        caller = sys._getframe(1).f_globals.get("__name__", "")
        if caller.startswith("headway.") and caller not in BYSTANDERS:
            if kind in RANGES:
                reads.add("tune.space")
            elif name in kind.model_fields:
                reads.update(EVERY & {PREFIX[kind] + name})
            elif name.startswith(("model_dump", "model_copy", "__dict__", "__iter__")):
                reads.update(leaves_of(kind, PREFIX[kind]))
        return value

    monkeypatch.setattr(Section, "__getattribute__", note)
    return reads


def declared(stage):
    """The leaves below what dvc.yaml declares for a stage."""
    names = STAGES[stage]["params"]
    assert names == sorted(names)
    for name in names:
        assert any(path == name or path.startswith(f"{name}.") for path in EVERY), f"{stage}: {name} is no param"
    return {path for path in EVERY for name in names if path == name or path.startswith(f"{name}.")}


@pytest.fixture(scope="module")
def finished(reviews, tmp_path_factory):
    """A project in which every stage has run, on a slice of the reviews, with a tiny model."""
    layout = Layout(tmp_path_factory.mktemp("finished") / "project")
    shutil.copytree(reviews.layout.root, layout.root)
    params = reviews.params.override(TINY)
    for stage in ORDER[3:]:
        run(stage, params, layout)
    return params, layout


def run(stage, params, layout):
    """A stage as the command line runs it."""
    module = importlib.import_module(f"headway.stages.{stage}")
    shutil.rmtree(layout.scratch, ignore_errors=True)  # a finished study would not be searched again
    trackers = {"tune": [lambda: Tracker(params, layout)], "train": [Tracker(params, layout)]}
    getattr(module, stage)(params, layout, *trackers.get(stage, []))


@pytest.mark.parametrize("stage", ORDER[1:-1])
def test_a_stage_reads_exactly_the_params_that_it_declares(finished, recorded, tiny_encoders, stage):
    params, layout = finished
    if stage == "tune":  # only with a pretrained encoder does it read that section
        shutil.copytree(tiny_encoders, layout.encoders)
        tiny = {"model.encoder": "pretrained", "pretrained.path": "bert", "pretrained.max_length": 16}
        run(stage, params.override(tiny), layout)
        shutil.rmtree(layout.encoders)
    run(stage, params, layout)
    assert recorded == declared(stage)


def test_ingest_reads_exactly_the_params_that_it_declares_from_all_of_its_sources(own_reviews, recorded, monkeypatch):
    params, layout = own_reviews.params, own_reviews.layout
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", layout.root / "cache")
    (layout.root / "own" / "data").mkdir(parents=True)
    (layout.root / "own" / "data" / "train.csv").write_text("text,label\nfine,1\ndull,0\n")
    chosen = [
        {"data.source": "package"},
        {"data.source": "file", "data.path": "own", "data.files": "**/*.csv"},
        {"data.source": "hub", "data.hub_name": "./own", "data.hub_revision": "0" * 40},
    ]
    for knobs in chosen:
        before = set(recorded)
        run("ingest", params.override(knobs), layout)
        assert before < recorded
    assert recorded == declared("ingest")


def test_report_reads_exactly_the_params_that_it_declares_for_one_and_for_two_objectives(finished, recorded):
    params, layout = finished
    run("report", params, layout)
    file = layout.study / "trials.json"
    trials = file.read_text()
    try:
        file.write_text(json.dumps([trial | {"second": 1.0} for trial in json.loads(trials)]))
        run("report", params.override({"tune.second_objective": "latency"}), layout)
    finally:
        file.write_text(trials)
    assert recorded == declared("report")


def test_the_recorder_notices_single_values_and_whole_sections_but_not_the_params_own_checks(params, recorded):
    # A module of ours by its name; what it does is all that is recorded.
    scope = {"__name__": "headway.stages.example", "params": params}
    exec("params.override({'seed': 3}); params.model", scope)
    assert recorded == set()
    exec("params.seed; params.data.subset; params.baseline.model_dump()", scope)
    assert recorded == {"seed", "data.subset", *(path for path in EVERY if path.startswith("baseline."))}


def test_the_recorder_leaves_aside_the_sizes_in_a_model_package(params, recorded):
    scope = {"__name__": "headway.stages.example", "packed": type(params.model).model_validate(params.model.model_dump())}
    exec("packed.d_model; packed.model_dump()", scope)
    assert recorded == set()


def test_the_recorder_notices_a_range_of_the_search(params, recorded):
    scope = {"__name__": "headway.search.example", "knob": next(iter(params.tune.space.values()))}
    exec("knob.type", scope)
    assert recorded == {"tune.space"}


# Code


def module_file(name):
    """The file of a module or package of ours; None for anything else."""
    path = ROOT / "src" / Path(*name.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


def imports(file):
    """Names of our modules that a file imports anywhere but under ``if TYPE_CHECKING``."""

    def walk(node):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for child in node.orelse:
                yield from walk(child)
            return
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file}: a relative import"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        for child in ast.iter_child_nodes(node):
            yield from walk(child)

    found = set(walk(ast.parse(file.read_text(encoding="utf-8"))))
    return {name for name in found if name.startswith("headway.") and module_file(name)}


def folders_of(stage):
    """Folders of the modules that shape a stage's outs: the stage's own, and those it imports, directly or not.

    A folder inside another one of them is not listed: DVC looks at whole trees. Modules directly in src/headway are
    infrastructure, which no stage depends on; ``INFRASTRUCTURE`` lists them, so that a new one is a decision.
    """
    pending, seen = [f"headway.stages.{stage}"], set()
    while pending:
        name = pending.pop()
        if name not in seen and not name.startswith(SHAPELESS):
            seen.add(name)
            pending.extend(imports(module_file(name)))
    bare = {"headway.data", "headway.serving", "headway.stages"}  # packages that only hold others
    found = {module_file(name).parent for name in seen - bare} - {ROOT / "src" / "headway"}
    return sorted(
        folder.relative_to(ROOT).as_posix() for folder in found if not any(parent in found for parent in folder.parents)
    )


@pytest.mark.parametrize("stage", ORDER)
def test_a_stage_depends_on_exactly_the_folders_whose_code_it_imports(stage):
    assert STAGES[stage]["deps"] == sorted(STAGES[stage]["deps"])
    code = [path for path in STAGES[stage]["deps"] if path.startswith("src/")]
    assert code == folders_of(stage), "\n" + "\n".join(f"      - {path}" for path in folders_of(stage))


def test_only_the_report_depends_on_how_pages_look():
    assert [stage for stage in ORDER if "src/headway/reporting" in STAGES[stage]["deps"]] == ["report"]


@pytest.mark.parametrize("stage", ORDER)
def test_code_dependencies_are_folders_and_the_lock_is_one_of_every_stage(stage):
    code = [path for path in STAGES[stage]["deps"] if path.startswith("src/")]
    assert all((ROOT / path).is_dir() for path in code)
    assert "requirements.lock" in STAGES[stage]["deps"]


def test_the_modules_that_are_left_out_exist():
    assert all(module_file(name) for name in {*SHAPELESS, *BYSTANDERS})
    assert {file.stem for file in (ROOT / "src" / "headway").glob("*.py")} == INFRASTRUCTURE
    assert Path(headway.__file__).is_relative_to(ROOT / "src")


def test_imports_are_found_wherever_they_stand_but_not_those_for_types_alone(tmp_path):
    (tmp_path / "module.py").write_text(
        "from typing import TYPE_CHECKING\n"
        "import headway.files\n"
        "from headway.data import batching as cut\nfrom headway.data.tokenization import encoded\n"
        "if TYPE_CHECKING:\n    from headway.model.classifier import AttentionClassifier\n"
        "def later():\n    from headway.reporting.figures import INK\n    import numpy\n"
    )
    assert imports(tmp_path / "module.py") == {
        "headway.files",
        "headway.data",
        "headway.data.batching",
        "headway.data.tokenization",
        "headway.data.tokenization.encoded",
        "headway.reporting.figures",
    }


# Outs


def outs(stage, kind):
    """The paths that a stage declares under outs, metrics or plots."""
    entries = STAGES[stage].get(kind, [])
    return [path for entry in entries for path in (entry if isinstance(entry, dict) else [entry])]


def test_every_stage_of_the_graph_is_checked_here():
    assert set(STAGES) == set(ORDER)
    assert [STAGES[stage]["cmd"] for stage in ORDER] == [f"headway {stage}" for stage in ORDER]


def test_what_stages_leave_is_ignored_by_git_and_metrics_are_not(tmp_path):
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / ".gitignore").write_bytes((ROOT / ".gitignore").read_bytes())

    def ignored(path):
        return subprocess.run(["git", "check-ignore", "-q", path], cwd=tmp_path, check=False).returncode == 0

    kept = [path for stage in ORDER for path in outs(stage, "metrics")]
    left = [path for stage in ORDER for kind in ("outs", "plots") for path in outs(stage, kind)]
    assert len(left) >= len(ORDER) <= len(kept) + 2
    assert [path for path in left if not ignored(f"{path}/file") and not ignored(path)] == []
    assert [path for path in kept if ignored(path)] == []


def test_metrics_are_files_for_git_and_not_for_the_cache():
    for stage in ORDER:
        for entry in STAGES[stage].get("metrics", []):
            ((path, options),) = entry.items()
            assert path.startswith("metrics/")
            assert options == {"cache": False}


def test_the_stages_leave_exactly_what_dvc_yaml_declares(finished, own_reviews):
    _, layout = finished
    run("ingest", own_reviews.params, layout)
    found = {path.relative_to(layout.root) for path in layout.root.rglob("*") if path.is_file()}
    found = {path for path in found if path.parts[0] not in (layout.scratch.name, layout.tracking.name)}
    found -= {Path("params.yaml"), Path("dvc.yaml")}
    promised = {Path(path) for stage in ORDER for kind in ("outs", "metrics", "plots") for path in outs(stage, kind)}
    assert {path for path in found if not promised & {path, *path.parents}} == set()
    assert {path for path in promised if not (layout.root / path).exists()} == set()


def test_a_stage_that_reads_anothers_out_depends_on_it():
    made = {path: stage for stage in ORDER for kind in ("outs", "metrics", "plots") for path in outs(stage, kind)}
    for stage in ORDER:
        for dependency in STAGES[stage]["deps"]:
            if not dependency.startswith(("src/", "$")) and dependency not in BROUGHT:
                makers = [maker for path, maker in made.items() if dependency == path or dependency.startswith(f"{path}/")]
                assert len(makers) == 1, f"{stage}: nothing makes {dependency}"
                assert ORDER.index(makers[0]) < ORDER.index(stage)
