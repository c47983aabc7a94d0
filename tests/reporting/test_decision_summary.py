"""A decision in Markdown, as MLflow and Prefect show it."""

from __future__ import annotations

from markdown_it import MarkdownIt

from headway.promotion.decision import PROMOTION, REFUSAL, RETIREMENT, new_decision
from headway.reporting.decision import summary
from tests.promotion.conftest import CHECK, SCORES, decision_content, ref, story

MARKDOWN = MarkdownIt().enable("table")


def test_the_difference_comes_first_and_every_check_is_a_row_with_a_mark() -> None:
    failed = {**CHECK, "name": "size", "passed": False, "explanation": "2,000 MB | required: at most 1,000"}
    record = new_decision(**decision_content(ref(3), ref(2), REFUSAL, checks=[CHECK, failed]), number=1, previous="")
    written = summary.render(record)
    assert written.startswith(
        "**Accuracy +1.67 points** against the linear baseline (interval +0.77 to +2.56), on 2,458 test rows."
    )
    shown = MARKDOWN.render(written)
    assert shown.count("<table>") == 2
    assert ">no worse than baseline</td>" in shown
    assert "2,000 MB | required: at most 1,000</td>" in shown
    assert summary.FAILED in shown
    assert "0.8991 to 0.9215" in shown


def test_a_decision_without_numbers_is_its_origin() -> None:
    record = story((PROMOTION, 1), (RETIREMENT, 1))[-1].model_copy(update={"checks": (), "scores": {}})
    written = summary.render(record)
    assert "|" not in written
    assert "Accuracy" not in written
    assert record.id[:12] in written


def test_a_metric_that_is_unknown_is_a_dash_and_labels_are_links() -> None:
    content = decision_content(ref(3), None, PROMOTION, scores={"candidate": {**SCORES, "accuracy": None}})
    written = summary.render(new_decision(**content, number=1, previous=""), {"model card": "#/runs/1"})
    assert "| candidate | — |" in written
    assert "[model card](#/runs/1)" in written
