"""The search stage on real sentences: it never reads the test split, and MLflow shows one nested run per trial."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow.entities import Run
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from headway.data.batching.datamodule import WholeTexts
from headway.data.tokenization import vectors
from headway.data.tokenization.encoded import EncodedTexts
from headway.errors import HeadwayError
from headway.executors import Serial
from headway.layout import Layout
from headway.model.classifier import AttentionClassifier
from headway.model.fitting import fit_ngrams
from headway.model.training import NO_MEMORY
from headway.params import TUNABLE, Params
from headway.search.found import summary_of, trials_of
from headway.search.goals import KEPT_BY
from headway.search.objective import ngram_part, schedule_of_defaults
from headway.search.results import TrialResult
from headway.search.trial import Outcome, Task
from headway.stages.tune import KEPT_STUDIES, study_key, tune
from headway.stages.tune.rows import load_shared
from headway.stages.tune.trials import EncodingExecutor, defaults_of, threads_per_trial
from headway.tracking import Tracker
from headway.tracking_labels import data_name

RATE = {"training.learning_rate": {"type": "float", "low": 0.001, "high": 0.03, "log": True}}
QUICK: dict[str, Any] = {"tune.trials": 2, "tune.max_epochs": 1, "tune.train_share": 0.5, "tune.space": RATE}


def trial_name(run: Run) -> str:
    """The part of a run's name between the data set and the score, "" for a parent."""
    return run.info.run_name.split(" · ")[2] if run.data.tags["headway.kind"] == "trial" else ""


def without_test_split(layout: Layout) -> None:
    (layout.encoded / "test.arrow").unlink()
    (layout.prepared / "test.parquet").unlink()


def search(params: Params, layout: Layout) -> tuple[TrialResult, Tracker]:
    tracker = Tracker(params, layout)
    return tune(params, layout, lambda: tracker), tracker


def no_tracker() -> Tracker:
    raise AssertionError("the search was not finished")


def outs(layout: Layout) -> dict[str, bytes]:
    files = [*layout.study.iterdir(), layout.metrics("search")]
    return {file.name: file.read_bytes() for file in files}


def test_the_search_needs_no_test_split_and_logs_one_run_per_trial(tunable: tuple[Params, Layout]) -> None:
    params, layout = tunable
    without_test_split(layout)
    chosen = params.override(QUICK)
    winner, tracker = search(chosen, layout)

    trials = trials_of(layout)
    assert [trial.number for trial in trials] == [0, 1]
    assert trials[0].point == {"training.learning_rate": params.training.learning_rate}
    # If the defaults win, the file is empty.
    written = json.loads((layout.study / "best_params.json").read_text(encoding="utf-8"))
    assert written == (winner.point if winner.number else {})
    assert winner == trials[winner.number]
    assert json.loads(layout.metrics("search").read_text(encoding="utf-8"))["winner"] == winner.number

    runs = tracker.client.search_runs([tracker.experiment_id])
    parents = [run for run in runs if MLFLOW_PARENT_RUN_ID not in run.data.tags]
    nested = [run for run in runs if MLFLOW_PARENT_RUN_ID in run.data.tags]
    assert [run.data.tags["headway.kind"] for run in parents] == ["pipeline"]
    assert sorted(map(trial_name, nested)) == ["trial 0", "trial 1"]
    assert {run.data.tags[MLFLOW_PARENT_RUN_ID] for run in nested} == {parents[0].info.run_id}
    assert {run.info.status for run in runs} == {"FINISHED"}
    for run in nested:
        trial = trials[int(trial_name(run).split()[1])]
        assert run.info.run_name == f"tune · {data_name(chosen)} · {trial_name(run)} · {trial.score:.4f}"
        assert run.data.params == {name: str(value) for name, value in trial.point.items()}
        assert run.data.metrics["score"] == trial.score
        assert run.data.metrics["validation_accuracy"] == trial.curve[-1]["validation_accuracy"]
        assert run.data.metrics["training_tokens"] == trial.tokens > 0
        assert run.data.metrics["seconds"] > 0
        steps = tracker.client.get_metric_history(run.info.run_id, "validation_accuracy")
        assert [point.step for point in steps] == [entry["step"] for entry in trial.curve]

    (parent,) = parents
    assert parent.data.metrics["search_winner"] == winner.number
    assert parent.data.metrics["search_seconds"] > 0
    logged = {item.path for item in tracker.client.list_artifacts(parent.info.run_id, "search")}
    assert logged == {"search/best_params.json", "search/trials.json"}

    before = outs(layout)
    assert tune(chosen, layout, no_tracker) == winner  # the study is finished: no trial runs, and MLflow is not used
    assert outs(layout) == before
    more, _ = search(chosen.override({"tune.trials": 3, "tune.target": 0.999, "tune.timeout_minutes": 5.0}), layout)
    assert trials_of(layout)[:2] == trials  # a larger budget continues the study
    assert len(trials_of(layout)) == 3
    assert more.number in (winner.number, 2)
    assert (
        len(tracker.client.search_runs([tracker.experiment_id])) == len(runs) + 2
    )  # and its new trial has a parent of its own


def test_a_trial_that_may_be_better_is_trained_again_with_other_seeds_and_mlflow_has_these_runs(
    tunable: tuple[Params, Layout], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headway.search.study.LEVEL", 1.0)  # as if its gain were beyond the noise of the rows
    monkeypatch.setattr("headway.search.study.best", lambda trials, _: trials[1])
    params, layout = tunable
    _, tracker = search(params.override({**QUICK, "tune.pruning": False}), layout)
    first, second = trials_of(layout)  # the repetitions are no trials
    runs = {trial_name(run): run for run in tracker.client.search_runs([tracker.experiment_id])}
    assert {"trial 0", "trial 1", "trial 0, seed 2", "trial 1, seed 2"} <= runs.keys()
    for number in (0, 1):
        trial, again = runs[f"trial {number}"].data, runs[f"trial {number}, seed 2"].data
        assert again.params == trial.params
        assert again.metrics["train_loss"] != trial.metrics["train_loss"]
    assert summary_of(layout).training_tokens > first.tokens + second.tokens


def test_trial_0_has_a_number_of_the_range_in_place_of_auto(tunable: tuple[Params, Layout]) -> None:
    params, layout = tunable
    space = {
        "training.tokens_per_batch": {"type": "int", "low": 1500, "high": 8192, "log": True},
        "training.warmup_ratio": {"type": "float", "low": 0.0, "high": 0.5},
        "model.n_layers": {"type": "int", "low": 1, "high": 2},
    }
    chosen = params.override({"training.tokens_per_batch": "auto", "tune.space": space})
    shared = load_shared(chosen, layout)
    assert schedule_of_defaults(shared).tokens_per_batch == 1024  # of few short texts
    expected = {"training.tokens_per_batch": 1500, "training.warmup_ratio": 0.1, "model.n_layers": 1}
    assert defaults_of(chosen, shared) == expected
    winner, _ = search(chosen.override({"tune.trials": 1, "tune.max_epochs": 1}), layout)
    assert winner.point == expected


def accepts(params: Params, path: str, value: Any) -> bool:
    try:
        params.override({path: value, "tune.space": {}})
    except HeadwayError:
        return False
    return True


def test_every_knob_that_takes_auto_or_a_number_can_be_searched_as_a_range(tunable: tuple[Params, Layout]) -> None:
    params, layout = tunable
    derived = [path for path in TUNABLE if accepts(params, path, "auto") and accepts(params, path, 0.5)]
    counts = [path for path in TUNABLE if accepts(params, path, "auto") and accepts(params, path, 64)]
    assert {*derived, *counts} == {"training.tokens_per_batch", "training.warmup_ratio", "model.bigram_buckets"}
    shares = {path: {"type": "float", "low": 0.0, "high": 0.9} for path in derived}
    space = {**shares, **{path: {"type": "int", "low": 8, "high": 2**20} for path in counts}}
    chosen = params.override({**dict.fromkeys(space, "auto"), "tune.space": space})
    shared = load_shared(chosen, layout)
    module = AttentionClassifier(chosen.model, shared.data.vocabulary_size, 2)
    schedule = schedule_of_defaults(shared)
    assert defaults_of(chosen, shared) == {
        "training.tokens_per_batch": schedule.tokens_per_batch,
        "training.warmup_ratio": schedule.warmup_ratio,
        "model.bigram_buckets": module.bigram_buckets,
    }


def test_a_share_without_rows_becomes_all_rows(tunable: tuple[Params, Layout]) -> None:
    params, layout = tunable
    shared = load_shared(params.override({"tune.train_share": 1e-9}), layout)
    assert len(shared.data.train) == len(EncodedTexts.open(layout.encoded / "train.arrow"))


def test_a_small_training_split_is_not_sampled(tunable: tuple[Params, Layout]) -> None:
    params, layout = tunable
    every = len(EncodedTexts.open(layout.encoded / "train.arrow"))
    assert len(load_shared(params.override({"tune.train_share": "auto"}), layout).data.train) == every
    assert len(load_shared(params.override({"tune.train_share": 0.25}), layout).data.train) < every / 2


def test_the_same_seed_gives_the_same_trials_bit_for_bit(tunable: tuple[Params, Layout]) -> None:
    params, layout = tunable
    chosen = params.override({**QUICK, "tune.trials": 3, "tune.max_epochs": 2})
    search(chosen, layout)
    first = outs(layout)
    shutil.rmtree(layout.scratch)
    search(chosen, layout)
    assert outs(layout) == first
    assert all("seconds" not in trial for trial in json.loads(first["trials.json"]))


def test_a_failed_trial_is_a_failed_run_with_its_reason_in_mlflow(tunable: tuple[Params, Layout]) -> None:
    params, layout = tunable
    chosen = params.override(
        {
            "training.learning_rate": 0.02,
            "tune.trials": 2,
            "tune.max_epochs": 2,
            "tune.train_share": 1.0,
            # The larger rate diverges.
            "tune.space": {"training.learning_rate": {"type": "categorical", "choices": [0.02, 1e30]}},
        }
    )
    _, tracker = search(chosen, layout)
    assert [trial.state for trial in trials_of(layout)] == ["complete", "failed"]
    assert trials_of(layout)[1].reason.startswith("training diverged: ")
    runs = {trial_name(run): run for run in tracker.client.search_runs([tracker.experiment_id])}
    assert (runs["trial 0"].info.status, runs["trial 0"].data.tags["headway.trial"]) == ("FINISHED", "complete")
    assert (runs["trial 1"].info.status, runs["trial 1"].data.tags["headway.trial"]) == ("FAILED", "failed")
    assert runs["trial 1"].data.tags["headway.reason"] == trials_of(layout)[1].reason
    (parent,) = [run for run in runs.values() if run.data.tags["headway.kind"] == "pipeline"]
    assert parent.info.status == "FINISHED"  # the search did not fail, only its last trial


def test_if_every_trial_fails_the_search_and_its_parent_run_fail(tunable: tuple[Params, Layout]) -> None:
    params, layout = tunable
    chosen = params.override({**QUICK, "training.learning_rate": 1e30, "tune.space": {}})
    with pytest.raises(HeadwayError, match=r"^none of 1 trials completed: training diverged"):
        search(chosen, layout)
    tracker = Tracker(chosen, layout)
    assert {run.info.status for run in tracker.client.search_runs([tracker.experiment_id])} == {"FAILED"}


def test_a_trial_that_was_not_logged_is_logged_by_the_next_run(tunable: tuple[Params, Layout]) -> None:
    params, layout = tunable
    chosen = params.override(QUICK)
    _, tracker = search(chosen, layout)
    for run in tracker.client.search_runs([tracker.experiment_id], "tags.`headway.kind` = 'trial'"):
        tracker.client.delete_run(run.info.run_id)
    search(chosen.override({"tune.target": 0.999}), layout)
    logged = tracker.client.search_runs([tracker.experiment_id], "tags.`headway.kind` = 'trial'")
    assert sorted(map(trial_name, logged)) == ["trial 0", "trial 1"]


def test_undoing_a_change_finds_its_trials_again_and_the_oldest_studies_are_removed(
    tunable: tuple[Params, Layout],
) -> None:
    params, layout = tunable
    chosen = params.override({**QUICK, "tune.trials": 1})
    search(chosen, layout)
    first = trials_of(layout)
    search(chosen.override({"seed": 2}), layout)
    assert trials_of(layout) != first
    tune(chosen, layout, no_tracker)
    assert trials_of(layout) == first
    studies = layout.scratch / "study"
    for age in range(KEPT_STUDIES):
        (studies / f"of other params {age}").mkdir()
        os.utime(studies / f"of other params {age}", (2e9 - age, 2e9 - age))
    tune(chosen, layout, no_tracker)
    names = {folder.name for folder in studies.iterdir()}
    assert names == {study_key(chosen, layout)[:16], *(f"of other params {age}" for age in range(KEPT_STUDIES))}


@pytest.mark.parametrize(
    ("error", "reason"),
    [(MemoryError(), "out of memory"), (RuntimeError(f"[enforce fail] {NO_MEMORY}: 9 bytes"), NO_MEMORY)],
)
def test_a_tokenizer_that_runs_out_of_memory_fails_only_its_trial(
    tunable: tuple[Params, Layout], monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str
) -> None:
    params, layout = tunable
    size = {"tokenizer.vocabulary_size": {"type": "categorical", "choices": [2000, 400]}}

    def encoded(chosen: Any, *_: Any) -> Path:
        if chosen.vocabulary_size == 400:
            raise error
        return layout.encoded

    monkeypatch.setattr("headway.stages.tokenize.cached.encoded_with", encoded)
    search(params.override({**QUICK, "tune.space": size}), layout)
    first, second = trials_of(layout)
    assert (first.state, second.state) == ("complete", "failed")
    assert reason in second.reason


def test_a_second_search_in_the_same_project_is_refused_and_removes_nothing(tunable: tuple[Params, Layout]) -> None:
    from filelock import FileLock

    params, layout = tunable
    other = layout.scratch / "study" / study_key(params.override({"seed": 2}), layout)[:16]
    other.mkdir(parents=True)
    with FileLock(layout.scratch / "tune.lock"), pytest.raises(HeadwayError, match="another process runs a search; wait"):
        search(params.override(QUICK), layout)
    assert other.is_dir()


def test_a_hyperparameter_of_the_tokenizer_encodes_the_rows_again(tunable: tuple[Params, Layout]) -> None:
    params, layout = tunable
    without_test_split(layout)
    space = {"tokenizer.kind": {"type": "categorical", "choices": ["word", "bpe"]}}
    size = {"tokenizer.vocabulary_size": {"type": "categorical", "choices": [2000, 400]}}
    chosen = params.override({**QUICK, "tune.trials": 9, "tune.space": {**space, **size}, "tune.pruning": False})
    before = (layout.encoded / "train.arrow").read_bytes()
    search(chosen, layout)
    trials = trials_of(layout)
    assert len(trials) == 4
    assert {trial.state for trial in trials} == {"complete"}
    assert trials[0].point == {"tokenizer.kind": "word", "tokenizer.vocabulary_size": 2000}
    assert len({trial.curve[-1]["train_loss"] for trial in trials}) == 4
    assert trials[0].tokens == min(trial.tokens for trial in trials)  # words are fewer than pieces
    assert (layout.encoded / "train.arrow").read_bytes() == before
    assert len(list((layout.scratch / "encoded").glob("*/*/tokenizer.json"))) == 3  # params.yaml's setting was there


def test_n_grams_are_fitted_once_for_each_setting_of_the_tokenizer_and_of_the_class_weights(
    tunable: tuple[Params, Layout], capsys: pytest.CaptureFixture[str]
) -> None:
    params, layout = tunable
    shared = load_shared(params.override({"tune.train_share": 0.5}), layout)
    assert f"tune · n-grams of {len(shared.data.train)} texts" in capsys.readouterr().out
    points: list[dict[str, Any]] = [
        {},
        {"tokenizer.vocabulary_size": 400},
        {"training.class_weights": "balanced"},
        {"tokenizer.vocabulary_size": 400, "training.class_weights": "balanced"},
    ]
    tasks = [Task(number, {**point, "training.learning_rate": 0.01}) for number, point in enumerate([*points, *points])]
    received: list[Task] = []

    class Keep:
        workers = 8

        def run(self, tasks: Any, listener: Any) -> None:
            received.extend(tasks)

    class Silent:
        def started(self, position: int) -> None: ...
        def reported(self, position: int, report: Any) -> None: ...
        def ended(self, position: int, result: Any) -> None: ...

    executor = EncodingExecutor(Keep(), shared, layout)
    executor.run(tasks[:5], Silent())
    executor.run(tasks[5:], Silent())
    assert capsys.readouterr().out.count("tune · n-grams of ") == 3  # those of the first point are there
    data = [task.data or shared.data for task in received]
    first, again = ([one.ngrams for one in some] for some in (data[:4], data[4:]))
    assert all(one is other for one, other in zip(first, again, strict=True))
    logits = [one.logits for one in first if one]
    assert len({one.tobytes() for one in logits}) == len(points)
    for point, one, found in zip(points, data, logits, strict=False):
        knobs = shared.params.at(point)
        fitted = fit_ngrams(WholeTexts(one.train, one.validation), 2, knobs)
        assert fitted is not None
        np.testing.assert_array_equal(found, ngram_part(fitted, one.validation, "none").logits)


def test_n_grams_are_fitted_on_a_sample_of_a_large_share(
    tunable: tuple[Params, Layout], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    params, layout = tunable
    train = load_shared(params, layout).data.train
    monkeypatch.setattr("headway.model.fitting.MAX_NGRAM_TOKENS", len(train.tokens) // 2 + 1)
    capsys.readouterr()
    load_shared(params, layout)
    assert f"tune · n-grams of {-(-len(train) // 2)} of {len(train)} texts" in capsys.readouterr().out


def test_n_grams_are_fitted_only_if_a_trial_is_left_to_run(
    tunable: tuple[Params, Layout], capsys: pytest.CaptureFixture[str]
) -> None:
    params, layout = tunable
    chosen = params.override({**QUICK, "tune.trials": 1})
    winner, _ = search(chosen, layout)
    assert capsys.readouterr().out.count("tune · n-grams of ") == 1
    again, _ = search(chosen.override({"tune.timeout_minutes": 5.0}), layout)  # another budget of the same study
    assert again == winner
    assert "n-grams" not in capsys.readouterr().out


def test_without_n_grams_trials_have_none(tunable: tuple[Params, Layout], capsys: pytest.CaptureFixture[str]) -> None:
    params, layout = tunable
    winner, _ = search(params.override({**QUICK, "tune.trials": 1, "ngrams.max_order": 0}), layout)
    assert "n-grams" not in capsys.readouterr().out
    assert winner.score == pytest.approx(min(winner.curve, key=lambda entry: entry[KEPT_BY])["validation_accuracy"])


def test_only_what_changes_the_trials_changes_the_study(tunable: tuple[Params, Layout]) -> None:
    params, layout = tunable
    key = study_key(params, layout)
    same: list[dict[str, Any]] = [
        {"tune.trials": 99, "tune.timeout_minutes": 1.0, "tune.target": 0.9, "tune.second_margin": 0.5},
        {"tune.storage": "postgresql://host/studies"},
        {"tune.executor": "ray", "tune.address": "ray://host:10001"},
        {"training.strategy": "ray", "training.address": "ray://host:10001"},
        {"evaluation.confidence": 0.9, "gate.confidence": 0.9},
    ]
    others: list[dict[str, Any]] = [
        {"tune.workers": 2},
        {"tune.objective": "macro_f1"},
        {"tune.pruning": False},
        {"tune.space": {}},
        {"training.threads": 2},
        {"model.n_layers": 2},
        {"ngrams.max_order": 2},
        {"training.class_weights": "balanced"},
        {"seed": 2},
    ]
    assert {study_key(params.override(changed), layout) for changed in same} == {key}
    assert len({study_key(params.override(changed), layout) for changed in others} | {key}) == len(others) + 1


@pytest.mark.parametrize(
    "file",
    [
        "data/prepared/labels.json",
        "data/encoded/tokenizer.json",
        f"data/encoded/{vectors.FILE}",
        "data/encoded/train.arrow",
        "src/headway/search/space.py",
    ],
)
def test_every_input_of_the_trials_changes_the_study(tunable: tuple[Params, Layout], file: str) -> None:
    params, layout = tunable
    key = study_key(params, layout)
    path = layout.root / file
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as edited:
        edited.write(" ")
    assert study_key(params, layout) != key


def test_workers_on_this_machine_divide_its_threads(params: Params) -> None:
    def threads(**changed: Any) -> int:
        return threads_per_trial(params.override({f"tune.{name}": value for name, value in changed.items()}))

    assert params.training.threads == 2
    assert threads(executor="serial", workers=2) == 2
    assert threads(executor="processes", workers=2) == 1
    assert threads(executor="processes", workers=5) == 1
    assert threads(executor="processes", workers=2, address="ray://left.over:10001") == 1
    assert threads(executor="ray", workers=2) == 1
    assert threads(executor="ray", workers=2, address="ray://host:10001") == 2


def test_a_finished_search_is_published_again_without_loading_pytorch_or_data(tunable: tuple[Params, Layout]) -> None:
    params, layout = tunable
    chosen = params.override(QUICK)
    search(chosen, layout)
    script = (
        "import json, sys\n"
        "from pathlib import Path\n"
        "from headway.layout import Layout\n"
        "from headway.params import validate\n"
        "from headway.stages.tune import tune\n"
        "params = validate(json.loads(sys.argv[1]), 'params')\n"
        "tune(params, Layout(Path(sys.argv[2])), None)\n"
        "heavy = {'torch', 'mlflow', 'optuna', 'pytorch_lightning', 'matplotlib', 'pyarrow'} & sys.modules.keys()\n"
        "assert not heavy, heavy\n"
    )
    command = [sys.executable, "-c", script, chosen.model_dump_json(), str(layout.root)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.e2e
def test_a_search_that_is_killed_repeatedly_ends_like_an_undisturbed_one(
    tunable: tuple[Params, Layout], tmp_path: Path
) -> None:
    """kill -9 of the real stage at several moments leaves one parent run and one run per trial, none of them RUNNING."""
    from ruamel.yaml import YAML

    params, layout = tunable
    chosen = params.override({**QUICK, "tune.trials": 4, "tune.max_epochs": 2})
    YAML().dump(chosen.model_dump(), layout.params)
    command = [sys.executable, "-m", "headway.cli", "tune"]
    log = tmp_path / "log"
    for seconds in (0.0, 0.5, 1.2):
        with log.open("w") as out:
            process = subprocess.Popen(command, cwd=layout.root, stdout=out, stderr=subprocess.STDOUT)
            deadline = time.monotonic() + 120
            while "trial " not in log.read_text() and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.05)
            time.sleep(seconds)
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
    done = subprocess.run(command, cwd=layout.root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    trials = trials_of(layout)
    assert [trial.number for trial in trials] == list(range(4))
    assert all(trial.state != "failed" or trial.reason.startswith("interrupted twice") for trial in trials)
    tracker = Tracker(chosen, layout)
    runs = tracker.client.search_runs([tracker.experiment_id])
    assert {run.info.status for run in runs} <= {"FINISHED", "FAILED", "KILLED"}
    (parent,) = [run for run in runs if run.data.tags["headway.kind"] == "pipeline"]
    nested = [run for run in runs if run.data.tags["headway.kind"] == "trial"]
    assert sorted(map(trial_name, nested)) == [f"trial {number}" for number in range(4)]
    assert {run.data.tags[MLFLOW_PARENT_RUN_ID] for run in nested} == {parent.info.run_id}


def test_results_keep_their_positions_if_the_rows_of_a_task_cannot_be_encoded(
    tunable: tuple[Params, Layout], monkeypatch: pytest.MonkeyPatch
) -> None:
    params, layout = tunable

    def encoded(self: EncodingExecutor, task: Task) -> None:
        if task.number == 0:
            raise HeadwayError("no vocabulary")

    def work(shared: None, task: Task, report: Any) -> Outcome:
        report({"number": task.number})
        return Outcome("failed", reason=task.problem) if task.problem else Outcome("complete", (float(task.number),))

    class Listener:
        def __init__(self) -> None:
            self.begun: list[int] = []
            self.reports: list[tuple[int, int]] = []
            self.results: dict[int, Any] = {}

        def started(self, position: int) -> None:
            self.begun.append(position)

        def reported(self, position: int, report: Any) -> None:
            self.reports.append((position, report["number"]))

        def ended(self, position: int, result: Any) -> None:
            self.results[position] = result

    monkeypatch.setattr(EncodingExecutor, "_encoded", encoded)
    listener = Listener()
    batch = [Task(number, {"tokenizer.min_frequency": 2}) for number in range(3)]
    EncodingExecutor(Serial(work, None, 3), load_shared(params, layout), layout).run(batch, listener)
    assert listener.begun == [0, 1, 2, 0, 1, 2]  # when their rows are encoded, and when they run
    assert listener.reports == [(0, 0), (1, 1), (2, 2)]
    assert listener.results[0] == Outcome("failed", reason="no vocabulary")
    assert [listener.results[position].values for position in (1, 2)] == [(1.0,), (2.0,)]
