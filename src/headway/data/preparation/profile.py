"""The data profile: rows read, kept and left out, and properties of the kept texts. Metrics and the data page use it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from pydantic import Field

from headway.data.identity import canonical_label
from headway.data.preparation.ingested import CorrectionCounts, Manifest, Record, SourceFile
from headway.data.preparation.label_map import LabelMap
from headway.data.preparation.look_alikes import look_alikes
from headway.data.preparation.scan import Scan
from headway.data.preparation.split_assignment import Assignment, leakage, split_at_random
from headway.data.preparation.times import iso_time
from headway.data.preparation.validation import BAD, CODE, OF_TIME, REASONS
from headway.data.text.splits import SPLITS, TEST, TRAIN, UNLABELLED
from headway.params import Params, SplitParams

BINS = 30


class ClassProfile(Record):
    """Kept rows of a class in each split."""

    label: str
    train: int
    validation: int
    test: int

    @property
    def rows(self) -> int:
        """Rows in all splits."""
        return self.train + self.validation + self.test


class LengthProfile(Record):
    """Lengths of the kept texts in characters: minimum, median, 95th percentile, maximum, and a histogram of geometric bins."""

    min: int
    median: int
    p95: int
    max: int
    edges: list[int]
    counts: list[int]


class DuplicateProfile(Record):
    """Duplicates that were left out; kept rows with a near-duplicate among the kept rows, and the groups they form."""

    exact: int
    near: int
    near_groups: int


class LeakageProfile(Record):
    """Share of test rows with a duplicate or near-duplicate in training: in a random split, and in the actual one."""

    random_split: float
    actual_split: float
    test_rows: int


class MappedLabel(Record):
    """A label of the data that ``data.label_map`` names, the class it becomes ("" if its rows are dropped), and its rows."""

    label: str
    becomes: str
    rows: int


class CorrectionProfile(Record):
    """What ``data.corrections`` changed."""

    files: list[str]  # lists of corrections
    texts: int  # texts for which a right label was filled in
    unmatched: int  # of these, texts without a row that has the label that the list gives, or the right one
    rows: int  # rows whose label was replaced
    rows_by_class: dict[str, int]  # these rows by their right class, the most frequent first
    new_classes: list[str]  # classes that no row had before


class TimeProfile(Record):
    """How ``split.time_column`` splits the rows; all times are in UTC, in ISO 8601."""

    column: str
    train_until: str  # the last day of training and validation rows in params.yaml, "" for none
    spans: dict[str, tuple[str, str]]  # times of the first and the last row of each split
    later_classes: dict[str, int]  # validation and test rows of each class without training rows, the most frequent first


class DataProfile(Record):
    """Counts and shares of the labelled rows, unless a field says otherwise."""

    source: str
    version: str
    files: list[SourceFile]  # in the order in which they were read
    ignored_data_files: list[str]  # files in the source's folder that no pattern selects although Headway could read them
    columns_that_differ: dict[str, list[str]]  # per file, columns that only it or only the first file has
    possibly_truncated: list[str]  # files that seem to end in the middle of a row
    label_spellings: dict[str, list[str]]  # several spellings of one label, which count as one class
    label_map: list[MappedLabel]  # the labels that data.label_map names, the most frequent first
    label_map_unused: dict[str, str]  # keys of data.label_map that no row has, each with the most similar label, or ""
    corrections: CorrectionProfile | None  # None if data.corrections is not set
    look_alikes: list[list[str]]  # groups of classes that differ in case, spaces or look-alike characters alone
    rows_in: int  # rows read
    rows_kept: int  # rows in a split
    rows_quarantined: dict[str, int]  # rows left out, by reason
    rows_not_sampled: int  # rows left out because of ``data.max_rows``
    bad_share: float  # share of rows that cannot be used
    max_bad_share: float  # limit of that share
    markup_noise: dict[str, int]  # usable texts that contain markup noise, by kind
    classes: list[ClassProfile]  # in the order of their ids
    rare_classes: list[str]  # classes without a validation or test row
    characters: LengthProfile  # lengths of the kept texts
    scripts: dict[str, float]  # share of usable texts, also unlabelled ones, by dominant script, most frequent first
    duplicates: DuplicateProfile
    leakage: LeakageProfile
    splits: dict[str, int]  # rows of each split
    unlabelled_rows: int  # unlabelled texts that were kept
    unlabelled_quarantined: dict[str, int]  # unlabelled texts that were left out, by reason; reasons without any are omitted
    time: TimeProfile | None = Field(default=None, exclude_if=lambda time: time is None)  # without split.time_column: no key

    def metrics(self) -> dict[str, object]:
        """The values that are worth comparing between commits, for ``dvc metrics diff``."""
        names = {"rows_in", "rows_kept", "rows_quarantined", "rows_not_sampled", "bad_share", "duplicates", "leakage"}
        names |= {"splits", "unlabelled_rows", "unlabelled_quarantined"}
        return self.model_dump(include=names) | {"classes": len(self.classes), "rare_classes": len(self.rare_classes)}


def profile(
    scan: Scan, assignment: Assignment, labels: Sequence[str], label_map: LabelMap, params: Params, manifest: Manifest
) -> DataProfile:
    """Describe the data; ``labels`` are the classes in the order of their ids."""
    rows, split = scan.rows, assignment.split
    kept = (split != -1) & rows.labelled
    left_out = _count_reasons(assignment.reason[rows.labelled])
    unlabelled_left_out = _count_reasons(assignment.reason[~rows.labelled])
    not_sampled = left_out.pop("not sampled")
    if scan.times is None:
        left_out = {reason: rows for reason, rows in left_out.items() if reason not in OF_TIME}
    classes = _classes(rows.label, split, scan.labels, labels)
    usable = max(1, sum(scan.scripts.values()))
    return DataProfile(
        source=manifest.source,
        version=manifest.version,
        files=manifest.files,
        ignored_data_files=manifest.ignored_data_files,
        columns_that_differ=manifest.columns_that_differ,
        possibly_truncated=[file.name for file in manifest.files if _may_be_truncated(file, manifest.label_counts)],
        label_spellings=_spellings(manifest.label_counts, labels),
        label_map=_mapped(label_map, manifest.label_counts),
        label_map_unused=label_map.unused(manifest.label_counts),
        corrections=_corrections(manifest, label_map),
        look_alikes=look_alikes(labels, named=label_map),
        rows_in=int(rows.labelled.sum()),
        rows_kept=int(kept.sum()),
        rows_quarantined=left_out,
        rows_not_sampled=not_sampled,
        bad_share=round(bad_share(assignment, rows.labelled), 6),
        max_bad_share=params.data.max_bad_share,
        markup_noise=dict(sorted(scan.markup_noise.items())),
        classes=classes,
        rare_classes=[entry.label for entry in classes if not entry.validation or not entry.test],
        characters=_characters(scan.characters[kept]),
        scripts={name: round(count / usable, 6) for name, count in scan.scripts.most_common()},
        duplicates=DuplicateProfile(
            exact=left_out["duplicate"], near=assignment.near_duplicates, near_groups=assignment.near_duplicate_groups
        ),
        leakage=LeakageProfile(
            random_split=round(leakage(rows, *split_at_random(rows, params.split)), 6),
            actual_split=round(leakage(rows, split == TRAIN, split == TEST), 6),
            test_rows=int((split == TEST).sum()),
        ),
        splits={name: int((split == code).sum()) for code, name in enumerate(SPLITS)},
        unlabelled_rows=int((split == UNLABELLED).sum()),
        unlabelled_quarantined={reason: count for reason, count in unlabelled_left_out.items() if count},
        time=None if scan.times is None else _time(scan, scan.times, assignment, params.split),
    )


def _time(scan: Scan, times: np.ndarray, assignment: Assignment, params: SplitParams) -> TimeProfile:
    of_split = {name: times[assignment.split == code] for code, name in enumerate(SPLITS)}
    untrained = ~np.isin(scan.rows.label, np.unique(scan.rows.label[assignment.split == TRAIN]))
    left_out = assignment.reason == CODE["class without training rows"]
    later = scan.rows.label[left_out | (untrained & (assignment.split == TEST))]
    rows = {scan.labels[code]: count for code, count in enumerate(np.bincount(later, minlength=len(scan.labels)).tolist())}
    return TimeProfile(
        column=params.time_column,
        train_until=params.train_until,
        spans={name: (iso_time(found.min()), iso_time(found.max())) for name, found in of_split.items()},
        later_classes={name: count for name, count in sorted(rows.items(), key=lambda item: (-item[1], item[0])) if count},
    )


def bad_share(assignment: Assignment, labelled: np.ndarray) -> float:
    """The share of labelled rows that cannot be used: unreadable, incomplete, too long, or with conflicting labels."""
    bad = np.isin(assignment.reason, [CODE[reason] for reason in BAD])
    return float(bad[labelled].mean()) if labelled.any() else 0.0


def _count_reasons(reasons: np.ndarray) -> dict[str, int]:
    counts = np.bincount(reasons, minlength=len(REASONS)).tolist()
    return dict(zip(REASONS[1:], counts[1:], strict=True))


def _classes(label: np.ndarray, split: np.ndarray, names: Sequence[str], order: Sequence[str]) -> list[ClassProfile]:
    rows = {
        name: np.bincount(label[(split == code) & (label >= 0)], minlength=len(names)) for code, name in enumerate(SPLITS)
    }
    index = {name: code for code, name in enumerate(names)}
    return [ClassProfile(label=name, **{part: int(counts[index[name]]) for part, counts in rows.items()}) for name in order]


def _may_be_truncated(file: SourceFile, label_counts: Mapping[str, int]) -> bool:
    """Whether a file's last line has no line end, and is unreadable or has a label that no other row has."""
    label = file.unterminated_label
    return label is not None and (not label or label_counts.get(label, 0) <= 1)


def _mapped(label_map: LabelMap, label_counts: Mapping[str, int]) -> list[MappedLabel]:
    used = label_map.used(label_counts)
    found = [MappedLabel(label=label, becomes=name, rows=rows) for label, (name, rows) in used.items()]
    return sorted(found, key=lambda entry: (-entry.rows, entry.label))


def _corrections(manifest: Manifest, label_map: LabelMap) -> CorrectionProfile | None:
    counts: CorrectionCounts | None = manifest.corrections
    if counts is None:
        return None
    corrected, all_rows = label_map.count(counts.rows_by_label), label_map.count(manifest.label_counts)
    former = label_map.count(counts.rows_by_former_label)
    return CorrectionProfile(
        files=counts.files,
        texts=counts.texts,
        unmatched=counts.unmatched,
        rows=counts.rows,
        rows_by_class=dict(corrected.most_common()),
        new_classes=[name for name, rows in corrected.items() if rows == all_rows[name] and not former[name]],
    )


def _spellings(label_counts: Mapping[str, int], labels: Sequence[str]) -> dict[str, list[str]]:
    """Spellings of the labels that have more than one, ignoring white space around them."""
    spellings: dict[str, set[str]] = {}
    for label in label_counts:
        spellings.setdefault(canonical_label(label), set()).add(label.strip())
    return {label: sorted(spellings[label]) for label in labels if len(spellings.get(label, ())) > 1}


def _characters(lengths: np.ndarray) -> LengthProfile:
    low, high = int(lengths.min()), int(lengths.max())
    edges = np.unique(np.round(np.geomspace(max(1, low), max(high, low + 1) + 1, BINS + 1))).astype(int)
    return LengthProfile(
        min=low,
        median=int(np.median(lengths)),
        p95=int(np.quantile(lengths, 0.95)),
        max=high,
        edges=edges.tolist(),
        counts=np.histogram(lengths, edges)[0].tolist(),
    )
