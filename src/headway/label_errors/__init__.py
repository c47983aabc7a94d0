"""Likely label errors: rows whose label is contradicted by linear models that were fitted without these rows.

The method is confident learning (Northcutt, Jiang & Chuang 2021, "Confident Learning: Estimating Uncertainty in Dataset
Labels"): a row counts as contradicted if another class is more probable than its label, and at least as probable as that class
is, on average, for the rows that are labelled with it.
"""

from __future__ import annotations

import csv
import io
import os
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import astuple, dataclass, fields

import numpy as np
import pyarrow as pa
from sklearn.model_selection import StratifiedKFold

from headway.data.corrections import RIGHT_LABEL, Corrections, label_key, text_key
from headway.data.corrections import read as read_corrections
from headway.data.identity import canonical_label
from headway.data.preparation.ingested import Manifest, batches
from headway.data.preparation.label_map import LabelMap
from headway.data.text.excerpts import excerpt
from headway.data.text.splits import SPLITS
from headway.data.text.spreadsheets import spreadsheet_cell
from headway.errors import HeadwayError
from headway.evaluation import baseline as linear
from headway.files import read_json
from headway.layout import Layout
from headway.params import BaselineParams, Params
from headway.tables import read_table

FOLDS = 5
#: Characters of a text in a list; a spreadsheet's cell holds 32,767.
MAX_CHARACTERS = 30_000


@dataclass(frozen=True)
class LabelError:
    """A row whose label is contradicted.

    Attributes:
        id: of the text with its label, by which ``data.corrections`` finds the row.
        split: the row's split.
        label: its label, as the data have it.
        suggested_label: the label that the models contradict it with.
        probability: of the suggested label.
        text: the row's text.
    """

    id: str
    split: str
    label: str
    suggested_label: str
    probability: float
    text: str


@dataclass(frozen=True)
class LabelErrors:
    """The rows that are contradicted, and how many were checked.

    Attributes:
        errors: the surest first.
        checked: rows that could be contradicted.
        unchecked: rows that could not, because their class has no other row.
        reviewed: contradicted rows that are not listed, because ``data.corrections`` already has their right label.
    """

    errors: list[LabelError]
    checked: int
    unchecked: int
    reviewed: int


def find(params: Params, layout: Layout, report_progress: Callable[[str], None] = lambda _: None) -> LabelErrors:
    """Check the labels of all splits in ``data/prepared``.

    Raises:
        HeadwayError: the stage ``prepare`` has not run, or not since the rows or ``data.label_map`` changed, fewer than two
            classes have two rows, or a list of corrections cannot be used.
    """
    classes = read_json(layout.prepared / "labels.json", made_by="prepare")
    columns = ["text", "label_id"]
    tables = [read_table(layout.prepared / f"{split}.parquet", made_by="prepare", columns=columns) for split in SPLITS]
    table = pa.concat_tables(tables)
    known = np.flatnonzero(table["label_id"].to_numpy() >= 0)  # others are of a class that no training row has
    table = table.take(pa.array(known))
    split_of = np.repeat(SPLITS, [part.num_rows for part in tables])[known]
    texts, labels = table["text"].to_pylist(), table["label_id"].to_numpy()
    corrections = read_corrections(layout.corrections, params.data.corrections)
    label_map = LabelMap(params.data.label_map)
    _require_current(layout, classes, label_map)

    rows = np.flatnonzero(np.bincount(labels, minlength=len(classes))[labels] > 1)
    present, given = np.unique(labels[rows], return_inverse=True)
    if len(present) < 2:
        raise HeadwayError(
            f"{layout.prepared}: fewer than two classes have two rows or more, so no label can be checked; add rows"
        )
    probabilities = out_of_fold([texts[row] for row in rows], given, params.baseline, params.seed, report_progress)

    found, reviewed = [], 0
    for index in contradicted(given, probabilities):
        row, label = rows[index], classes[present[given[index]]]
        if _is_reviewed(texts[row], label, corrections, label_map):
            reviewed += 1
            continue
        others = np.where(np.arange(len(present)) == given[index], -1, probabilities[index])
        best = int(others.argmax())
        found.append((texts[row], str(split_of[row]), label, classes[present[best]], round(float(others[best]), 4)))
    spelling = _Spelling(layout, label_map, {text for text, *_ in found})
    errors = [
        LabelError(f"{text_key(text)}-{label_key(written)}", split, written, spelling.of_class(suggested), probability, text)
        for text, split, label, suggested, probability in found
        for written in spelling.of_row(text, label)
    ]
    return LabelErrors(errors, len(rows), len(labels) - len(rows), reviewed)


def out_of_fold(
    texts: Sequence[str],
    labels: np.ndarray,
    params: BaselineParams,
    seed: int,
    report_progress: Callable[[str], None] = lambda _: None,
) -> np.ndarray:
    """Class probabilities of each text by a linear baseline that was fitted without it, float64, (texts, classes).

    Args:
        labels: class of each text, from 0; every class has two texts or more.
        seed: of the folds.
    """
    n_folds = min(FOLDS, int(np.bincount(labels).max()))
    folds = StratifiedKFold(n_folds, shuffle=True, random_state=seed)
    probabilities = np.zeros((len(texts), int(labels.max()) + 1))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class")  # it has rows in two folds or more, which is enough
        parts = list(folds.split(labels, labels))
    for number, (fitted_on, scored) in enumerate(parts, 1):
        report_progress(f"fitting the linear baseline {number} of {n_folds}, on {len(fitted_on):,} rows")
        fitted = linear.fit([texts[row] for row in fitted_on], labels[fitted_on].tolist(), params)
        probabilities[scored] = linear.predict_proba(fitted, [texts[row] for row in scored], probabilities.shape[1])
    return probabilities


def contradicted(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Indices of the rows whose label is likely wrong, the surest first: by the probability of the label, less the best other.

    Args:
        labels: class of each row, (rows,).
        probabilities: of each class, from a model that was fitted without the row, (rows, classes).
    """
    from cleanlab.filter import find_label_issues

    found: np.ndarray = find_label_issues(
        labels,
        probabilities,
        filter_by="confident_learning",
        return_indices_ranked_by="normalized_margin",
        n_jobs=1,
    )
    return found


def as_csv(errors: Iterable[LabelError]) -> str:
    """The list as CSV with an empty column for the right label. It begins with a byte order mark, without which Excel takes UTF-8
    for another encoding. A cell that a spreadsheet would calculate begins with an apostrophe."""
    out = io.StringIO("\ufeff", newline="")
    out.seek(0, io.SEEK_END)
    writer = csv.writer(out)
    names = [field.name for field in fields(LabelError)]
    at = names.index("text")  # the last column, because it may be long
    writer.writerow([*names[:at], RIGHT_LABEL, *names[at:]])
    for error in errors:
        cells = [spreadsheet_cell(cell) if isinstance(cell, str) else cell for cell in astuple(error)]
        writer.writerow([*cells[:at], "", excerpt(cells[at], MAX_CHARACTERS)])
    return out.getvalue()


def _require_current(layout: Layout, classes: Sequence[str], label_map: LabelMap) -> None:
    """HeadwayError if ``data/prepared`` was not made from the labels in ``data/raw`` with this map."""
    labels = Manifest.read(layout.raw).label_counts
    unknown = sorted(set(classes) - {label_map(label) for label in labels})
    mapped = {entry["label"]: entry["becomes"] for entry in read_json(layout.profile, made_by="prepare")["label_map"]}
    if unknown or mapped != {label: name for label, (name, _) in label_map.used(labels).items()}:
        named = f", as its class {unknown[0]!r} shows" if unknown else ""
        raise HeadwayError(
            f"{os.path.relpath(layout.prepared)}: made from other labels or with another data.label_map{named}; "
            "run `dvc repro prepare`"
        )


def _is_reviewed(text: str, label: str, corrections: Corrections, label_map: LabelMap) -> bool:
    """Whether a person has already said that the label of a row is right; the label is a class."""
    right = corrections.right_labels.get(text_key(text)) if corrections.right_labels else None
    return right is not None and label_map(right) == label


class _Spelling:
    """Classes as labels of the data, which ``data.label_map`` has not changed: corrections are applied before it."""

    def __init__(self, layout: Layout, label_map: LabelMap, texts: set[str]) -> None:
        self._map = label_map
        self._labels: dict[str, list[str]] = {}  # by text
        self._counts: dict[str, int] = {}
        if label_map:
            self._counts = Manifest.read(layout.raw).label_counts
            wanted = set(map(text_key, texts))
            for _, batch in batches(layout.raw):
                if "label" in batch.schema.names:
                    for text, label in zip(batch["text"].to_pylist(), batch["label"].to_pylist(), strict=True):
                        if label and (key := text_key(text or "")) in wanted:
                            self._labels.setdefault(key, []).append(canonical_label(label))

    def of_row(self, text: str, label: str) -> list[str]:
        """The labels of the rows with a text that became this class: several, if duplicates are labelled in several ways."""
        if not self._map:
            return [label]
        return list(dict.fromkeys(name for name in self._labels.get(text_key(text), []) if self._map(name) == label))

    def of_class(self, name: str) -> str:
        """A label that becomes the class: its name, or the most frequent one."""
        if self._map(name) == name:
            return name
        return max((label for label in self._counts if self._map(label) == name), key=lambda label: self._counts[label])
