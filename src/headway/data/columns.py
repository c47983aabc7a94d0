"""Which columns of an unknown file are the text and the label: a proposal from their names and a sample of their values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from headway.data.column_names import is_flag_name, label_weight
from headway.data.column_values import ColumnValues, is_date
from headway.data.learnability import skills
from headway.data.sampling import Sample
from headway.data.sources.files import is_test_name
from headway.data.text_columns import ranked, text_scores
from headway.errors import HeadwayError
from headway.params import nearest
from headway.phrases import listed

MOST_CLASSES = 1_000
LONGEST_LABEL = 200  # characters
CLOSE = 0.88  # ratio of the second best score to the best from which a choice is unclear
POSSIBLE_TEXT = 0.1  # ratio of a text's score to the best from which it is shown
EXAMINED = 8  # columns whose predictability from the text is measured
MANY_NUMBERS = 12  # different numbers from which a column is rather a quantity
FLAGS_OF_ONE_LABEL = 4  # columns of 0 and 1 that are rather the classes of one multi-label task


@dataclass(frozen=True)
class Proposal:
    """The columns, and the next best ones."""

    text: str
    label: str
    other_texts: tuple[str, ...] = ()  # columns that might be the text, the most likely first
    others: tuple[str, ...] = ()  # columns that might be the label, the most likely first
    split: str = ""  # a column that marks the rows of the test split, "" if there is none
    unclear: str = ""  # why a person should choose the label; "" if the choice is clear
    quantity: int = 0  # number of different values of a label that looks like a quantity, else 0


def propose(sample: Sample, where: str, text: str | None = None, label: str | None = None) -> Proposal:
    """Choose the columns that ``text`` and ``label`` do not name.

    The text has words, most of its values differ, and a usual name speaks for it. The label has few values that repeat and few
    gaps; a usual name speaks for it, and so does a text from which a linear model predicts it. HeadwayError if no column fits,
    or a named one does not exist.
    """
    if text is not None and text == label:
        raise HeadwayError(f"--text and --label both name the column {text}; expected two different columns")
    for option, name in (("--text", text), ("--label", label)):
        if name is not None and name not in sample:
            raise HeadwayError(f"{option}: {where} has no column {name!r}; {nearest(name, list(sample))}")
    if len(sample) < 2:
        raise HeadwayError(f"{where}: has one column ({', '.join(sample)}); expected one of texts and one of labels")
    columns = {name: ColumnValues(values) for name, values in sample.items() if name}
    hint = ""
    if "" in sample:
        hint = f"; column {list(sample).index('') + 1} has no name: give it one in the file's first line"
    texts = ranked(text_scores(columns, label))
    if text is None:
        if not texts:
            raise HeadwayError(f"{where}: no column looks like texts; name it with --text ({', '.join(columns)}){hint}")
        text = next(iter(texts))
    candidates = {name: column for name, column in columns.items() if name != text}
    labels = ranked(_label_scores(candidates, columns[text].values))
    if not labels and label is None:
        raise HeadwayError(f"{where}: {_no_label(candidates)}{hint}")
    chosen = label if label is not None else next(iter(labels))
    split = next((name for name in columns if name not in (text, chosen) and _marks_test(columns[name])), "")
    return Proposal(
        text=text,
        label=chosen,
        other_texts=tuple(
            name
            for name in texts
            if name not in (text, chosen, *labels) and texts[name] > POSSIBLE_TEXT * max(texts.values())
        ),
        others=tuple(name for name in labels if name != chosen),
        split=split,
        unclear="" if label is not None else _unclear(columns, labels),
        quantity=columns[chosen].distinct if _is_quantity(columns[chosen]) else 0,
    )


def _label_scores(candidates: Mapping[str, ColumnValues], texts: Sequence[str]) -> dict[str, float]:
    """A score for each column as the label."""
    prior = {name: _label_score(name, column) for name, column in candidates.items()}
    flags = _flags(candidates, prior)
    for name in prior:
        if name not in flags and candidates[name].is_yes_or_no and label_weight(name) == 1:
            prior[name] *= 0.6
    likely = list(ranked(prior))[:EXAMINED]
    skill = skills(texts, {name: candidates[name].values for name in likely})
    return {name: score * (1 + 0.5 * skill.get(name, 0.0)) for name, score in prior.items()}


def _label_score(name: str, column: ColumnValues) -> float:
    """More for values that repeat, for few gaps and for a usual name; 0 if the values cannot be labels."""
    weight, present = label_weight(name), len(column.present)
    most_distinct = (0.8 if weight >= 2 else 0.5) * present
    if not 2 <= column.distinct <= min(MOST_CLASSES, most_distinct) or max(map(len, column.counts)) > LONGEST_LABEL:
        return 0.0
    if column.lists > 0.05 or sum(map(is_date, column.some)) > 0.5 * len(column.some):
        return 0.0
    score = weight * column.fill**2 * (1 - column.distinct / present)
    if column.names_splits:
        score *= 0.05
    if _is_quantity(column):
        score *= 0.6 if weight >= 3 else 0.1
    if is_flag_name(name):
        score *= 0.7
    if column.words > 12:
        score *= 0.4
    return score


def _is_quantity(column: ColumnValues) -> bool:
    """Whether the values are many numbers, or fractions."""
    return column.is_numeric and column.distinct > (5 if column.has_fractions else MANY_NUMBERS)


def _marks_test(column: ColumnValues) -> bool:
    return column.names_splits and any(map(is_test_name, column.counts))


def _flags(candidates: Mapping[str, ColumnValues], scores: Mapping[str, float]) -> set[str]:
    """Columns of 0 and 1 that together look like one label per column; empty if there are few."""
    found = {name for name in candidates if scores[name] and candidates[name].is_bit and not is_flag_name(name)}
    return found if len(found) >= FLAGS_OF_ONE_LABEL else set()


def _unclear(columns: Mapping[str, ColumnValues], scores: Mapping[str, float]) -> str:
    """Why the best label is not clearly the best; "" if it is. A column with the same classes under other names is no rival."""
    best = next(iter(scores))
    rivals = [
        name
        for name in scores
        if name != best and scores[name] > CLOSE * scores[best] and not _is_same(columns[best].values, columns[name].values)
    ]
    if not rivals:
        return ""
    flags = _flags(columns, {name: scores.get(name, 0.0) for name in columns})
    if best in flags and flags.intersection(rivals):
        return (
            f"{len(flags)} columns of 0 and 1 ({listed(sorted(flags), 3)}) look like several labels per row, which are not "
            "supported; choose one of them with --label"
        )
    return f"{best} and {listed(rivals, 2)} are about as likely to be the label; choose with --label"


def _is_same(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether two columns name the same classes: their values map one to one, a few rows aside."""
    pairs = Counter(zip(one, other, strict=True))
    common = {pair for pair, count in pairs.items() if count > 0.005 * len(one)}
    return len(common) == len({a for a, _ in common}) == len({b for _, b in common}) > 1


def _no_label(candidates: Mapping[str, ColumnValues]) -> str:
    """Why no column can be the label."""
    lists = [name for name, column in candidates.items() if column.lists > 0.05]
    if lists:
        return (
            f"column {lists[0]} holds lists of labels; several labels per row (multi-label) are not supported: keep one label "
            "per row, or name another column with --label"
        )
    return (
        f"no column looks like labels (2 to {MOST_CLASSES:,} different values, repeated); "
        f"name it with --label ({', '.join(candidates)})"
    )


def examples(sample: Sample, column: str, most: int = 3) -> list[str]:
    """A few values of a column: the most frequent ones."""
    return [value for value, _ in ColumnValues(sample[column]).counts.most_common(most)]
