"""Stage report: draws every page and plot from the files that the other stages write."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from headway.evaluation.predictions import Predictions
from headway.files import fresh_folder, read_json
from headway.layout import Layout
from headway.params import Params
from headway.reporting.data.page import data_page
from headway.reporting.evaluation.page import evaluation_page
from headway.reporting.figures import save_png
from headway.reporting.pages import Page
from headway.reporting.study.page import study_page
from headway.search.found import summary_of, trials_of


def data(_: Params, layout: Layout) -> Page:
    profile = read_json(layout.profile, made_by="prepare")
    return data_page(profile, read_json(layout.quarantine_examples, made_by="prepare"))


def study(params: Params, layout: Layout) -> Page:
    return study_page(trials_of(layout), summary_of(layout), params.search)


def evaluation(params: Params, layout: Layout) -> Page:
    return evaluation_page(
        metrics=read_json(layout.metrics("test"), made_by="evaluate"),
        predictions=Predictions.load(layout.evaluation / "test.parquet", made_by="evaluate"),
        slices=read_json(layout.slices, made_by="evaluate"),
        mistakes=read_json(layout.mistakes, made_by="evaluate"),
        history=read_json(layout.training / "history.json", made_by="train"),
        params=params.evaluation,
    )


#: The pages by file name. To add one, write its function and list it here; its files become dependencies in dvc.yaml.
PAGES: dict[str, Callable[[Params, Layout], Page]] = {"data": data, "study": study, "evaluation": evaluation}


def report(params: Params, layout: Layout, names: Iterable[str] = tuple(PAGES)) -> list[Path]:
    """Write ``reports``, a page each, and ``plots``, every figure of the pages as a PNG file.

    Args:
        names: the pages to draw.

    Returns:
        The pages' paths.

    Raises:
        HeadwayError: a result is missing, damaged, or of another version.
    """
    pages = {name: PAGES[name](params, layout) for name in names}
    with fresh_folder(layout.reports) as reports, fresh_folder(layout.plots) as plots:
        for name, page in pages.items():
            (reports / layout.page(name).name).write_text(page.html, encoding="utf-8")
            for title, figure in page.figures.items():
                save_png(figure, plots / f"{title}.png")
    return [layout.page(name) for name in pages]
