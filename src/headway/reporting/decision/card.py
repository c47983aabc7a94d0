"""The model card of a version, in Markdown and as a page (Mitchell et al. 2019, "Model cards for model reporting").

Every number comes from the version's decision record. A number that the record lacks is shown as "—".
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headway.errors import HeadwayError
from headway.foreign_text import markdown
from headway.model import schedule
from headway.params_sections import STATIC_FAMILY
from headway.phrases import listed
from headway.reporting import pages
from headway.reporting.formatting import ABSENT, Measured, interval, measured, shown
from headway.reporting.learning import NAMES, findings

if TYPE_CHECKING:
    from headway.promotion.decision import Decision

TEMPLATE, PAGE = Path(__file__).with_name("card.md"), Path(__file__).with_name("card.html")
MOST_LABELS = 20
#: The linear baseline's name among the scores of a decision.
BASELINE = "linear baseline"
COSTS = ("latency", "size")
#: A class with fewer test rows is named as a limit of the model.
FEW_ROWS = 30
CHANGED = "+changes"
#: What a linear layer is on, by the way of pooling: of the encoder's layers, or of a static encoder's vectors.
POOLED = {
    "layers": "means of all its layers",
    "mean": "mean of its {}",
    "first": "first sub-word of its {}",
    "max": "largest values of its {}",
}
#: How an encoder was trained, by ``pretrained.mode``.
MODES = {"frozen": "frozen", "fine_tune": "fine-tuned", "lora": "fine-tuned by low-rank adapters"}
CALIBRATION = ("NLL", "Brier score", "calibration error")


def artifact(record: Decision) -> str:
    """The path of a version's card among the artifacts of its run."""
    return f"cards/version-{record.candidate.version}.md"


def judged(records: Sequence[Decision], version: str) -> Decision:
    """The last record with checks of a version.

    Raises:
        HeadwayError: there is no such record.
    """
    found = [record for record in records if record.candidate.version == version and record.checks]
    if not found:
        raise HeadwayError(
            f"version {version} has no decision with numbers; `headway history` lists all decisions, `make run` makes one"
        )
    return found[-1]


def render(record: Decision, name: str) -> str:
    """The card of a version of the named model, from the gate's decision on it."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
    environment.filters |= {
        "shown": shown,
        "interval": interval,
        "count": "{:,}".format,
        "cell": markdown,
        "between": _between,
    }
    scores = record.candidate_scores
    commit = record.lineage.get("headway.git_commit", "")
    encoder = record.training.get("encoder", {})
    slices = _slices(scores)
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        record=record,
        name=name,
        absent=ABSENT,
        kind=_kind(record.training),
        parts={name: record.training[part] for part, name in NAMES.items() if part in record.training},
        intended_use=_paragraphs(record.params.get("registry", {}).get("intended_use", "")),
        data=record.data,
        labels=_labels(record.data),
        schedule=schedule.describe(record.training["schedule"]) if record.training.get("schedule") else "",
        encoder=encoder,
        pooling=POOLED.get(encoder.get("pooling", ""), "").format(
            "vectors" if encoder.get("family") == STATIC_FAMILY else "last layer"
        ),
        mode=MODES.get(encoder.get("mode", ""), ""),
        bigrams=record.training.get("attention", {}).get("bigram_buckets"),
        metrics=measured(scores),
        baseline=_of_baseline(record),
        classes=scores.get("classes", {}),
        slices=slices,
        has_label_slices=len(slices) < len(scores.get("slices", {})),
        calibration=[one for one in measured(scores) if one.name in CALIBRATION],
        most_labels=MOST_LABELS,
        costs=[check for check in record.checks if check.name in COSTS],
        limits=_limits(record, scores),
        commit=commit.removesuffix(CHANGED),
        changed=commit.endswith(CHANGED),
    )


def page(record: Decision, name: str, links: Mapping[str, str] | None = None) -> str:
    """The card as a page of HTML. It loads nothing from outside itself.

    Args:
        links: addresses of other pages by title, if they are in the same folder.
    """
    from markdown_it import MarkdownIt
    from markupsafe import Markup

    # HTML is off, so the card's own escapes are the only ones needed.
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    parser.add_render_rule("table_open", _open_table)
    parser.add_render_rule("table_close", lambda *_: "</table></div>")
    html = parser.render(render(record, name))
    version = record.candidate.version
    return pages.render(PAGE, name=name, version=version, links=links or {}, card=Markup(html)).html


def _open_table(_: Any, tokens: Sequence[Any], index: int, *_more: Any) -> str:
    """A table in a box that scrolls, named after the heading above it."""
    from markupsafe import escape

    headings = [after.content for token, after in pairwise(tokens[:index]) if token.type == "heading_open"]
    table = sum(token.type == "table_open" for token in tokens[:index]) + 1
    name = escape(f"{headings[-1]}, table {table}")
    return f'<div class="scroll" role="region" tabindex="0" aria-label="{name}"><table>'


def _kind(training: Mapping[str, Any]) -> str:
    """What the model is, in a sentence, as far as its training report says."""
    if "attention" not in training:
        return "A text classifier made by Headway."
    part = "a self-attention classifier"
    if encoder := training.get("encoder"):
        is_static = encoder.get("family") == STATIC_FAMILY
        part = f"a linear classifier on pretrained {'word vectors' if is_static else 'self-attention layers'}"
    if "ngrams" in training:
        return f"A text classifier made by Headway: {part}, combined with a linear n-gram model by a weighted sum of logits."
    return f"A text classifier made by Headway: {part}, without a linear n-gram model."


def _of_baseline(record: Decision) -> dict[str, Measured]:
    """The linear baseline's value of each of the candidate's metrics; empty if the record has none of its scores."""
    found = {one.name: one for one in measured(record.scores.get(BASELINE, {}))}
    names = [one.name for one in measured(record.candidate_scores)]
    return {name: found.get(name, Measured(name, None, None, None)) for name in names} if found else {}


def _slices(scores: Mapping[str, Any]) -> dict[str, Any]:
    """The slices, without those of one label: their accuracy is the recall in the table of labels, with another interval."""
    of_labels = {f"label: {name}" for name in scores.get("classes", {})}
    return {name: one for name, one in scores.get("slices", {}).items() if name not in of_labels}


def _paragraphs(text: str) -> str:
    """A text of several paragraphs, without markup of its own."""
    return "\n\n".join(markdown(paragraph) for paragraph in re.split(r"\n\s*\n", text) if paragraph.strip())


def _between(scores: Mapping[str, Any], metric: str) -> str:
    """The interval of a metric."""
    return interval(scores.get(f"{metric}_low"), scores.get(f"{metric}_high"))


def _labels(data: Mapping[str, Any]) -> str:
    """Labels with their numbers of rows, the most frequent first."""
    counts = sorted(data.get("label_counts", {}).items(), key=lambda item: (-item[1], item[0]))
    return listed([f"{markdown(label)} {rows:,}" for label, rows in counts], MOST_LABELS)


def _limits(record: Decision, scores: Mapping[str, Any]) -> list[str]:
    """The limits of the model that the record shows."""
    limits = []
    if record.test_rows is not None:
        limits.append(
            f"The model was tested on {record.test_rows.rows:,} texts from the same source as the training texts, and not on "
            "other sources, languages or periods."
        )
    few = [name for name, one in scores.get("classes", {}).items() if one.get("rows", 0) < FEW_ROWS]
    if few:
        named = listed([markdown(name) for name in few], MOST_LABELS)
        limits.append(f"Fewer than {FEW_ROWS} test texts have the label {named}: their metrics are uncertain.")
    limits += [f"{one.line}." for one in findings(record.training)]
    limits += [f"The gate's check {check.name} failed: {markdown(check.explanation)}." for check in record.failed]
    return limits
