"""The command line: quick to answer, one line for a person's mistake, a traceback only on request."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from typer.main import get_command

from headway import __version__, cli, params
from headway.errors import HeadwayError
from headway.files import write_json
from headway.layout import Layout
from headway.params import Params, load
from headway.search.results import FinishedSearch, TrialResult, summary
from headway.stages.report import report

HEAVY = ["torch", "pytorch_lightning", "mlflow", "prefect", "datasets", "optuna", "sklearn", "pandas", "pydantic", "dvc"]


def headway(*words: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "headway.cli", *words]
    env = {**os.environ, **environment}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=120)


def commands(group: Any, path: str = "headway") -> Iterator[tuple[str, Any]]:
    """Every command below a group, by what is typed for it."""
    for name, command in group.commands.items():
        yield f"{path} {name}", command
        if hasattr(command, "commands"):
            yield from commands(command, f"{path} {name}")


def test_help_imports_nothing_heavy(tmp_path: Path) -> None:
    code = f"""
import contextlib, io, sys
from headway import cli
sys.argv = ["headway", "--help"]
with contextlib.suppress(SystemExit):
    cli.main()
print("HEAVY", sorted(set({HEAVY!r}) & sys.modules.keys()))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "HEAVY []" in done.stdout
    assert "Retrain on a schedule" in done.stdout


def test_the_history_is_shown_without_importing_torch(project: Layout) -> None:
    code = """
import contextlib, sys
from headway import cli
sys.argv = ["headway", "history"]
with contextlib.suppress(SystemExit):
    cli.main()
print("MLFLOW", "mlflow" in sys.modules, "TORCH", "torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=project.root, capture_output=True, text=True, check=True)
    assert "MLFLOW True TORCH False" in done.stdout


def test_every_stage_of_the_graph_is_a_command(repository: Path) -> None:
    stages = YAML(typ="safe").load((repository / "dvc.yaml").read_text())["stages"]
    listed = headway("--help", folder=repository).stdout
    for name, stage in stages.items():
        assert stage["cmd"] == f"headway {name}"
        assert f" {name} " in listed


def test_params_prints_the_effective_values(project: Layout, params: Params) -> None:
    done = headway("params", folder=project.root)
    assert done.returncode == 0, done.stderr
    assert YAML(typ="safe").load(done.stdout) == params.model_dump()


def test_params_work_from_a_folder_below_the_project(project: Layout) -> None:
    below = project.root / "deep" / "down"
    below.mkdir(parents=True)
    assert headway("params", folder=below).returncode == 0


def test_the_schema_has_every_section_and_forbids_other_keys(project: Layout) -> None:
    schema = json.loads(headway("params", "--schema", folder=project.root).stdout)
    assert schema["properties"].keys() == Params.model_fields.keys()
    assert schema["additionalProperties"] is False
    assert schema["$defs"]["ModelParams"]["properties"]["d_model"]["exclusiveMinimum"] == 0


def test_a_mistake_is_one_line_and_status_two(project: Layout) -> None:
    project.params.write_text(project.params.read_text().replace("n_heads: 2", "n_heads: 3"))
    done = headway("params", folder=project.root)
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("headway: params.yaml:")
    assert "d_model (64) must be divisible by n_heads (3)" in line


def test_debug_shows_where_the_mistake_was_found(project: Layout) -> None:
    project.params.unlink()
    done = headway("--debug", "params", folder=project.root)
    assert done.returncode != 0
    assert "Traceback" in done.stderr
    assert "not inside a Headway project" in done.stderr


#: Arguments of the commands that need some.
ARGUMENTS = {
    "init": ["--data", "reviews.csv"],
    "schedule": ["--cron", "0 3 * * *"],
    "predict": ["--text", "fine"],
    "explain": ["fine"],
    "promote": ["1"],
    "approve": ["1", "--reason", "x"],
    "decline": ["1", "--reason", "x"],
    "rollback": ["--reason", "x"],
    "retire": ["--reason", "x"],
    "card": ["1"],
    "lineage": ["1"],
    "label": ["in.csv"],
    "data diff": ["HEAD"],
    "encoders add": ["tiny"],
}
NAMES = sorted(
    name.removeprefix("headway ")
    for name, command in commands(get_command(cli.app))
    if not hasattr(command, "commands") or command.invoke_without_command
)


def one_line_of(capsys: pytest.CaptureFixture[str], name: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The line on stderr with which a command ends, run in this process and the working directory."""
    monkeypatch.setattr(sys, "argv", ["headway", *name.split(), *ARGUMENTS.get(name, [])])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    return line


# `headway doctor` is for projects that are not whole, see tests/doctor/test_examination.py.
@pytest.mark.parametrize("name", [name for name in NAMES if name != "doctor"])
def test_every_command_says_outside_a_project_what_is_missing(
    name: str, project: Layout, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    assert "no folder up from here holds params.yaml and dvc.yaml" in one_line_of(capsys, name, monkeypatch)
    project.graph.unlink()
    below = project.root / "below"
    below.mkdir()
    monkeypatch.chdir(below)
    line = one_line_of(capsys, name, monkeypatch)
    assert line.startswith(
        f"headway: {project.root}: not inside a Headway project: params.yaml is here, but dvc.yaml is missing"
    )
    below.rmdir()  # the working directory
    assert "the working directory: No such file or directory; change to" in one_line_of(capsys, name, monkeypatch)


@pytest.mark.parametrize("name", ["run", "rollback"])
def test_a_command_of_a_flow_says_that_the_flows_are_missing(name: str, project: Layout) -> None:
    done = headway(name, *ARGUMENTS.get(name, []), folder=project.root)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert re.match(rf"headway: {project.root}: not a whole Headway project: flows/\w+.py is missing", line)


def test_a_deleted_working_directory_is_one_line_in_a_process_of_its_own(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    command = f"mkdir {gone} && cd {gone} && rmdir {gone} && {sys.executable} -m headway.cli params"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("headway: the working directory: No such file or directory")
    assert "Traceback" not in done.stderr


def test_a_stage_whose_inputs_are_missing_names_the_stage_that_makes_them(project: Layout) -> None:
    done = headway("evaluate", folder=project.root)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "models/candidate" in line


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device", "data/raw/rows.parquet"),
            "data/raw/rows.parquet: the disk is full;",
        ),
        (OSError(errno.ENOSPC, "Error writing bytes to file"), "a file of the project: the disk is full; free some space"),
        (OSError(errno.EDQUOT, "Disk quota exceeded", "x"), "x: your quota on the disk is used up; free some space"),
        (OSError(errno.EROFS, "Read-only file system", "x"), "x: its disk cannot be written to;"),
    ],
)
def test_a_disk_that_fills_up_while_a_command_works_is_one_line(
    error: OSError, says: str, project: Layout, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.chdir(project.root)
    monkeypatch.setattr("headway.stages.ingest.ingest", fail)
    assert one_line_of(capsys, "ingest", monkeypatch).startswith(f"headway: {says}")


@pytest.mark.parametrize("stage", ["ingest", "tune", "train", "report"])
def test_a_slice_that_cannot_be_computed_is_reported_by_the_first_stage(
    stage: str, project: Layout, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that ``dvc repro`` does not train a model first."""
    text = project.params.read_text()
    project.params.write_text(text.replace("slices: {}", "slices: {long: lenght > 3}"))
    monkeypatch.chdir(project.root)
    assert one_line_of(capsys, stage, monkeypatch).startswith(
        "headway: evaluation.slices.long: 'lenght > 3': no column 'lenght'"
    )


@pytest.mark.parametrize("stage", ["prepare", "tokenize", "baseline", "train"])
def test_a_stage_run_too_early_is_one_line(project: Layout, stage: str) -> None:
    done = headway(stage, folder=project.root)
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert "missing" in line


class OneExperiment(BaseHTTPRequestHandler):
    """What MLflow's server says when it is asked for an experiment: the real one takes half a minute to start."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"experiment": {"experiment_id": "1", "name": "headway", "lifecycle_stage": "active"}}')

    def do_POST(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, format: str, *args: object) -> None:
        """Nothing on the screen."""


def test_the_address_of_the_tracking_server_is_shown_without_the_password(project: Layout) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), OneExperiment) as server:
        threading.Thread(target=server.serve_forever).start()
        address = f"127.0.0.1:{server.server_port}"
        done = headway("ui", folder=project.root, MLFLOW_TRACKING_URI=f"http://user:secret@{address}")
        server.shutdown()
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"MLFLOW_TRACKING_URI is set: browse http://{address}"


def test_the_version_is_the_packages_own(repository: Path) -> None:
    assert headway("--version", folder=repository).stdout.strip() == __version__


def test_every_command_and_option_has_a_help_text() -> None:
    for path, command in commands(get_command(cli.app)):
        assert command.help, path
        for param in command.params:
            assert param.help, f"{path}: {param.name}"


def test_a_command_parses_params_yaml_once(project: Layout, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    parsed = []
    validate = params.validate
    monkeypatch.setattr(params, "validate", lambda *given: parsed.append(given[1]) or validate(*given))
    params._parse.cache_clear()
    monkeypatch.chdir(project.root)
    for _ in range(2):
        cli.app(["params"], standalone_mode=False)
    assert parsed == ["params.yaml"]
    assert "vocabulary_size" in capsys.readouterr().out


def test_a_changed_params_yaml_is_parsed_again(project: Layout) -> None:
    before = load(project.params)
    assert load(project.params) is before
    text = project.params.read_text(encoding="utf-8")
    project.params.write_text(text.replace(f"seed: {before.seed}", f"seed: {before.seed + 1}"), encoding="utf-8")
    assert load(project.params).seed == before.seed + 1


def test_params_of_the_repository_are_valid(repository: Path) -> None:
    assert load(repository / "params.yaml").model_dump()


def test_the_study_is_shown_with_its_own_objectives_whatever_params_yaml_asks_for_by_now(project: Layout) -> None:
    def trial(number: int, score: float, size: float) -> TrialResult:
        curve = [{"epoch": 1.0, "joint_validation_accuracy": score}]
        return TrialResult(number, "complete", score, size, {}, curve, "", 100)

    trials = [trial(0, 0.80, 9.0), trial(1, 0.79, 4.0), trial(2, 0.70, 1.0)]
    tune = load(project.params).tune
    for margin, winner in [(0.005, 0), (0.015, 1), (0.5, 2)]:
        decided = tune.model_copy(update={"second_objective": "size", "second_margin": margin})
        write_json(project.metrics("search"), summary(FinishedSearch(trials, decided)).as_dict())
        write_json(project.study / "trials.json", [trial.as_dict() for trial in trials])
        done = headway("study", folder=project.root)
        assert done.returncode == 0, done.stderr
        assert f": trial {winner}, validation accuracy" in done.stdout
        assert f"within {margin:g} of the best score" in done.stdout


def test_a_search_that_another_version_left_is_one_line(project: Layout) -> None:
    for path, content in [(project.metrics("search"), {"best": 1}), (project.study / "trials.json", [{"rung": 1}])]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
    done = headway("study", folder=project.root)
    assert done.returncode == 2
    assert done.stderr.strip().endswith("made by another version; run `dvc repro tune`")
    assert "Traceback" not in done.stderr
    with pytest.raises(HeadwayError, match="made by another version"):
        report(load(project.params), project, ["study"])
