"""One-line messages for keys and values of params.yaml that are not allowed, with file, line, key and what to write instead."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, get_origin

from pydantic import ValidationError

from headway.ranges import Choices, FloatRange, IntRange, Section, describe
from headway.yaml_files import shortened

#: Former names of knobs, with the names that took their place. A former name is an error that gives the present one.
RENAMED = {
    "model.d_feedforward": "model.dim_feedforward",
    "training.gradient_clip": "training.gradient_clip_val",
    "training.warmup_share": "training.warmup_ratio",
}


def all_problems(error: ValidationError, kind: type[Section], tree: Mapping[str, Any], source: str) -> list[str]:
    """The problems that pydantic found when it validated ``tree`` as ``kind``, one line each.

    A line gives the source and, if ruamel.yaml read the tree for a round trip, the line in it.
    """
    problems = error.errors()
    unknown = {
        problem["loc"]: ".".join(map(str, problem["loc"])) for problem in problems if problem["type"] == "extra_forbidden"
    }
    renamed = {RENAMED[name] for name in unknown.values() if name in RENAMED}
    misspelt = {loc[:-1] for loc, name in unknown.items() if name not in RENAMED}
    # A missing key beside an unknown one is most likely the unknown one, misspelt or under its former name.
    problems = [
        problem
        for problem in problems
        if problem["type"] != "missing"
        or (problem["loc"][:-1] not in misspelt and ".".join(map(str, problem["loc"])) not in renamed)
    ]
    return [_line(problem, kind, tree, source) for problem in problems]


def nearest(word: str, known: list[str]) -> str:
    """A hint with the most similar known word, or with all known words if none is similar."""
    close = difflib.get_close_matches(word[:100], known, n=1, cutoff=0.6)
    return f"did you mean {close[0]}?" if close else f"known: {', '.join(known)}"


def _line(problem: Any, kind: type[Section], tree: Mapping[str, Any], source: str) -> str:
    context = problem.get("ctx", {})
    path = _path_in_file(context.get("loc", problem["loc"]), kind)
    number = _line_number(tree, path)
    where = f"{source}:{number}" if number else source
    key = ".".join(shortened(str(part)) for part in path)
    value = shortened(repr(problem["input"]))
    described = shortened(describe(problem), 300)
    match problem["type"]:
        case "extra_forbidden" if key in RENAMED:
            return f"{where}: {key} was renamed: use {RENAMED[key]}"
        case "extra_forbidden":
            known, parent = _fields(kind, path[:-1]), tree
            for part in path[:-1]:
                parent = parent[part]
            unset = [name for name in known if name not in parent]
            return f"{where}: {key}: unknown key; {nearest(str(path[-1]), unset or known)}"
        case "missing":
            return f"{where}: {key}: missing; add it (`headway params --schema` describes it)"
        case "model_type":
            fields = ", ".join(_fields(kind, path))
            return f"{where}: {key}: {value} is not allowed: expected a section of {fields}"
        case "union_tag_invalid":
            return (
                f"{where}: {key}.type: {shortened(repr(context['tag']))} is not allowed: expected {context['expected_tags']}"
            )
        case "union_tag_not_found":
            return f"{where}: {key}.type: missing; expected 'float', 'int' or 'categorical'"
        case "value_error" | "located":
            return f"{where}: {key}: {described}"
        case _:
            return f"{where}: {key}: {value} is not allowed: {described}"


def _path_in_file(loc: tuple[Any, ...], kind: type[Section]) -> list[Any]:
    """The keys that lead to a problem, without the tags of unions that pydantic's location also has: the one below a range, and
    the one of a number that may also be a word."""
    if loc[:2] == ("tune", "space"):
        return [*loc[:3], *loc[4:6]]
    if len(loc) == 3 and loc[2] in ("auto", "number"):
        section: Any = kind.model_fields[loc[0]].annotation
        if get_origin(section.model_fields[loc[1]].annotation) is not dict:  # in a dict, it is a key
            return list(loc[:2])
    return list(loc)


def _fields(kind: Any, path: list[Any]) -> list[str]:
    """Names of the fields in the section at a path; of all ranges' fields below the search space."""
    for part in path:
        field = kind.model_fields.get(part) if hasattr(kind, "model_fields") else None
        if field is None:
            return sorted({name for knob in (FloatRange, IntRange, Choices) for name in knob.model_fields})
        kind = field.annotation
    return list(kind.model_fields)


def _line_number(tree: Any, path: list[Any]) -> int | None:
    """The 1-based line of the innermost part of a path that exists; None without line numbers."""
    line, node = None, tree
    for part in path:
        positions = getattr(node, "lc", None)
        if positions is None:
            break
        try:
            line = (positions.key(part) if isinstance(node, Mapping) else positions.item(part))[0] + 1
            node = node[part]
        except (KeyError, TypeError, AttributeError, IndexError):
            break
    return line
