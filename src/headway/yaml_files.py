"""YAML that people and merges edit: read within bounds, so that every mistake and every trick in a file is one line at once.

The bounds are checked on the parser's events, before any object is built: on objects, an alias that contains itself, a tag or a
long number is a traceback, and nested aliases fill the memory.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from headway.errors import HeadwayError, first_line
from headway.foreign_text import one_line

#: Size of a file that people write, in bytes; the parser reads about 200 kB a second. params.yaml has about 11 kB.
MAX_BYTES = 100_000
#: The same for a file of DVC's, which a faster parser reads.
MAX_DVC_BYTES = 10_000_000
#: Levels of nested mappings and lists, nodes when all aliases are written out, and characters of a number.
MAX_DEPTH, MAX_NODES, MAX_DIGITS = 30, 5_000, 100
#: Characters of a foreign value in a message.
SHOWN = 80
CONFLICT = re.compile(r"^(<{7}|>{7}|\|{7})( |$)", re.MULTILINE)


def shortened(text: str, most: int = SHOWN) -> str:
    """A text that fits in a message: on one line, and cut with an ellipsis."""
    line = one_line(text)
    return line if len(line) <= most else line[: most - 1] + "…"


def read_text(path: Path, max_bytes: int = MAX_BYTES) -> str:
    """The text of a YAML file.

    Raises:
        FileNotFoundError: there is no such file.
        HeadwayError: it is no regular file, is too large, cannot be read, is not UTF-8, or holds an unresolved merge conflict.
    """
    name = path.name
    try:
        facts = path.stat()
        if not stat.S_ISREG(facts.st_mode):
            kind = "a folder" if stat.S_ISDIR(facts.st_mode) else "a device, pipe or socket"
            raise HeadwayError(f"{path}: {kind}, expected a file")
        if facts.st_size > max_bytes:
            raise HeadwayError(f"{name}: {facts.st_size:,} bytes, at most {max_bytes:,} are read; is it the right file?")
        content = path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise HeadwayError(f"{path}: cannot be read: {error.strerror}; check its permissions") from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise HeadwayError(f"{name}: not UTF-8; save it as UTF-8") from None
    require_no_conflict(text, name)
    return text


def require_no_conflict(text: str, name: str) -> None:
    """HeadwayError if a text holds the markers of a merge that is not finished."""
    if found := CONFLICT.search(text):
        line = text.count("\n", 0, found.start()) + 1
        raise HeadwayError(
            f"{name}:{line}: an unresolved merge conflict ({found[1]}); keep one of the two sides and remove the markers, "
            f"or take one side with `git checkout --ours {name}` or `--theirs`"
        )


def parse(text: str, name: str) -> Any:
    """The value of a YAML text as plain mappings, lists and scalars. Needs :func:`read_text`'s checks before.

    Raises:
        HeadwayError: it is not YAML, or beyond the bounds; the message names the file and the line.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        _require_bounds(YAML(typ="safe", pure=True).parse(text), name)
        return YAML(typ="safe", pure=True).load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        raise HeadwayError(f"{name}{line}: not valid YAML: {_problem(error.problem or error.context)}") from None
    except (YAMLError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, AssertionError) as error:
        # ruamel.yaml lets what Python says about a value, such as an impossible date, through.
        raise HeadwayError(f"{name}: not valid YAML: {_problem(first_line(error))}") from None


def load_mapping(path: Path) -> dict[str, Any]:
    """The content of dvc.yaml or dvc.lock, which DVC writes or checks itself.

    Raises:
        HeadwayError: it cannot be read, is not YAML or no mapping, or holds an unresolved merge conflict.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        found = YAML(typ="safe").load(read_text(path, MAX_DVC_BYTES))
    except FileNotFoundError:
        raise HeadwayError(f"{path}: no such file; restore it with `git checkout {path.name}`") from None
    except (YAMLError, ValueError, RecursionError) as error:
        reason = shortened(getattr(error, "problem", None) or first_line(error), 200)
        where = f"{path.name}:{mark.line + 1}" if (mark := getattr(error, "problem_mark", None)) else path.name
        raise HeadwayError(f"{where}: not valid YAML: {reason}; restore it with `git checkout {path.name}`") from None
    if not isinstance(found, dict):
        raise HeadwayError(f"{path.name}: expected a mapping with 'stages:'; restore it with `git checkout {path.name}`")
    return found


def numbered(text: str) -> Any:
    """The value of a text that :func:`parse` has read, with the number of every line."""
    from ruamel.yaml import YAML

    return YAML(typ="rt").load(text)


def _problem(message: str | None) -> str:
    return shortened(message.partition("\n")[0] if message else "it cannot be parsed", 200)


def _require_bounds(events: Iterable[Any], name: str) -> None:
    """Check the depth, the tags, the numbers and the aliases of a document."""
    from ruamel.yaml import events as kinds

    open_nodes: list[tuple[str | None, int]] = []  # anchor, and the number of nodes before it
    sizes: dict[str, int] = {}  # nodes in each anchored value
    nodes = 0

    def refuse(event: Any, problem: str) -> HeadwayError:
        return HeadwayError(f"{name}:{event.start_mark.line + 1}: {problem}")

    for event in events:
        if isinstance(event, kinds.ScalarEvent | kinds.CollectionStartEvent):
            if event.tag is not None:
                tag = shortened(str(event.tag).replace("tag:yaml.org,2002:", "!!"))
                raise refuse(event, f"the tag {tag} is not allowed; write the value without a tag")
            nodes += 1
        if isinstance(event, kinds.ScalarEvent):
            if event.anchor:
                sizes[event.anchor] = 1
            if event.implicit[0] and len(event.value) > MAX_DIGITS and re.fullmatch(r"[-+.\w]+", event.value):
                raise refuse(
                    event, f"{shortened(event.value)}: {len(event.value):,} characters; put quotes around a long text"
                )
        elif isinstance(event, kinds.AliasEvent):
            if event.anchor in (anchor for anchor, _ in open_nodes):
                raise refuse(event, f"*{shortened(event.anchor)} refers to a value that contains it; write the value out")
            nodes += sizes.get(event.anchor, 1)
        elif isinstance(event, kinds.CollectionStartEvent):
            open_nodes.append((event.anchor, nodes))
            if len(open_nodes) > MAX_DEPTH:
                raise refuse(event, f"more than {MAX_DEPTH} levels of mappings and lists")
        elif isinstance(event, kinds.CollectionEndEvent):
            anchor, before = open_nodes.pop()
            if anchor:
                sizes[anchor] = nodes - before + 1
        if nodes > MAX_NODES:
            raise refuse(event, f"more than {MAX_NODES:,} values, aliases (*) written out; is it the right file?")
