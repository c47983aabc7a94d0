"""Stage report: draws every page and plot from the files that the other stages write."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from headway.evaluation.predictions import Predictions
from headway.files import fresh_folder, read_json, write_text
from headway.layout import Layout
from headway.params import Params
from headway.reporting.data.page import data_page
from headway.reporting.evaluation.page import Champion, Evaluated, evaluation_page
from headway.reporting.figures import save_png
from headway.reporting.pages import Page
from headway.reporting.study.page import study_page
from headway.search.found import summary_of, trials_of

#: What the stage's own page says, which DVC tracks and which therefore knows no registry.
BEFORE_THE_GATE = Champion(
    "Drawn before the gate: after a decision, evaluation.html in the same folder shows the champion beside these models."
)


def data(_: Params, layout: Layout) -> Page:
    return data_page(
        read_json(layout.profile, made_by="prepare"),
        read_json(layout.quarantine_examples, made_by="prepare"),
        read_json(layout.text_examples, made_by="prepare"),
    )


def study(params: Params, layout: Layout) -> Page:
    return study_page(trials_of(layout), summary_of(layout), params.search)


def candidate(params: Params, layout: Layout) -> Page:
    return evaluation(params, layout, BEFORE_THE_GATE)


def evaluation(params: Params, layout: Layout, champion: Champion, key: str = "") -> Page:
    """The evaluation of the candidate, beside the baseline and what is known of the champion; ``key`` is put into the page.

    No stage knows the champion. After the gate, :mod:`headway.promotion.evaluation_report` draws this page with it.
    """
    profile = read_json(layout.profile, made_by="prepare")
    model = read_json(layout.evaluated_model, made_by="evaluate")
    return evaluation_page(
        candidate=_evaluated(layout, read_json(layout.metrics("test"), made_by="evaluate"), layout.evaluation, "evaluate"),
        baseline=_evaluated(
            layout, read_json(layout.metrics("baseline"), made_by="baseline")["test"], layout.baseline, "baseline"
        ),
        champion=champion,
        mistakes=read_json(layout.mistakes, made_by="evaluate"),
        confusions=read_json(layout.confusions, made_by="evaluate"),
        history=read_json(layout.training / "history.json", made_by="train"),
        params=params.evaluation,
        origin={"model": model["sha256"], "data": profile["source"], "version": profile["version"]},
        key=key,
    )


def _evaluated(layout: Layout, metrics: Mapping[str, Any], folder: Path, made_by: str) -> Evaluated:
    """What the stage ``made_by`` wrote of its model into a folder."""
    by_time = folder / layout.over_time.name  # which only data with a time column have
    return Evaluated(
        metrics,
        Predictions.load(folder / "test.parquet", made_by),
        read_json(folder / layout.slices.name, made_by),
        read_json(folder / layout.coverage.name, made_by),
        read_json(by_time, made_by) if by_time.is_file() else [],
    )


#: The pages by file name. To add one, write its function and list it here; its files become dependencies in dvc.yaml.
PAGES: dict[str, Callable[[Params, Layout], Page]] = {"data": data, "study": study, "candidate": candidate}


def report(params: Params, layout: Layout, names: Iterable[str] = tuple(PAGES)) -> list[Path]:
    """Write pages into ``reports``, which has pages from after the gate too, and ``plots``, every figure as a PNG file.

    Args:
        names: the pages to draw.

    Returns:
        The pages' paths.

    Raises:
        HeadwayError: a result is missing, damaged, or of another version.
    """
    pages = {name: PAGES[name](params, layout) for name in names}
    with fresh_folder(layout.plots) as plots:
        for name, page in pages.items():
            write_text(layout.page(name), page.html)
            for title, figure in page.figures.items():
                save_png(figure, plots / f"{title}.png")
    return [layout.page(name) for name in pages]
