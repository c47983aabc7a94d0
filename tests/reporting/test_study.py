"""The study's page and plots, and the progress that a terminal or a log shows."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from headway.params import TuneParams
from headway.ranges import Choices, FloatRange
from headway.reporting.figures import save_png
from headway.reporting.pages import Page
from headway.reporting.study.live import LiveProgress, duration
from headway.reporting.study.page import importances, study_page
from headway.reporting.study.summary import summary_lines, table
from headway.search.results import FinishedSearch, TrialResult, best, summary
from headway.search.trial import Task
from tests.search.conftest import SPACE, climb, study, tune_params, work_with


@pytest.fixture(scope="module")
def trials(tmp_path_factory: pytest.TempPathFactory) -> list[TrialResult]:
    return study(tmp_path_factory.mktemp("study") / "journal.log", trials=10)


def page_of(trials: list[TrialResult], params: TuneParams) -> Page:
    return study_page(trials, summary(FinishedSearch(trials, params)), params)


def test_the_page_opens_offline_and_the_same_trials_give_the_same_bytes(trials: list[TrialResult]) -> None:
    html = page_of(trials, tune_params()).html
    assert html == page_of(trials, tune_params()).html
    assert html.count("<svg") == 3
    assert re.findall(r"""(?:src|href)="([^#"][^"]*)""", html) == ["index.html"]
    assert "://" not in html
    for line in summary_lines(summary(FinishedSearch(trials, tune_params())), tune_params()):
        assert re.sub("`(.+?)`", r"<code>\1</code>", line) in html
    assert html.count("<tr") == 1 + len(trials)
    assert html.count('<tr class="best"') == 1


def test_a_front_is_drawn_where_there_are_two_objectives(tmp_path: Path) -> None:
    params = tune_params(trials=6, second_objective="size")
    work = work_with(climb, params, second=lambda point: float(point["model.n_layers"]))
    found = study(tmp_path / "journal.log", work=work, trials=6, second_objective="size")
    assert page_of(found, params).html.count("<svg") == 4


@pytest.mark.parametrize("space", [{}, {"a.b_$x$": FloatRange(type="float", low=0.5, high=0.5)}, dict(SPACE)])
def test_a_study_of_one_trial_is_drawn_too(tmp_path: Path, space: dict[str, Any]) -> None:
    point = {name: knob.choices[0] if isinstance(knob, Choices) else knob.low for name, knob in space.items()}
    trial = TrialResult(0, "complete", 0.5, None, point, [{"epoch": 1, "joint_validation_accuracy": 0.5}], "", 0)
    for name, figure in page_of([trial], tune_params(space=space)).figures.items():
        save_png(figure, tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").stat().st_size > 1000


def test_equal_scores_rank_nothing(trials: list[TrialResult]) -> None:
    equal = [replace(trial, state="complete", score=0.5, reason="") for trial in trials]
    page = page_of(equal, tune_params())
    assert "All trials scored the same: nothing to rank." in page.html
    assert list(page.figures) == ["search_history"]
    assert "nothing to rank" not in page_of(trials, tune_params()).html


def test_importances_are_shown_only_if_ten_trials_are_complete_and_some_differ(trials: list[TrialResult]) -> None:
    params = tune_params()
    complete = [replace(trial, state="complete", score=0.5 + trial.number / 100) for trial in trials]
    assert "search_importances" in page_of(complete, params).figures
    few = page_of(complete[:9], params)
    assert "search_importances" not in few.figures
    assert "fewer than 10 trials are complete" in few.html
    found = replace(summary(FinishedSearch(complete, params)), winner=0, trials_differ=False)
    same = study_page(complete, found, params)
    assert "search_importances" not in same.figures
    assert "no trial differs from the defaults by more than noise." in same.html


def test_the_history_marks_the_trial_that_is_used_and_the_noise_around_the_defaults(trials: list[TrialResult]) -> None:
    params = tune_params()
    complete = [replace(trial, state="complete", score=0.5 + trial.number / 100) for trial in trials]
    found = replace(summary(FinishedSearch(complete, params)), winner=0, row_noise=0.2)
    (axes,) = study_page(complete, found, params).figures["search_history"].axes
    marks = {line.get_label(): line.get_xydata().tolist() for line in axes.lines}
    assert marks["used"] == [[0, 0.5]]
    (band,) = axes.patches
    assert (band.get_y(), band.get_height()) == pytest.approx((0.3, 0.4))


def test_pruned_trials_are_said_to_have_fewer_epochs(trials: list[TrialResult]) -> None:
    assert any(trial.state == "pruned" for trial in trials)
    assert "score after fewer epochs" in page_of(trials, tune_params()).html
    complete = [replace(trial, state="complete", score=0.5 + trial.number / 100) for trial in trials]
    assert "fewer epochs" not in page_of(complete, tune_params()).html


def test_what_a_reason_says_is_text_and_no_markup(trials: list[TrialResult]) -> None:
    failed = TrialResult(10, "failed", None, None, trials[0].point, [], "<b>loss</b> nan", 0)
    assert "&lt;b&gt;loss&lt;/b&gt; nan" in page_of([*trials, failed], tune_params()).html


def test_the_knob_that_decides_is_the_most_important(tmp_path: Path) -> None:
    def scores(number: int, point: Any) -> list[float]:
        return [float(point["training.warmup_ratio"])]

    found = study(tmp_path / "journal.log", scores, trials=25, pruning=False)
    shares = importances(found, tune_params())
    assert max(shares, key=lambda name: shares[name]) == "training.warmup_ratio"
    assert sum(shares.values()) == pytest.approx(1)
    assert importances(found[:1], tune_params()) == {}


def test_the_table_has_a_row_a_trial_with_its_knobs(trials: list[TrialResult]) -> None:
    out = io.StringIO()
    failed = TrialResult(10, "failed", None, None, {"model.n_layers": 5}, [], "[red]loss[/red] nan", 0)
    Console(file=out, width=250).print(table([*trials, failed], best(trials, tune_params()).number, tune_params()))
    lines = out.getvalue().splitlines()
    assert len(lines) == 4 + 11
    assert all(f"{name.split('.')[1]} " in lines[3] for name in SPACE)
    assert "failed: [red]loss[/red] nan" in lines[-2]
    assert f"{trials[0].score:.4f}" in lines[3]


# Progress


def shown(terminal: bool, trials: list[TrialResult], **changed: Any) -> str:
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=200, highlight=False, markup=False)
    with LiveProgress(tune_params(trials=4, **changed), console) as progress:
        progress.resumed(trials[:1])
        for trial in trials[1:]:
            progress.began(Task(trial.number, trial.point))
            progress.evaluated(trial.number, {"step": 1200, "progress": 0.5, "joint_validation_accuracy": 0.25})
            progress.ended(trial)
    return out.getvalue()


def ended(number: int, state: str, score: float | None, seconds: float = 30.0) -> TrialResult:
    reason = "" if score else "loss nan"
    return TrialResult(number, state, score, None, {"model.n_layers": number}, [], reason, 0, seconds)


RAN = [ended(0, "complete", 0.7), ended(1, "pruned", 0.6, 10.0), ended(2, "failed", None, 5.0)]


def test_a_log_shows_a_line_a_step_with_the_best_the_counts_and_the_time_left() -> None:
    assert shown(False, RAN).splitlines() == [
        "the search continues: best 0.7000 (trial 0), 1 done, 0 pruned, 0 failed of 4, about 90 s left".replace(
            "90 s", "2 min"
        ),
        "trial 1: model.n_layers 1",
        "trial 1, step 1,200 (50%): 0.2500",
        "trial 1: pruned at 0.6000 in 10 s · best 0.7000 (trial 0), 1 done, 1 pruned, 0 failed of 4, about 40 s left",
        "trial 2: model.n_layers 2",
        "trial 2, step 1,200 (50%): 0.2500",
        "trial 2: failed: loss nan in 5 s · best 0.7000 (trial 0), 1 done, 1 pruned, 1 failed of 4, about 15 s left",
    ]


def test_workers_share_the_time_that_is_left() -> None:
    assert "about 20 s left" in shown(False, RAN[:2], executor="processes", workers=2)


def test_a_terminal_shows_a_bar_besides() -> None:
    text = shown(True, RAN)
    assert "trial 1: pruned at 0.6000" in text
    assert "━" in text
    assert "trial 2, step 1,200 (50%): 0.2500" in text


def test_a_duration_is_shown_in_a_suitable_unit() -> None:
    assert [duration(seconds) for seconds in (5, 89, 100, 7200)] == ["5 s", "89 s", "2 min", "2.0 h"]
