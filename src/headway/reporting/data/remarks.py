"""Notices about a data profile: what is unusual in it, and what to do about it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from headway.phrases import and_more, counted
from headway.reporting.data.charts import SPLIT_NAMES, by_size, rows_of_class
from headway.reporting.formatting import clip, share, visible

#: Thresholds of the notices.
IMBALANCE = 10  # ratio of the largest class to the smallest
REPEATS = 0.05  # share of the rows
SECOND_SCRIPT = 0.01  # share of the rows
NEAR_LIMIT = 0.5  # share of data.max_bad_share
LEAKAGE = 0.001  # share of the test rows

NOISE = {
    "html": "HTML tags or entities",
    "control_characters": "control characters",
    "mojibake": "wrongly decoded characters (mojibake)",
}
STRIPPED = Markup(
    " HTML tags and entities are removed before the model reads a text, unless <code>tokenizer.strip_html</code> is false."
)
NAMED = 8
#: The name among the scripts for texts without letters.
LETTERLESS = "no letters"


@dataclass(frozen=True)
class Remark:
    """A notice: its topic, its words (escaped HTML), and whether it is a warning, which may call for action."""

    key: str
    words: Markup
    warning: bool = False


def remarks(profile: Mapping[str, Any]) -> list[Remark]:
    """The notices about a profile, warnings first."""
    found = [*_of_files(profile), *_of_time(profile), *_of_classes(profile), *_of_texts(profile)]
    return sorted(found, key=lambda remark: not remark.warning)


def rows_lost(profile: Mapping[str, Any]) -> int:
    """Rows that were read but are not accounted for. Anything but 0 is a bug."""
    accounted: int = profile["rows_kept"] + sum(profile["rows_quarantined"].values()) + profile["rows_not_sampled"]
    return int(profile["rows_in"]) - accounted


def rows_unsplit(profile: Mapping[str, Any]) -> int:
    """Rows that were kept but are in no split. Anything but 0 is a bug."""
    return int(profile["rows_kept"] - sum(profile["splits"].values()))


def _of_files(profile: Mapping[str, Any]) -> Iterator[Remark]:
    for rows, name in ((rows_lost(profile), "rows read"), (rows_unsplit(profile), "rows kept")):
        if rows:
            yield Remark(
                "sums",
                Markup("The {} do not add up: {:+,} are unaccounted for.").format(name, rows),
                warning=True,
            )
    if left := profile["ignored_data_files"]:
        words = Markup(
            "{} in the folder not read: {}. <code>data.files</code> selects files; <code>**/*</code> selects all."
        )
        count = "One data file is" if len(left) == 1 else f"{len(left):,} data files are"
        yield Remark("files_left", words.format(count, _some(left)), warning=True)
    if cut := profile["possibly_truncated"]:
        words = Markup("Possibly truncated: {}. The last line has no line break, and its label occurs in no other row.")
        yield Remark("cut_files", words.format(_some(cut)), warning=True)
    bad, limit = profile["bad_share"], profile["max_bad_share"]
    if bad > NEAR_LIMIT * limit:
        words = Markup("{} of the rows are unusable. The pipeline stops above {} (<code>data.max_bad_share</code>).")
        yield Remark("bad_rows", words.format(share(bad), f"{100 * limit:g}%"), warning=True)
    if guessed := {file["encoding"]: file["name"] for file in reversed(profile["files"]) if file["encoding_guessed"]}:
        words = Markup(
            "The encoding was guessed: {}. Check some texts. If they look wrong, set "
            "<code>data.encoding</code>, or save the file as UTF-8."
        )
        found = Markup("; ").join(
            Markup("{} for {}").format(visible(name), _named([file])) for name, file in guessed.items()
        )
        yield Remark("encodings", words.format(found), warning=True)
    if differ := profile["columns_that_differ"]:
        words = Markup("Some files have other columns than the first file: {}.")
        files = [Markup("{} ({})").format(_named([file]), _named(names[:NAMED])) for file, names in differ.items()]
        yield Remark("columns", words.format(Markup("; ").join(files[:NAMED]) + _more(files)), warning=True)


def _of_time(profile: Mapping[str, Any]) -> Iterator[Remark]:
    time = profile.get("time")
    if not time:
        return
    if time["train_until"]:
        words = Markup(
            "Training and validation end on {} (<code>split.train_until</code>): this is a model of the past, for comparison."
        )
        yield Remark("train_until", words.format(time["train_until"]), warning=True)
    if later := time["later_classes"]:
        words = Markup(
            "No training row, up to {}, has {}: {}. Test rows of such a class count as mistakes, because no model can know a "
            "class before it appears; its validation rows are left out."
        )
        rows = [Markup("{} ({:,})").format(_named([name]), count) for name, count in later.items()]
        classes = "this class" if len(later) == 1 else "these classes"
        named = Markup(", ").join(rows[:NAMED]) + _more(rows)
        yield Remark("later_classes", words.format(time["spans"]["train"][1], classes, named), warning=True)
    words = Markup("The rows are split by time (<code>split.time_column: {}</code>), in UTC: {}.")
    spans = ", ".join(f"{SPLIT_NAMES[name]} {first} to {last}" for name, (first, last) in time["spans"].items())
    yield Remark("time", words.format(visible(time["column"]), spans))


def _of_classes(profile: Mapping[str, Any]) -> Iterator[Remark]:
    if alike := profile["look_alikes"]:
        named = Markup("; ").join(_named(group) for group in alike[:NAMED]) + _more(alike)
        words = Markup(
            "Some labels differ only in case, spaces, Unicode form or look-alike characters, and are separate classes: {}. "
            "<code>data.label_map</code> merges them: <code>{{{}}}</code>; to keep them apart, map each to itself."
        )
        yield Remark("look_alikes", words.format(named, _example(profile)), warning=True)
    if unused := profile["label_map_unused"]:
        words = Markup("No row has these labels that <code>data.label_map</code> names: {}.")
        found = [
            Markup("{} (did you mean {}?)").format(_named([key]), _named([similar])) if similar else _named([key])
            for key, similar in unused.items()
        ]
        yield Remark("label_map_unused", words.format(Markup(", ").join(found[:NAMED]) + _more(found)), warning=True)
    if new := (profile.get("corrections") or {}).get("new_classes"):
        words = Markup("<code>data.corrections</code> adds {} that no row had before: {}.")
        yield Remark("new_classes", words.format("a class" if len(new) == 1 else "classes", _some(new)), warning=True)
    classes = by_size(profile)
    largest, smallest = rows_of_class(classes[0]), rows_of_class(classes[-1])
    if largest >= IMBALANCE * smallest:
        words = Markup(
            "The class sizes are very unequal: {} has {:,} rows ({} of all), {} has {:,}. Accuracy says little about small "
            "classes; use macro F1, and consider <code>training.class_weights: balanced</code>."
        )
        names = _named([classes[0]["label"]]), _named([classes[-1]["label"]])
        of_all = share(largest / max(sum(map(rows_of_class, classes)), 1))
        yield Remark("imbalance", words.format(names[0], largest, of_all, names[1], smallest), warning=True)
    if rare := profile["rare_classes"]:
        words = Markup("{} too few rows to have one in both validation and test: {}.")
        count = "One class has" if len(rare) == 1 else f"{len(rare):,} classes have"
        yield Remark("rare_classes", words.format(count, _some(rare)), warning=True)


def _of_texts(profile: Mapping[str, Any]) -> Iterator[Remark]:
    before, after, rows = (profile["leakage"][key] for key in ("random_split", "actual_split", "test_rows"))
    if after > LEAKAGE:
        words = Markup("{} of the {:,} test rows have a near-duplicate in training, so test scores will be too high.")
        yield Remark("leakage", words.format(share(after), rows), warning=True)
    elif before > LEAKAGE:
        words = Markup(
            "In a random split, {} of the test rows would have a near-duplicate in training. Here {}: of the {:,} test rows, "
            "{} have one in training."
        )
        here = "the earlier one of two near-duplicates in different splits is left out"
        here = here if profile.get("time") else "near-duplicates stay together"
        yield Remark("leakage", words.format(share(before), here, rows, share(after)))
    if mapped := profile["label_map"]:
        words = Markup("Labels renamed, merged or dropped by <code>data.label_map</code>: {}.")
        found = [
            Markup("{} ({:,}) {}").format(
                _named([entry["label"]]),
                entry["rows"],
                Markup("→ {}").format(_named([entry["becomes"]])) if entry["becomes"] else "dropped",
            )
            for entry in mapped
        ]
        yield Remark("label_map", words.format(Markup(", ").join(found[:NAMED]) + _more(found)))
    if corrections := profile.get("corrections"):
        found = [
            Markup("{} → {}").format(f"{rows:,}", _named([name])) for name, rows in corrections["rows_by_class"].items()
        ]
        became = Markup(" ({}{})").format(Markup(", ").join(found[:NAMED]), _more(found)) if found else ""
        words = Markup("Labels corrected by <code>data.corrections</code>: {}{}.")
        yield Remark("corrections", words.format(counted(corrections["rows"], "row"), became))
        if missing := corrections["unmatched"]:
            words = Markup("{} of {} in <code>data.corrections</code> {} no row: the text or its label has changed since.")
            of_all = counted(corrections["texts"], "correction")
            yield Remark(
                "unmatched", words.format(f"{missing:,}", of_all, "matches" if missing == 1 else "match"), warning=True
            )
    if spellings := profile["label_spellings"]:
        words = Markup("Some labels are spelled in several ways that count as one class: {}.")
        described = [
            Markup("{} ({})").format(_named([label]), _named(list(map(_spelt, ways)))) for label, ways in spellings.items()
        ]
        yield Remark("spellings", words.format(Markup("; ").join(described[:NAMED]) + _more(described)))
    exact, near, groups = (profile["duplicates"][key] for key in ("exact", "near", "near_groups"))
    if exact + near >= REPEATS * max(profile["rows_in"], 1):
        words = Markup(
            "There are many duplicates: {:,} exact duplicates, which are quarantined, and {:,} near-duplicates in {:,} groups."
        )
        yield Remark("repeats", words.format(exact, near, groups))
    if noise := [(key, rows) for key, rows in _largest_first(profile["markup_noise"]) if rows]:
        kept = max(profile["rows_kept"], 1)
        parts = [
            f"{NOISE.get(key, visible(key).replace('_', ' '))} in {rows:,} ({share(rows / kept)})" for key, rows in noise
        ]
        words = Markup("Markup noise in rows that are kept: {}.").format("; ".join(parts))
        yield Remark("markup_noise", words + (STRIPPED if profile["markup_noise"].get("html") else ""))
    scripts = _largest_first(profile["scripts"])
    mixed = [f"{visible(name)} {share(value)}" for name, value in scripts if value >= SECOND_SCRIPT and name != LETTERLESS]
    if len(mixed) > 1:
        yield Remark("scripts", Markup("The texts are in more than one script: {}.").format(", ".join(mixed)))
    if left := profile["rows_not_sampled"]:
        words = Markup("This is a sample: {:,} usable rows are left out (<code>data.max_rows</code>).")
        yield Remark("sampling", words.format(left))
    if gone := _largest_first(profile["unlabelled_quarantined"]):
        words = Markup("Of {:,} unlabelled rows, {:,} are kept. The others are quarantined: {}.")
        kept, reasons = profile["unlabelled_rows"], ", ".join(f"{reason} {rows:,}" for reason, rows in gone)
        yield Remark("unlabelled", words.format(kept + sum(rows for _, rows in gone), kept, reasons))


def _largest_first(counts: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _example(profile: Mapping[str, Any]) -> str:
    """The entry of a label map that merges two look-alike classes into the larger one."""
    rows = {entry["label"]: rows_of_class(entry) for entry in profile["classes"]}
    less, most = sorted(profile["look_alikes"][0], key=lambda label: (rows.get(label, 0), label))[-2:]
    return f"{_quoted(less)}: {_quoted(most)}"


def _quoted(label: str) -> str:
    """A label in quotes for YAML. White space that a page or a terminal would show as one space is escaped."""
    return re.sub(r"(?<=\s)\s|[^\S ]", lambda found: f"\\u{ord(found[0]):04x}", json.dumps(label, ensure_ascii=False))


def _spelt(label: str) -> str:
    """A label with its invisible characters as Unicode escapes."""
    return "".join(sign if sign.isprintable() else f"\\u{ord(sign):04x}" for sign in label)


def _named(labels: Sequence[str]) -> Markup:
    """A list of labels as HTML. Each has its own text direction, and its spaces are visible."""
    return Markup(", ").join(Markup('<bdi class="label">{}</bdi>').format(clip(label)) for label in labels)


def _some(labels: Sequence[str]) -> Markup:
    """The first labels, and the number of others."""
    return _named(labels[:NAMED]) + _more(labels)


def _more(items: Sequence[Any]) -> str:
    return and_more(len(items), NAMED)
