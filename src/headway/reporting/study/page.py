"""The study page: the trials of the search, what decided their scores, and what the search gained."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup, escape

from headway.params import TuneParams
from headway.reporting import pages
from headway.reporting.pages import Page
from headway.reporting.study import charts
from headway.reporting.study.live import short
from headway.reporting.study.summary import summary_lines
from headway.search.goals import epochs_of, objective, second_objective
from headway.search.results import SearchSummary, TrialResult, completed

TEMPLATE = Path(__file__).with_name("page.html")


TITLES = {
    "search_front": "Pareto front: trials that no other trial beats in both objectives",
    "search_history": "Score of each trial",
    "search_importances": "Importance of each hyperparameter",
    "search_parallel": "All hyperparameters at once: the trial that is used in red, pruned trials in grey",
    "search_slices": "Each hyperparameter alone: the trial that is used in red, pruned trials as crosses",
}
#: How to read a figure with pruned trials.
PRUNED_NOTE = "A pruned trial has its score after fewer epochs, which is not comparable with that of a complete trial."
#: Complete trials below which importances are noise.
FEW_TRIALS = 10


def study_page(trials: Sequence[TrialResult], found: SearchSummary, params: TuneParams) -> Page:
    """Draw the page of a finished search, of which at least one trial is complete, from its trials and its summary."""
    differ, unranked = scores_differ(trials), ""
    figures = {
        "search_history": charts.history(trials, found, params),
    }
    if differ:
        if not (unranked := _unranked(trials, found)) and (shares := importances(trials, params)):
            figures["search_importances"] = charts.importances(shares)
        figures |= {
            "search_parallel": charts.parallel(trials, found, params),
            "search_slices": charts.slices(trials, found, params),
        }
    if params.second_objective != "none":
        figures = {"search_front": charts.pareto(trials, params), **figures}
    second = second_objective(params)
    return pages.render(
        TEMPLATE,
        {name: (figure, TITLES[name]) for name, figure in figures.items()},
        {"short": short, "code": _code},
        trials=trials,
        epochs_of=epochs_of,
        winner=found.winner,
        knobs=list(params.space),
        objective=objective(params).title,
        second=second.title if second else "",
        summary=summary_lines(found, params),
        titles=TITLES,
        differ=differ,
        unranked=unranked,
        pruned_note=PRUNED_NOTE if any(trial.state == "pruned" for trial in trials) else "",
    )


def _unranked(trials: Sequence[TrialResult], found: SearchSummary) -> str:
    """Why no importances are shown, "" if they are."""
    if found.winner == 0 and found.trials_differ is False:
        return "The importance of each hyperparameter is not shown: no trial differs from the defaults by more than noise."
    if len(completed(trials)) < FEW_TRIALS:
        return f"The importance of each hyperparameter is not shown: fewer than {FEW_TRIALS} trials are complete."
    return ""


def _code(line: str) -> Markup:
    """A sentence whose parts in backticks are shown as code."""
    return Markup(re.sub("`(.+?)`", r"<code>\1</code>", str(escape(line))))


def scores_differ(trials: Sequence[TrialResult]) -> bool:
    """Whether there are two different scores, without which no hyperparameter can be ranked."""
    return len({trial.score for trial in trials if trial.score is not None}) > 1


def importances(trials: Sequence[TrialResult], params: TuneParams) -> dict[str, float]:
    """Importance of each hyperparameter, summing to 1; empty if fewer than two scores differ.

    A pruned trial counts with its last score.
    """
    import optuna
    from optuna.importance import get_param_importances
    from optuna.trial import TrialState

    from headway.search.space import frozen_trial

    scored = [trial for trial in trials if trial.score is not None]
    if not scores_differ(trials) or not params.space:
        return {}
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize" if objective(params).maximise else "minimize")
    for trial in scored:
        study.add_trial(frozen_trial(params.space, trial.point, TrialState.COMPLETE, value=trial.score))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {name: float(share) for name, share in get_param_importances(study).items()}
