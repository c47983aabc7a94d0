"""Which encoding a text file is in: told by its byte order mark, by what its bytes allow, or by its letters' frequencies."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable
from typing import BinaryIO, NamedTuple

from headway.data.sources.alphabets import latin_page
from headway.errors import HeadwayError

#: Error handler of ours: a lone surrogate stands where bytes are not valid, so that a row tells of it and no text is lost.
MARK = "headway.mark"
codecs.register_error(MARK, lambda error: ("\udcff", error.end))  # type: ignore[attr-defined]

BLOCK = 1 << 20
SAMPLE = 1 << 18  # bytes of lines beyond ASCII that are looked at
BOMS = {  # the longer first: UTF-32's begins with UTF-16's
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
CONTROLS = bytes(set(range(32)) - set(b"\t\n\r"))
FEW_LINES, FEW_LETTERS = 0.2, 0.3  # share of all lines, and of the letters in them, that are not ASCII where something broke
VALID_LINES = 0.5  # share of the lines beyond ASCII; those of another encoding are hardly ever valid UTF-8 by chance
#: Supersets, where a standard has one in use: what is shift_jis is cp932 too.
LEGACY = [
    "gb18030",
    "big5",
    "cp932",
    "euc_jp",
    "cp949",
    "koi8_r",
    "koi8_u",
    "cp874",
    *(f"cp{page}" for page in range(1250, 1259)),
]


class Recognised(NamedTuple):
    """An encoding's name, as Python's codecs know it, and whether it was guessed from the frequency of letters."""

    name: str
    guessed: bool = False


class Head(NamedTuple):
    """A file's first block; its first lines with a byte beyond ASCII; and how many lines were looked at for these."""

    block: bytes
    telling: bytes
    lines: int


def recognise(open_file: Callable[[], BinaryIO], wanted: str, where: str) -> Recognised:
    """A file's encoding.

    Args:
        open_file: opens the file's bytes, decompressed.
        wanted: the encoding to take, or ``auto``.
        where: the file's name, for messages.

    Raises:
        HeadwayError: the encoding cannot be recognised, or what is wanted is none for text.
    """
    with open_file() as file:
        head = _head(file)
    by_mark = next((name for mark, name in BOMS.items() if head.block.startswith(mark)), None)
    if wanted != "auto":
        return Recognised(_as_wanted(wanted, by_mark))
    found = by_mark or _utf_16(head.block) or _utf_8(head.telling)
    if found:
        return Recognised(found)
    found = latin_page(_whole_lines(head.telling))
    if not found and _is_broken_ascii(head):
        return Recognised("utf-8")
    found = found or _by_frequencies(head.telling)
    if found is None:
        raise HeadwayError(
            f"{where}: its encoding cannot be recognised; name it in data.encoding (as gb18030, or windows-1251), "
            "or save the file as UTF-8"
        )
    return Recognised(found, guessed=True)


def _head(file: BinaryIO) -> Head:
    """What tells of a file: about ``SAMPLE`` bytes of lines beyond ASCII, the last of which may be cut."""
    head = block = file.read(BLOCK)
    telling, rest, seen = b"", b"", 0
    while block and len(telling) + len(rest) < SAMPLE:
        *lines, rest = (rest + block).split(b"\n")
        seen += len(lines)
        telling += b"".join(line + b"\n" for line in lines if not line.isascii())
        if rest.isascii():
            rest = b""
        block = file.read(BLOCK)
    return Head(head, telling + rest, seen + 1)


def _as_wanted(wanted: str, by_mark: str | None) -> str:
    """The encoding that params name; a byte order mark of the same family is then no part of the text."""
    codec = codecs.lookup(wanted)
    if not codec._is_text_encoding:
        raise HeadwayError(f"data.encoding: {wanted} is no encoding of text; expected auto, utf-8, gb18030 or the like")
    return by_mark if by_mark and codec.name.startswith(by_mark.removesuffix("-sig")) else codec.name


def _utf_16(head: bytes) -> str | None:
    """UTF-16 without a mark, told by its line ends: in the wrong order of bytes they are no character at all."""
    units = head[: len(head) // 2 * 2]
    controls = len(units) - len(units.translate(None, CONTROLS))
    if not controls or (_decoded(units, "utf-8") is not None and controls < len(units) / 5):
        return None  # a text in UTF-8 may hold a zero byte; one in UTF-16 that is valid as UTF-8 is full of them
    for name in ("utf-16-le", "utf-16-be"):
        text = _decoded(units, name) or ""
        if "\n" in text or "\r" in text:
            return name
    return None


def _utf_8(telling: bytes) -> str | None:
    """UTF-8, when most of the lines that tell are valid."""
    lines = [line for line in telling.splitlines(keepends=True) if not line.isascii()]
    valid = sum(_decoded(line, "utf-8") is not None for line in lines)
    return "utf-8" if valid >= VALID_LINES * len(lines) else None


def _is_broken_ascii(head: Head) -> bool:
    """Whether bytes beyond ASCII are so few that they are damage rather than a script: the rows are told one by one."""
    beyond = len(head.telling.translate(None, bytes(range(128))))
    letters = len(re.findall(b"[A-Za-z]", head.telling))
    return head.telling.count(b"\n") <= FEW_LINES * head.lines and beyond <= FEW_LETTERS * letters


def _by_frequencies(telling: bytes) -> str | None:
    """One of the encodings from before Unicode, by how often its letters occur in the languages written in it."""
    import charset_normalizer

    best = charset_normalizer.from_bytes(_whole_lines(telling), cp_isolation=LEGACY).best()
    return best.encoding if best else None


def _whole_lines(telling: bytes) -> bytes:
    """A sample in which no character is cut."""
    sample = telling[:SAMPLE]
    if len(telling) > SAMPLE and b"\n" in sample:
        sample = sample[: sample.rindex(b"\n")]
    return sample


def _decoded(block: bytes, encoding: str) -> str | None:
    """A block as text, but for a character that is cut at its end; None when it is not valid."""
    try:
        return codecs.getincrementaldecoder(encoding)().decode(block)
    except UnicodeDecodeError:
        return None
