"""Values inside nested records: ``data.text`` is the key ``text`` of the object under ``data``; a list of one is its element."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from headway.data.sources.rows import only_element, replace_surrogates

DEEPEST = 8  # levels of objects that are named in a sample


def value_at(record: Mapping[str, Any], name: str) -> Any:
    """The value of a key, or of a path of keys with dots between them; None if there is none."""
    if name in record:
        return record[name]
    if "\ufffd" in name:  # a key with invalid characters, which were replaced
        return next((value for key, value in record.items() if replace_surrogates(key) == name), None)
    if "." not in name:
        return None
    key, rest = name.split(".", 1)
    inner = only_element(record.get(key))
    return value_at(inner, rest) if isinstance(inner, dict) else None


def flat(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record whose nested values have dotted paths as keys. A list of several values becomes its JSON."""
    return dict(_flat(record, "", DEEPEST))


def _flat(record: Mapping[str, Any], prefix: str, depth: int) -> Iterator[tuple[str, Any]]:
    for key, value in record.items():
        name, inner = prefix + replace_surrogates(str(key)), only_element(value)
        if isinstance(inner, dict) and depth:
            yield from _flat(inner, f"{name}.", depth - 1)
        elif isinstance(inner, list | tuple | dict):
            yield name, json.dumps(inner, default=str) if inner else None
        else:
            yield name, inner
