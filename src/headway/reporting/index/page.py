"""The index: what was decided last, and a link to each page with its most important number."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headway.phrases import counted
from headway.reporting import pages
from headway.reporting.formatting import interval, points, shown

if TYPE_CHECKING:
    from headway.promotion.decision import Decision

TEMPLATE = Path(__file__).with_name("page.html")
INDEX, DECISION, CARD, EVALUATION, MONITOR = "index", "decision", "card", "evaluation", "monitor"
#: Pages about the model that was trained last.
STAGE_PAGES = (EVALUATION, "study", "data")
TITLES = {
    INDEX: "All pages",
    DECISION: "Decision",
    CARD: "Model card",
    EVALUATION: "Evaluation",
    "study": "Search",
    "data": "Data",
    MONITOR: "Monitoring",
}
ABOUT = {
    DECISION: "The gate's checks, and the texts that the models disagree on",
    CARD: "The model for its users: data, metrics, limits",
    EVALUATION: "How good the last trained model is on test texts beside the champion and the baseline, and where it fails",
    "study": "Which hyperparameters were tried, and what that gained",
    "data": "What was read, kept and left out",
    MONITOR: "Whether the champion is still as good as when it was promoted",
}


def links(names: Iterable[str]) -> dict[str, str]:
    """Titles of pages, with their addresses in the folder that holds all pages."""
    return {TITLES[name]: f"{name}.html" for name in names}


def render(model: str, decision: Decision | None, names: Iterable[str], metrics: Mapping[str, Mapping[str, Any]]) -> str:
    """The page as HTML. It loads nothing from outside itself.

    Args:
        model: name of the registered model.
        decision: the last one, None if there is none.
        names: of the pages that exist, in their order.
        metrics: contents of ``metrics/data.json``, ``search.json`` and ``test.json``, by name, if they exist.
    """
    lines = {
        DECISION: _of_decision(decision) if decision is not None else "",
        CARD: f"version {decision.candidate.version}, {counted(len(decision.data['label_counts']), 'label')}"
        if decision is not None and decision.data.get("label_counts")
        else "",
        EVALUATION: _of_test(metrics["test"]) if "test" in metrics else "",
        "study": _of_search(metrics["search"]) if "search" in metrics else "",
        "data": _of_data(metrics["data"]) if "data" in metrics else "",
    }
    entries = [(TITLES[name], f"{name}.html", lines.get(name, ""), ABOUT[name]) for name in names]
    return pages.render(TEMPLATE, model=model, decision=decision, entries=entries).html


def _of_decision(decision: Decision) -> str:
    if not decision.checks:
        return "made without the gate"
    passed = f"{len(decision.checks) - len(decision.failed)} of {counted(len(decision.checks), 'check')} passed"
    if decision.accuracy_gain is None:
        return passed
    opponent, check = decision.accuracy_gain
    return f"accuracy {points(check.value, check.low, check.high)} against the {opponent}; {passed}"


def _of_test(found: Mapping[str, Any]) -> str:
    bounds = interval(found.get("accuracy_low"), found.get("accuracy_high"))
    return f"accuracy {shown(found['accuracy'])} ({bounds}) on {counted(found['rows'], 'test row')}"


def _of_search(found: Mapping[str, Any]) -> str:
    winner = found.get("winner")  # version 0.1.0 has recorded none
    used = "" if winner is None else "; the defaults are kept" if winner == 0 else f"; trial {winner} is used"
    return counted(found["trials"], "trial") + used


def _of_data(found: Mapping[str, Any]) -> str:
    return (
        f"{counted(found['rows_kept'], 'row')} kept of {found['rows_in']:,}; {counted(found['classes'], 'class', 'classes')}"
    )
