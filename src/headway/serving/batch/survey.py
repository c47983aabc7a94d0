"""The first pass over the input: how many rows there are, which columns of which types, and the hash of each file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from headway.data.sources.rows import replace_surrogates
from headway.progress import ProgressLine
from headway.serving.batch.records import STRING, Facts, InputFile, records

SMALLEST, LARGEST = -(2**63), 2**63 - 1
MOST_EXACT = 2**53  # integers up to here are floats too


@dataclass(frozen=True)
class Survey:
    """What the input holds."""

    rows: int
    types: dict[str, pa.DataType]  # of the columns of all files, in the order in which they appear
    sha256: tuple[str, ...]  # hex digest of each file's bytes


def survey(sources: Sequence[InputFile], line: ProgressLine) -> Survey:
    """Read all files once; errors as for :func:`headway.serving.batch.records.records`.

    A column has the type that Parquet files give it, or the one that fits all of its JSON values. If files disagree, and for
    CSV, it is a string.
    """
    rows, hashes = 0, []
    types: dict[str, pa.DataType] = {}
    for source in sources:
        facts = Facts()
        kinds: dict[str, set[str]] = {}
        for record in records(source, facts):
            rows += 1
            line.update(lambda: f"reading {source.file.name}: {rows:,} rows")  # noqa: B023 - called at once
            for name, value in record.values.items() if facts.by_value else ():
                if facts.types.get(name) is None:
                    kinds.setdefault(name, set()).add(_kind(value))
        hashes.append(facts.sha256)
        for name in dict.fromkeys([*facts.types, *kinds]):
            found = facts.types.get(name) or _type(kinds.get(name, set()))
            name = replace_surrogates(name)
            types[name] = found if types.get(name, found) == found else STRING
    return Survey(rows, types, tuple(hashes))


def _kind(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "bool"
        case int() if abs(value) <= MOST_EXACT:
            return "int"
        case int() if SMALLEST <= value <= LARGEST:
            return "large int"
        case float():
            return "float"
    return "other"


def _type(kinds: set[str]) -> pa.DataType:
    """The type of a column with values of these kinds."""
    found = kinds - {""}
    if found == {"bool"}:
        return pa.bool_()
    if found and found <= {"int", "large int"}:
        return pa.int64()
    return pa.float64() if found and found <= {"int", "float"} else STRING
