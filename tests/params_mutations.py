"""Damaged versions of the repository's params.yaml, reproducible by their number: of its bytes, its lines, and its structure."""

# ruff: noqa: E501 - one value a line would fill pages

from __future__ import annotations

import io
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

TEXT = (Path(__file__).resolve().parents[1] / "params.yaml").read_bytes()
#: Pieces of YAML that mean something special, or too much.
TRICKS = [
    b"\t", b"\0", b"\xff", b"\xef\xbb\xbf", b"\r", b"\x85", "\u2028".encode(), b"'", b'"', b"#", b":", b": ", b"- ", b"? ", b"!",
    b"&a ", b"*a", b"&a [*a]", b"<<: *a", b"&a {<<: *a}", b"{", b"}", b"[", b"]", b",", b"|", b">", b"|9", b"%", b"%YAML 9.9\n---\n",
    b"%YAML 1.1\n---\n", b"---\n", b"...\n", b"!!set {a}", b"!!binary aGk=", b"!!binary %", b"!!python/object:os.system {}",
    b"!!timestamp 1", b"!!int x", b"!!float x", b"!!omap [a]", b"!!null x", b"! x", b"!<x> y", b"~", b"null", b".nan", b"-.inf", b"1e999",
    b"1" * 5000, b"0x" + b"f" * 5000, b"0b" + b"1" * 9000, b"1_0" * 2000, b"2001-99-99", b"2001-12-14t21:59:43.10-99:00", b"1:99:99",
    b"[" * 600, b"{a: " * 600, b"- " * 600, b"? " * 600, b"x" * 20_000, b'"\\ud800"', b'"\\x1b[2J\\n"', b'"\\U99999999"', b"true", b"[[1]]",
    b"<<<<<<< HEAD\n", b"=======\n", b">>>>>>> theirs\n", b"{[a]: b}", b"{{a: b}: c}", b"{1: 2, null: 3, 2.5: 4, true: 5}", b"= ",
    b"a: &a [x,x,x,x,x,x,x,x,x]\n" + b"".join(
        b"%c: &%c [%s]\n" % (98 + n, 98 + n, b",".join([b"*%c" % (97 + n)] * 9)) for n in range(9)),
]  # fmt: skip
#: Values that no knob expects, or only some.
VALUES: list[Any] = [
    None, True, False, 0, -1, 1, 2**63, 10**90, 1e308, -0.0, float("nan"), float("inf"), "", " ", "x" * 9000, "é\u202e", "\n", "\x1b[2J",
    [], {}, [[]], {"": ""}, [None], {"type": "int", "low": 1, "high": 10**9}, {"type": "int", "low": -(10**18), "high": 10**18, "step": 7},
    {"type": "float", "low": 1e-300, "high": 1e300, "log": True}, {"type": "categorical", "choices": list(range(2000))}, {1: 2}, {None: 1},
    "postgresql://u:p@h/d", "length > 1", "(" * 200, {"a": "(" * 5000}, {"a" * 9000: "length > 1"}, ["a"] * 2000, "utf-7", "idna", "zip", "\\",
]  # fmt: skip


def mutated(number: int) -> bytes:
    """The damaged file with a number."""
    draw = random.Random(number)
    kinds: list[Callable[[random.Random], bytes]] = [_bytes, _lines, _values]
    return kinds[number % len(kinds)](draw)


def _bytes(draw: random.Random) -> bytes:
    """Some bytes dropped, changed or put in, among them the tricks."""
    content = bytearray(TEXT)
    for _ in range(draw.choice([1, 1, 2, 5, 50])):
        at = draw.randrange(len(content))
        match draw.randrange(5):
            case 0:
                del content[at : at + draw.choice([1, 2, 30, 3000])]
            case 1:
                content[at] = draw.randrange(256)
            case 2:
                content[at:at] = content[at : at + draw.choice([10, 500])] * draw.choice([1, 2, 9])
            case _:
                content[at:at] = draw.choice(TRICKS)
        if not content:
            break
    return bytes(content)


def _lines(draw: random.Random) -> bytes:
    """Some lines dropped, doubled, swapped, indented or given another value."""
    lines = TEXT.splitlines(keepends=True)
    for _ in range(draw.choice([1, 1, 2, 8])):
        at, other = draw.randrange(len(lines)), draw.randrange(len(lines))
        match draw.randrange(6):
            case 0:
                lines[at] = b""
            case 1:
                lines[at] *= 2
            case 2:
                lines[at], lines[other] = lines[other], lines[at]
            case 3:
                lines[at] = draw.choice([b" ", b"  ", b"\t", b"    - "]) + lines[at]
            case _:
                key, mark, _ = lines[at].partition(b":")
                lines[at] = key + mark + b" " + draw.choice(TRICKS) + b"\n"
    return b"".join(lines)


def _values(draw: random.Random) -> bytes:
    """Some values replaced by others, and keys renamed, at any depth."""
    tree = YAML(typ="safe").load(TEXT)
    for _ in range(draw.choice([1, 1, 2, 6])):
        node = tree
        while True:
            key = draw.choice(list(node)) if isinstance(node, dict) and node else None
            if key is None:
                break
            if not isinstance(node[key], dict) or not node[key] or draw.random() < 0.2:
                if draw.random() < 0.2:
                    node[draw.choice([f"{key}x", key * 3000, "", 1, None])] = node.pop(key)
                else:
                    node[key] = draw.choice(VALUES)
                break
            node = node[key]
        if not tree:
            break
    stream = io.BytesIO()
    YAML(typ="safe").dump(tree, stream)
    return stream.getvalue()
