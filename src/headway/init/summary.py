"""The survey of your data as a table in the terminal."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from headway.init.inspection import Survey
from headway.phrases import listed
from headway.reporting.data.page import DELIMITERS
from headway.reporting.data.remarks import remarks

if TYPE_CHECKING:
    from headway.data.preparation.ingested import SourceFile
    from headway.data.preparation.profile import ClassProfile


def show(found: Survey) -> None:
    """Print what was found, for a person to confirm."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    profile, tokens = found.profile, found.tokens
    lengths, duplicates, leakage = profile.characters, profile.duplicates, profile.leakage
    unknown = tokens.splits["validation"].unknown_share
    quarantined = [f"{reason} {count:,}" for reason, count in profile.rows_quarantined.items() if count]
    others = f" (or: {', '.join(found.proposal.others[:5])}; choose with --label)" if found.proposal.others else ""
    rare = f"; {len(profile.rare_classes):,} with too few rows to be tested" if profile.rare_classes else ""
    duration = f"{found.seconds:.0f} seconds" if found.seconds < 90 else f"{found.seconds / 60:.0f} minutes"
    facts = {
        "text column": found.proposal.text,
        "label column": found.proposal.label + others,
        "rows": f"{profile.rows_in:,}, of which {profile.rows_kept:,} can be used",
        "in quarantine": ", ".join(quarantined) or "none",
        "read as": _formats(profile.files),
        "classes": f"{len(profile.classes):,}: {_class_sizes(profile.classes)}{rare}",
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
        table.add_row(f"[bold]{name}[/]", Text(value))
    console = Console(highlight=False)
    console.print(table)
    for remark in remarks(profile.model_dump()):
        if remark.warning:
            console.print(Text(f"! {remark.words.striptags()}"), soft_wrap=True)
    console.print(f"Full report, with plots: {os.path.relpath(found.page)}", soft_wrap=True)


def _class_sizes(classes: Sequence[ClassProfile], most: int = 8) -> str:
    """The largest classes with their numbers of rows."""
    sizes = {entry.label: entry.rows for entry in classes}
    largest = sorted(sizes, key=lambda label: -sizes[label])
    return listed([f"{label} {sizes[label]:,}" for label in largest], most)


def _formats(files: Sequence[SourceFile], most: int = 3) -> str:
    """The encodings and delimiters that files were read with, those of the most rows first."""
    rows: dict[str, int] = {}
    for file in files:
        delimiter = f", delimiter {DELIMITERS.get(file.delimiter, file.delimiter)}" if file.delimiter else ""
        format_ = (file.encoding or "Parquet") + " (guessed)" * file.encoding_guessed + delimiter
        rows[format_] = rows.get(format_, 0) + file.rows
    return listed(sorted(rows, key=lambda format_: -rows[format_]), most, "; ")
