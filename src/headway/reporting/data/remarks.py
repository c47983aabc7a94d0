"""What in a data profile deserves a person's attention, in words."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from markupsafe import Markup

from headway.phrases import and_more
from headway.reporting.data.charts import by_size, rows_of_class
from headway.reporting.formatting import clip, share, visible

#: From where on something is remarked upon.
IMBALANCE = 10  # rows of the largest class for one of the smallest
REPEATS = 0.05  # share of the rows
SECOND_SCRIPT = 0.01  # share of the rows
NEAR_LIMIT = 0.5  # of the share of bad rows at which the pipeline stops
LEAKAGE = 0.001  # share of the test rows

DEBRIS = {
    "html": "HTML tags or entities",
    "control_characters": "control characters",
    "mojibake": "letters that were decoded wrongly (mojibake)",
}
NAMED = 8
#: What stands among the scripts for texts that are in none.
LETTERLESS = "no letters"


@dataclass(frozen=True)
class Remark:
    """Attributes: key (what it is about), words (HTML, escaped), warning (whether something may have to be done)."""

    key: str
    words: Markup
    warning: bool = False


def remarks(profile: Mapping[str, Any]) -> list[Remark]:
    """The remarks that a profile deserves, warnings first."""
    return [remark for rule in _RULES for remark in rule(profile)]


def rows_lost(profile: Mapping[str, Any]) -> int:
    """Rows read that are neither kept nor in quarantine nor not sampled; anything but 0 is a mistake of ours."""
    accounted: int = profile["rows_kept"] + sum(profile["rows_quarantined"].values()) + profile["rows_not_sampled"]
    return int(profile["rows_in"]) - accounted


def rows_unsplit(profile: Mapping[str, Any]) -> int:
    """Rows kept that are in no split; anything but 0 is a mistake of ours."""
    return int(profile["rows_kept"] - sum(profile["splits"].values()))


def _sums(profile: Mapping[str, Any]) -> Iterator[Remark]:
    for rows, words in ((rows_lost(profile), "rows read"), (rows_unsplit(profile), "rows kept")):
        if rows:
            yield Remark(
                "sums", Markup("The {} do not add up: {:+,} are unaccounted for.").format(words, rows), warning=True
            )


def _bad_rows(profile: Mapping[str, Any]) -> Iterator[Remark]:
    bad, limit = profile["bad_share"], profile["max_bad_share"]
    if bad > NEAR_LIMIT * limit:
        words = Markup(
            "{} of the rows cannot be used; the pipeline stops when it is more than {} (<code>data.max_bad_share</code>)."
        )
        yield Remark("bad_rows", words.format(share(bad), f"{100 * limit:g}%"), warning=True)


def _look_alikes(profile: Mapping[str, Any]) -> Iterator[Remark]:
    labels = sorted((entry["label"] for entry in profile["classes"]), key=_folded)
    groups = [list(group) for _, group in groupby(labels, key=_folded)]
    alike = [group for group in groups if len(group) > 1]
    if alike:
        groups_named = Markup("; ").join(_named(group) for group in alike[:NAMED]) + _more(alike)
        words = Markup(
            "Some labels differ only by case, spaces or the form of a letter, and count as classes of their own: {}."
        )
        yield Remark("look_alikes", words.format(groups_named), warning=True)


def _imbalance(profile: Mapping[str, Any]) -> Iterator[Remark]:
    classes = by_size(profile)
    largest, smallest = rows_of_class(classes[0]), rows_of_class(classes[-1])
    if largest >= IMBALANCE * smallest:
        words = Markup(
            "The classes are of very different size: {} has {:,} rows, {} of all, and {} has {:,}. Accuracy says little "
            "about the small ones; look at macro F1, and consider <code>training.class_weights: balanced</code>."
        )
        names = _named([classes[0]["label"]]), _named([classes[-1]["label"]])
        of_all = share(largest / max(sum(map(rows_of_class, classes)), 1))
        yield Remark("imbalance", words.format(names[0], largest, of_all, names[1], smallest), warning=True)


def _rare_classes(profile: Mapping[str, Any]) -> Iterator[Remark]:
    rare = profile["rare_classes"]
    if rare:
        words = Markup("{} so few rows that validation or test has none of them: {}.")
        count = "One class has" if len(rare) == 1 else f"{len(rare):,} classes have"
        yield Remark("rare_classes", words.format(count, _some(rare)), warning=True)


def _leakage(profile: Mapping[str, Any]) -> Iterator[Remark]:
    before, after, rows = (profile["leakage"][key] for key in ("random_split", "actual_split", "test_rows"))
    if after > LEAKAGE:
        words = Markup("{} of the {:,} test rows have a twin, or nearly one, in training: the scores will flatter.")
        yield Remark("leakage", words.format(share(after), rows), warning=True)
    elif before > LEAKAGE:
        words = Markup(
            "Split row by row at random, {} of the test rows would have a twin, or nearly one, in training; "
            "twins stay together here, and of the {:,} test rows it is {}."
        )
        yield Remark("leakage", words.format(share(before), rows, share(after)))


def _files_left(profile: Mapping[str, Any]) -> Iterator[Remark]:
    left = profile["ignored_data_files"]
    if left:
        words = Markup("{} in the folder not read: {}. <code>data.files</code> says which are; <code>**/*</code> takes all.")
        count = "One data file is" if len(left) == 1 else f"{len(left):,} data files are"
        yield Remark("files_left", words.format(count, _some(left)), warning=True)


def _encodings(profile: Mapping[str, Any]) -> Iterator[Remark]:
    guessed = {file["encoding"]: file["name"] for file in reversed(profile["files"]) if file["encoding_guessed"]}
    if guessed:
        words = Markup(
            "The encoding was guessed from the letters: {}. Look at some texts; if they are wrong, name it in "
            "<code>data.encoding</code>, or save the file as UTF-8."
        )
        told = Markup("; ").join(Markup("{} for {}").format(visible(name), _named([file])) for name, file in guessed.items())
        yield Remark("encodings", words.format(told), warning=True)


def _cut_files(profile: Mapping[str, Any]) -> Iterator[Remark]:
    cut = profile["possibly_truncated"]
    if cut:
        words = Markup("Perhaps not whole, for the last line has no end, and no label that another row has: {}.")
        yield Remark("cut_files", words.format(_some(cut)), warning=True)


def _columns(profile: Mapping[str, Any]) -> Iterator[Remark]:
    differ = profile["columns_that_differ"]
    if differ:
        words = Markup("Some files have other columns than the first one: {}.")
        told = [Markup("{} ({})").format(_named([file]), _named(names[:NAMED])) for file, names in differ.items()]
        yield Remark("columns", words.format(Markup("; ").join(told[:NAMED]) + _more(told)), warning=True)


def _spellings(profile: Mapping[str, Any]) -> Iterator[Remark]:
    spellings = profile["label_spellings"]
    if spellings:
        words = Markup("Some labels are written in several ways, which count as one class each: {}.")
        told = [
            Markup("{} ({})").format(_named([label]), _named(list(map(_spelt, ways)))) for label, ways in spellings.items()
        ]
        yield Remark("spellings", words.format(Markup("; ").join(told[:NAMED]) + _more(told)))


def _repeats(profile: Mapping[str, Any]) -> Iterator[Remark]:
    exact, near, groups = (profile["duplicates"][key] for key in ("exact", "near", "near_groups"))
    if exact + near >= REPEATS * max(profile["rows_in"], 1):
        words = Markup(
            "Many texts repeat: {:,} are equal to an earlier one and left out, {:,} more are near copies, in {:,} groups."
        )
        yield Remark("repeats", words.format(exact, near, groups))


def _debris(profile: Mapping[str, Any]) -> Iterator[Remark]:
    found = [
        (key, rows) for key, rows in sorted(profile["markup_noise"].items(), key=lambda item: (-item[1], item[0])) if rows
    ]
    if found:
        kept = max(profile["rows_kept"], 1)
        parts = [
            f"{DEBRIS.get(key, visible(key).replace('_', ' '))} in {rows:,} ({share(rows / kept)})" for key, rows in found
        ]
        yield Remark("debris", Markup("Debris in rows that are kept: {}.").format("; ".join(parts)))


def _scripts(profile: Mapping[str, Any]) -> Iterator[Remark]:
    scripts = sorted(profile["scripts"].items(), key=lambda item: (-item[1], item[0]))
    mixed = [f"{visible(name)} {share(value)}" for name, value in scripts if value >= SECOND_SCRIPT and name != LETTERLESS]
    if len(mixed) > 1:
        yield Remark("scripts", Markup("The texts are in more than one script: {}.").format(", ".join(mixed)))


def _sampling(profile: Mapping[str, Any]) -> Iterator[Remark]:
    left = profile["rows_not_sampled"]
    if left:
        words = Markup("This is a sample: {:,} rows that could have been used are left out (<code>data.max_rows</code>).")
        yield Remark("sampling", words.format(left))


def _unlabelled(profile: Mapping[str, Any]) -> Iterator[Remark]:
    gone = sorted(profile["unlabelled_quarantined"].items(), key=lambda item: (-item[1], item[0]))
    if gone:
        words = Markup("Of {:,} unlabelled rows, {:,} are kept; the others are in quarantine: {}.")
        kept, reasons = profile["unlabelled_rows"], ", ".join(f"{reason} {rows:,}" for reason, rows in gone)
        yield Remark("unlabelled", words.format(kept + sum(rows for _, rows in gone), kept, reasons))


#: Those that warn stand first, and a page has their remarks in this order.
_RULES = (
    *(_sums, _files_left, _cut_files, _bad_rows, _encodings, _columns, _look_alikes, _imbalance, _rare_classes),
    *(_leakage, _spellings, _repeats, _debris, _scripts, _sampling, _unlabelled),
)


def _folded(label: str) -> str:
    """What labels have in common that a person would take for the same."""
    return " ".join(unicodedata.normalize("NFKC", label).casefold().split())


def _spelt(label: str) -> str:
    """A label in which the characters that nobody sees are written as Python would."""
    return "".join(sign if sign.isprintable() else f"\\u{ord(sign):04x}" for sign in label)


def _named(labels: Sequence[str]) -> Markup:
    """Labels in a row, each isolated from the direction of its neighbours, their spaces seen."""
    return Markup(", ").join(Markup('<bdi class="label">{}</bdi>').format(clip(label)) for label in labels)


def _some(labels: Sequence[str]) -> Markup:
    """The first of the labels, and how many more there are."""
    return _named(labels[:NAMED]) + _more(labels)


def _more(items: Sequence[Any]) -> str:
    return and_more(len(items), NAMED)
