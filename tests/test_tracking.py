"""MLflow tracking: one database for concurrent processes, runs that are always closed, and lineage."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import requests
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID
from sqlalchemy.exc import OperationalError

from headway.errors import HeadwayError, Unreachable
from headway.files import sha256_of_file, write_json
from headway.layout import Layout
from headway.lineage import execution_key
from headway.params import Params, flatten
from headway.process import user_name
from headway.tracking import URI_VARIABLE, Tracker, reachable
from headway.tracking_labels import data_name, model_description

MANIFEST = {
    "source": "package:imdb",
    "version": "1",
    "rows": 25,
    "sha256": "cd" * 32,
    "rows_sha256": "ab" * 32,
    "label_counts": {"a": 20, "b": 5},
}
forked = multiprocessing.get_context("fork")


@pytest.fixture(autouse=True)
def _no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(URI_VARIABLE, raising=False)


def start(params: Params, layout: Layout, ready: Any, answers: Any) -> None:
    ready.wait()  # so that all of them find no database
    try:
        tracker = Tracker(params, layout)
        with tracker.nested("trial", f"trial of {os.getpid()}", str(os.getpid())):
            pass
        answers.put(tracker.experiment_id)
    except Exception as error:  # noqa: BLE001 - whatever it is, the test shows it
        answers.put(repr(error))


@pytest.fixture(scope="module")
def shared(params: Params, repository: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Layout, list[str]]:
    """A project whose database three processes created at the same time, and what each of them answered."""
    root = tmp_path_factory.mktemp("tracking") / "project"
    root.mkdir()
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copyfile(repository / name, root / name)
    layout = Layout(root)
    write_json(layout.raw / "manifest.json", MANIFEST)
    layout.lock.write_text("schema: '2.0'\n")
    git = ["git", "-C", str(root), "-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q"], ["add", "params.yaml"], ["commit", "-qm", "first"]):
        subprocess.run([*git, *words], check=True)
    ready, answers = forked.Barrier(3), forked.Queue()
    processes = [forked.Process(target=start, args=(params, layout, ready, answers)) for _ in range(3)]
    for process in processes:
        process.start()
    answered = [answers.get(timeout=120) for _ in processes]
    for process in processes:
        process.join(60)
    return layout, answered


@pytest.fixture
def layout(shared: tuple[Layout, list[str]]) -> Layout:
    """The tests share a project; each has keys of its own."""
    return shared[0]


@pytest.fixture
def tracker(params: Params, layout: Layout) -> Tracker:
    return Tracker(params, layout)


def status(tracker: Tracker, key: str) -> str:
    run = tracker.find(kind="trial", key=key)
    assert run is not None
    return str(run.info.status)


# The database.


def test_processes_that_start_at_once_create_one_database_and_one_experiment(
    shared: tuple[Layout, list[str]], tracker: Tracker
) -> None:
    _, answered = shared
    assert answered == [tracker.experiment_id] * 3
    named = [experiment.name for experiment in tracker.client.search_experiments()]
    assert named.count(tracker.params.registry.experiment) == 1
    runs = tracker.client.search_runs([tracker.experiment_id], "tags.`headway.kind` = 'trial'")
    assert sum("trial of " in run.info.run_name for run in runs) == 3


def test_an_experiment_that_was_deleted_is_restored_with_its_runs(params: Params, layout: Layout) -> None:
    chosen = params.override({"registry.experiment": "deleted once"})
    tracker = Tracker(chosen, layout)
    with tracker.nested("trial", "kept", "kept") as run:
        pass
    tracker.client.delete_experiment(tracker.experiment_id)
    again = Tracker(chosen, layout)
    assert again.experiment_id == tracker.experiment_id
    assert again.client.get_experiment(again.experiment_id).lifecycle_stage == "active"
    found = again.find(kind="trial", key="kept")
    assert found is not None
    assert found.info.run_id == run.id


def test_a_server_that_does_not_answer_is_one_line_within_half_a_minute(
    params: Params, project: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(URI_VARIABLE, "http://127.0.0.1:9")
    started = time.monotonic()
    with pytest.raises(Unreachable, match=r"^MLflow at http://127\.0\.0\.1:9 .*unset MLFLOW_TRACKING_URI") as refusal:
        Tracker(params, project)
    assert time.monotonic() - started < 30
    assert "\n" not in str(refusal.value)
    assert not project.tracking.exists()


@pytest.mark.parametrize(
    "error",
    [
        MlflowException("no connection\nand a second line"),
        OperationalError("select 1", {}, Exception("no connection")),
        requests.ConnectionError("no connection"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_any_error_of_mlflow_is_one_line(error: Exception) -> None:
    one_line = r"^MLflow at sqlite:///x failed: .*no connection.*; run "
    with pytest.raises(Unreachable, match=one_line) as caught, reachable("sqlite:///x"):
        raise error
    assert "\n" not in str(caught.value)


# How a run ends.


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (None, "FINISHED"),
        (RuntimeError, "FAILED"),
        (HeadwayError, "FAILED"),
        (KeyboardInterrupt, "KILLED"),
        (Unreachable, "KILLED"),
        (SystemExit, "KILLED"),
        (BaseException, "KILLED"),  # what Prefect raises after SIGTERM is neither of these
        (BrokenPipeError, "KILLED"),  # a flow that is killed takes its stages' output with it before it takes the stages
    ],
)
def test_a_run_is_closed_however_it_ends(tracker: Tracker, error: type[BaseException] | None, expected: str) -> None:
    key = f"ends with {error and error.__name__}"

    def work() -> None:
        with tracker.nested("trial", "trial", key):
            assert status(tracker, key) == "RUNNING"
            if error:
                raise error

    if error:
        with pytest.raises(error):
            work()
    else:
        work()
    assert status(tracker, key) == expected


def hang_until_killed(params: Params, layout: Layout, key: str) -> None:
    with Tracker(params, layout).nested("trial", "trial", key) as run:
        run.log_params({"learning_rate": 0.1})
        run.log_metrics({"loss": 3.0}, step=1)
        os.kill(os.getpid(), signal.SIGKILL)


def kill(params: Params, layout: Layout, key: str) -> None:
    process = forked.Process(target=hang_until_killed, args=(params, layout, key))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL


def test_the_run_of_a_killed_process_is_marked_killed_by_the_next(params: Params, layout: Layout, tracker: Tracker) -> None:
    kill(params, layout, "orphan")
    assert status(tracker, "orphan") == "RUNNING"
    with tracker.nested("trial", "another", "not the orphan"):
        assert status(tracker, "orphan") == "KILLED"
        tracker.close_orphans()
        assert status(tracker, "not the orphan") == "RUNNING"  # its process lives


def test_restarted_work_continues_its_interrupted_run(params: Params, layout: Layout, tracker: Tracker) -> None:
    kill(params, layout, "continued")
    left = tracker.find(kind="trial", key="continued")
    assert left is not None
    with tracker.nested("trial", "trial", "continued") as run:
        assert run.id == left.info.run_id
        assert status(tracker, "continued") == "RUNNING"
        tracker.close_orphans()
        assert status(tracker, "continued") == "RUNNING"  # it is this process's now
        run.log_params({"learning_rate": 0.5, "heads": 2})
        for _ in range(2):  # as when its work is done a second time
            run.log_metrics({"loss": 3.0, "score": 0.5}, step=1)
        run.log_metrics({"loss": 2.0}, step=2)
    done = tracker.client.get_run(run.id)
    assert done.info.status == "FINISHED"
    assert done.data.params == {"learning_rate": "0.1", "heads": "2"}  # existing values are not changed
    assert [metric.value for metric in tracker.client.get_metric_history(run.id, "loss")] == [3.0, 2.0]
    assert [metric.value for metric in tracker.client.get_metric_history(run.id, "score")] == [0.5]


@pytest.mark.parametrize("error", [None, RuntimeError])
def test_finished_work_gets_a_new_run_when_repeated(tracker: Tracker, error: type[Exception] | None) -> None:
    key = f"done twice, {error and error.__name__}"
    ids = []
    for _ in range(2):
        try:
            with tracker.nested("trial", "trial", key) as run:
                ids.append(run.id)
                if error:
                    raise error
        except RuntimeError:
            pass
    assert len(set(ids)) == 2
    found = tracker.find(kind="trial", key=key)
    assert found is not None
    assert found.info.run_id == ids[1]  # the newest is found


# How the parent run ends.


def parent_status(tracker: Tracker) -> str:
    run = tracker.find(kind="pipeline", key=execution_key(tracker.params, tracker.layout))
    assert run is not None
    return str(run.info.status)


@pytest.mark.parametrize(("error", "expected"), [(None, "FINISHED"), (RuntimeError, "FAILED"), (SystemExit, "KILLED")])
def test_without_a_flow_the_parent_runs_as_long_as_its_nested_runs(
    tracker: Tracker, error: type[BaseException] | None, expected: str
) -> None:
    with contextlib.suppress(RuntimeError, SystemExit), tracker.nested("trial", "trial", f"below, {expected}"):
        assert parent_status(tracker) == "RUNNING"
        if error:
            raise error
    assert parent_status(tracker) == expected
    tracker.pipeline_run()
    assert parent_status(tracker) == expected  # who only asks for it changes nothing


@pytest.mark.parametrize(("error", "expected"), [(None, "FINISHED"), (HeadwayError, "FAILED"), (SystemExit, "KILLED")])
def test_a_stage_decides_the_status_of_the_parent_and_a_failed_nested_run_does_not(
    tracker: Tracker, error: type[BaseException] | None, expected: str
) -> None:
    with contextlib.suppress(HeadwayError, SystemExit), tracker.parent() as parent:
        with contextlib.suppress(RuntimeError), tracker.nested("trial", "trial", f"fails in a stage, {expected}"):
            raise RuntimeError
        assert status(tracker, f"fails in a stage, {expected}") == "FAILED"
        assert tracker.client.get_run(parent.id).info.status == "RUNNING"
        if error:
            raise error
    assert parent_status(tracker) == expected


def test_the_parent_of_a_killed_stage_is_killed_with_it_and_runs_again_when_the_stage_does(
    params: Params, layout: Layout, tracker: Tracker
) -> None:
    kill(params, layout, "killed with its parent")
    assert parent_status(tracker) == "RUNNING"
    tracker.close_orphans()
    assert parent_status(tracker) == "KILLED"
    with tracker.nested("trial", "trial", "killed with its parent"):
        assert parent_status(tracker) == "RUNNING"
        Tracker(params, layout).close_orphans()
        assert parent_status(tracker) == "RUNNING"
    assert parent_status(tracker) == "FINISHED"


def test_a_parent_left_running_by_another_machine_is_taken_over(
    params: Params, layout: Layout, tracker: Tracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a container leaves it that is killed, since the next one has another name."""
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr("socket.gethostname", lambda: "another")
        kill(params, layout, "killed elsewhere")
    tracker.close_orphans()
    assert parent_status(tracker) == "RUNNING"
    with tracker.nested("trial", "trial", "goes on here"):
        assert parent_status(tracker) == "RUNNING"
    assert parent_status(tracker) == "FINISHED"


def work_as_a_stage(params: Params, layout: Layout, fails: bool) -> None:
    with Tracker(params, layout).nested("trial", "trial", f"a stage of a flow, {fails}"):
        if fails:
            os._exit(1)


def run_stage(params: Params, layout: Layout, fails: bool = False) -> None:
    process = forked.Process(target=work_as_a_stage, args=(params, layout, fails))
    process.start()
    process.join(60)
    assert process.exitcode == int(fails)


@pytest.mark.parametrize(
    ("error", "expected"), [(None, "FINISHED"), (HeadwayError, "FAILED"), (KeyboardInterrupt, "KILLED")]
)
def test_within_a_flow_the_parent_runs_until_the_flow_ends(
    params: Params, layout: Layout, tracker: Tracker, error: type[BaseException] | None, expected: str
) -> None:
    with contextlib.suppress(HeadwayError, KeyboardInterrupt), tracker.execution():
        for fails in (False, True, False):  # in processes of their own, of which one dies on the way
            run_stage(params, layout, fails)
            tracker.close_orphans()
            assert parent_status(tracker) == "RUNNING"
        with tracker.nested("training", "logged again", f"by the flow itself, {expected}"):
            pass
        assert parent_status(tracker) == "RUNNING"
        if error:
            raise error
    assert parent_status(tracker) == expected
    run_stage(params, layout)
    assert parent_status(tracker) == "FINISHED"  # the flow is over: the stage is alone again


def flow_that_is_killed(params: Params, layout: Layout) -> None:
    with Tracker(params, layout).execution():
        run_stage(params, layout)
        os.kill(os.getpid(), signal.SIGKILL)


def test_the_parent_of_a_killed_flow_is_marked_killed_by_the_next(params: Params, layout: Layout, tracker: Tracker) -> None:
    process = forked.Process(target=flow_that_is_killed, args=(params, layout))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert parent_status(tracker) == "RUNNING"
    with tracker.execution():
        assert parent_status(tracker) == "KILLED"
    assert parent_status(tracker) == "FINISHED"  # there was nothing left to do


def test_a_flow_closes_its_parent_even_if_the_project_was_edited_meanwhile(tracker: Tracker, layout: Layout) -> None:
    graph = layout.graph.read_text()
    try:
        with tracker.execution():
            run = tracker.pipeline_run()
            layout.graph.write_text(graph + "# edited\n")
    finally:
        layout.graph.write_text(graph)
    assert tracker.client.get_run(run.id).info.status == "FINISHED"


# What a run tells.


def test_every_nested_run_is_a_child_of_the_run_of_the_execution(tracker: Tracker) -> None:
    parent = tracker.pipeline_run()
    assert tracker.pipeline_run().id == parent.id
    with tracker.nested("trial", "trial", "nested") as run:
        pass
    assert tracker.client.get_run(run.id).data.tags[MLFLOW_PARENT_RUN_ID] == parent.id
    assert tracker.client.get_run(parent.id).info.status == "FINISHED"


def test_other_params_are_another_execution_unless_no_stage_reads_them(
    params: Params, layout: Layout, tracker: Tracker
) -> None:
    parent = tracker.pipeline_run().id
    assert Tracker(params.override({"gate.min_test_rows": 7}), layout).pipeline_run().id == parent
    assert Tracker(params.override({"seed": params.seed + 1}), layout).pipeline_run().id != parent


def test_the_run_of_the_execution_has_params_data_set_and_lineage(params: Params, layout: Layout, tracker: Tracker) -> None:
    run = tracker.client.get_run(tracker.pipeline_run().id)
    assert set(run.data.params) == set(flatten(params.model_dump(exclude={"gate", "registry", "serving"})))
    assert run.data.params["model.d_model"] == str(params.model.d_model)
    assert run.data.params["tune.space.training.learning_rate.type"] == "float"
    (dataset,) = [entry.dataset for entry in run.inputs.dataset_inputs]
    assert (dataset.name, dataset.digest) == (MANIFEST["source"], MANIFEST["rows_sha256"][:32])
    assert json.loads(dataset.source) == {"uri": MANIFEST["source"], "version": MANIFEST["version"]}
    assert json.loads(dataset.profile) == {"rows": MANIFEST["rows"], "labels": len(MANIFEST["label_counts"])}


def test_lineage_leads_from_a_run_to_commit_lock_data_and_params(layout: Layout, tracker: Tracker) -> None:
    with tracker.nested("trial", "trial", "lineage") as run:
        pass
    head = subprocess.run(["git", "-C", str(layout.root), "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    for run_id in (run.id, tracker.pipeline_run().id):
        tags = tracker.client.get_run(run_id).data.tags
        assert tags["headway.git_commit"] == head.stdout.strip()
        assert tags["headway.dvc_lock"] == sha256_of_file(layout.lock)
        assert tags["headway.data_fingerprint"] == MANIFEST["rows_sha256"]
        assert len(tags["headway.params"]) == 64


def test_the_experiment_opens_in_the_view_for_model_training_and_a_persons_choice_stays(
    params: Params, layout: Layout
) -> None:
    chosen = params.override({"registry.experiment": "described"})
    tracker = Tracker(chosen, layout)
    tags = tracker.client.get_experiment(tracker.experiment_id).tags
    assert tags["mlflow.experimentKind"] == "custom_model_development"
    assert data_name(params) in tags["mlflow.note.content"]
    assert tags["mlflow.source.name"] == "dvc.yaml"
    tracker.client.set_experiment_tag(tracker.experiment_id, "mlflow.note.content", "my words")
    tracker.client.set_experiment_tag(tracker.experiment_id, "mlflow.experimentKind", "genai_development_inferred")
    tags = tracker.client.get_experiment(Tracker(chosen, layout).experiment_id).tags
    assert tags["mlflow.note.content"] == "my words"
    assert tags["mlflow.experimentKind"] == "custom_model_development", "MLflow's pages had guessed"


@pytest.mark.parametrize(
    ("kind", "name", "metric", "shown", "source"),
    [
        ("training", "train", "joint_validation_accuracy", "train · {} · 0.9178", "headway train"),
        ("trial", "trial 3", "score", "tune · {} · trial 3 · 0.9178", "headway tune"),
    ],
)
def test_a_run_is_named_after_what_ran_and_its_score_and_says_where_it_comes_from(
    params: Params, layout: Layout, tracker: Tracker, kind: str, name: str, metric: str, shown: str, source: str
) -> None:
    with tracker.nested(kind, name, f"named {kind}") as run:
        run.log_metrics({"loss": 1.0, "joint_validation_accuracy": 0.5} if kind == "trial" else {"loss": 1.0})
        assert tracker.client.get_run(run.id).info.run_name == shown.format(data_name(params)).rpartition(" · ")[0]
        run.log_metrics({metric: 0.91784})
    found = tracker.client.get_run(run.id)
    assert found.info.run_name == shown.format(data_name(params))
    tags = found.data.tags
    assert (tags["mlflow.source.name"], tags["mlflow.source.type"]) == (source, "LOCAL")
    assert tags["mlflow.source.git.commit"] == tags["headway.git_commit"]
    assert tags["mlflow.user"] == user_name()
    assert tags["mlflow.note.content"]


def test_metrics_of_a_logged_model_are_linked_to_it_once(layout: Layout, tracker: Tracker) -> None:
    with tracker.nested("training", "train", "linked") as run:
        pass
    model = tracker.client.create_logged_model(tracker.experiment_id, "a-model", source_run_id=run.id)
    parent = tracker.pipeline_run()
    for _ in range(2):
        parent.log_metrics({"test_accuracy": 0.5})
        parent.log_model_metrics(model.model_id, {"test_accuracy": 0.5})
    metrics = tracker.client.get_logged_model(model.model_id).metrics
    assert [(one.key, one.value, one.run_id) for one in metrics] == [("test_accuracy", 0.5, parent.id)]
    found = tracker.client.get_run(parent.id)
    assert [one.model_id for one in found.outputs.model_outputs] == [model.model_id]
    assert found.info.run_name == f"pipeline · {data_name(tracker.params)} · 0.5000"


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"data.source": "package", "data.subset": "imdb"}, "imdb"),
        ({"data.source": "hub", "data.hub_name": "owner/reviews", "data.hub_revision": "a" * 40}, "owner/reviews"),
        ({"data.source": "file", "data.path": "data/my reviews.csv"}, "my reviews"),
        ({"data.source": "file", "data.path": "data/folder/"}, "folder"),
        ({"data.source": "file", "data.path": "."}, "file"),
    ],
)
def test_data_have_a_short_name(params: Params, changes: dict[str, Any], name: str) -> None:
    assert data_name(params.override(changes)) == name


def test_the_registered_model_is_described_by_its_labels_and_its_intended_use(params: Params, project: Layout) -> None:
    chosen = params.override({"registry.intended_use": "Reviews of *films*."})
    write_json(project.prepared / "labels.json", ["negative", "positive"])
    described = model_description(chosen, project)
    assert f"**{data_name(params)}**" in described
    assert "Labels: negative, positive." in described
    assert described.endswith("**Intended use:** Reviews of \\*films\\*.")


def test_the_input_data_set_is_logged_once(tracker: Tracker) -> None:
    with tracker.nested("trial", "trial", "data set") as run:
        run.log_dataset(MANIFEST)
        run.log_dataset(MANIFEST)
    assert len(tracker.client.get_run(run.id).inputs.dataset_inputs) == 1


def test_files_are_kept_with_the_run_in_the_project(layout: Layout, tracker: Tracker, tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("a note")
    with tracker.nested("trial", "trial", "files") as run:
        run.log_artifacts([tmp_path / "note.txt"], "notes")
    assert [file.path for file in tracker.client.list_artifacts(run.id, "notes")] == ["notes/note.txt"]
    (kept,) = (layout.tracking / "artifacts").rglob("note.txt")
    assert kept.read_text() == "a note"
