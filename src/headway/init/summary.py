"""The survey of your data as a table in the terminal."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from headway.foreign_text import one_line
from headway.init.inspection import Survey
from headway.init.reading import SHOWN, Reading
from headway.phrases import listed
from headway.reporting.data.page import DELIMITERS
from headway.reporting.data.remarks import remarks
from headway.reporting.formatting import clip

EXAMPLE = 40  # characters

if TYPE_CHECKING:
    from headway.data.preparation.ingested import SourceFile
    from headway.data.preparation.profile import ClassProfile, MappedLabel


def show(found: Survey) -> None:
    """Print what was found, for a person to confirm."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    profile, tokens, split = found.profile, found.tokens, found.reading.knobs["split_column"]
    lengths, duplicates, leakage = profile.characters, profile.duplicates, profile.leakage
    unknown = tokens.splits["validation"].unknown_share
    quarantined = [f"{reason} {count:,}" for reason, count in profile.rows_quarantined.items() if count]
    rare = f"; {len(profile.rare_classes):,} with too few rows to be tested" if profile.rare_classes else ""
    duration = f"{found.seconds:.0f} seconds" if found.seconds < 90 else f"{found.seconds / 60:.0f} minutes"
    facts = {
        "text column": _column(found.reading, found.proposal.text, found.proposal.other_texts, "--text"),
        "label column": _column(found.reading, found.proposal.label, found.proposal.others, "--label"),
        **({"test split": f"rows whose column {one_line(split)} is test"} if split else {}),
        **({"time column": one_line(profile.time.column)} if profile.time else {}),
        "rows": f"{profile.rows_in:,}, of which {profile.rows_kept:,} can be used",
        "in quarantine": ", ".join(quarantined) or "none",
        "read as": _formats(profile.files),
        "classes": f"{len(profile.classes):,}: {_class_sizes(profile.classes)}{rare}",
        **({"label map": _label_map(profile.label_map)} if profile.label_map else {}),
        "characters": f"median {lengths.median:,} per text, from {lengths.min:,} to {lengths.max:,}",
        "scripts": ", ".join(f"{name} {share:.1%}" for name, share in list(profile.scripts.items())[:5]),
        "duplicates": f"{duplicates.exact:,} exact, {duplicates.near:,} near-duplicates in "
        f"{duplicates.near_groups:,} groups",
        "leakage": f"{leakage.actual_split:.2%} of test rows have a near-duplicate in training "
        f"({leakage.random_split:.2%} if split at random)",
        "splits": ", ".join(f"{name} {count:,}" for name, count in profile.splits.items()),
        "tokenizer": f"{tokens.kind}, {tokens.vocabulary_size:,} tokens; {unknown:.1%} of validation tokens unknown",
        "budget": f"about {duration} for search and training on this machine",
    }
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in facts.items():
        table.add_row(f"[bold]{name}[/]", Text(value))  # line by line, a value of others is harmless already
    console = Console(highlight=False)
    console.print(table)

    def note(line: str) -> None:
        console.print(Text(one_line(line)), soft_wrap=True)

    if found.proposal.split and not split:
        note(
            f"! Column {found.proposal.split} names splits. It is not used, because few rows would be left for training or "
            f"validation, or test files are given. With data.split_column: {found.proposal.split}, its test rows are the "
            "test split."
        )
    if found.reading.times and not profile.time:
        columns = "Columns" if len(found.reading.times) > 1 else "Column"
        note(
            f"! {columns} with times: {listed(list(map(one_line, found.reading.times)), SHOWN)}. The rows are split by a hash. "
            f"With split.time_column: {one_line(found.reading.times[0])}, the latest rows are the test split, as new texts will "
            "be later than all training texts."
        )
    if found.merges_labels:
        note(
            "! Some labels differ only in case, spaces, Unicode form or look-alike characters. The label map merges them; to "
            "keep two apart, map one to itself in data.label_map, as in {Co: Co}, and run this again."
        )
    if found.proposal.unclear:
        note(f"! {found.proposal.unclear}")
    if found.proposal.quantity:
        note(
            f"! The label {found.proposal.label} looks like a quantity: {found.proposal.quantity:,} different numbers in the "
            "sample. Each becomes a class of its own. If it is a score, make classes in your data, in pandas for example with "
            f'table["class"] = pd.cut(table["{found.proposal.label}"], 3, labels=["low", "middle", "high"]), or choose another '
            "column with --label."
        )
    for remark in remarks(profile.model_dump()):
        if remark.warning:
            note(f"! {remark.words.striptags()}")
    note(f"Full report, with plots: {os.path.relpath(found.page)}")


def _label_map(entries: Sequence[MappedLabel], most: int = 8) -> str:
    """What becomes of the labels that the map names, with their numbers of rows."""
    named = [
        f"{one_line(entry.label)} ({entry.rows:,}) " + (f"→ {one_line(entry.becomes)}" if entry.becomes else "dropped")
        for entry in entries
    ]
    return listed(named, most)


def _column(reading: Reading, chosen: str, others: Sequence[str], option: str) -> str:
    """A column; if others are possible, they are below it, all with examples of their values."""
    if not others:
        return one_line(chosen)
    lines = [f"{chosen}: {_examples(reading, chosen)}"]
    lines += [f"or {name}: {_examples(reading, name)}" for name in others[:SHOWN]]
    return "\n".join([*map(one_line, lines), f"(choose with {option})"])


def _examples(reading: Reading, column: str) -> str:
    """Some values of a column, in quotes and shortened."""
    return ", ".join(f"“{clip(' '.join(value.split()), EXAMPLE)}”" for value in reading.examples[column])


def _class_sizes(classes: Sequence[ClassProfile], most: int = 8) -> str:
    """The largest classes with their numbers of rows."""
    sizes = {entry.label: entry.rows for entry in classes}
    largest = sorted(sizes, key=lambda label: -sizes[label])
    return listed([f"{one_line(label)} {sizes[label]:,}" for label in largest], most)


def _formats(files: Sequence[SourceFile], most: int = 3) -> str:
    """The encodings and delimiters that files were read with, those of the most rows first."""
    rows: dict[str, int] = {}
    for file in files:
        delimiter = f", delimiter {DELIMITERS.get(file.delimiter, file.delimiter)}" if file.delimiter else ""
        format_ = (file.encoding or "Parquet") + " (guessed)" * file.encoding_guessed + delimiter
        rows[format_] = rows.get(format_, 0) + file.rows
    return listed(sorted(rows, key=lambda format_: -rows[format_]), most, "; ")
