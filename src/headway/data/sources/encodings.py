"""The encoding of a text file: from its byte order mark, from which bytes are valid, or from the frequencies of its letters."""

from __future__ import annotations

import codecs
import re
from typing import NamedTuple

from headway.data.sources.latin_pages import latin_page
from headway.errors import HeadwayError

#: Our error handler: a lone surrogate takes the place of invalid bytes, so that only their row is unreadable.
MARK = "headway.mark"
codecs.register_error(MARK, lambda error: ("\udcff", error.end))  # type: ignore[attr-defined]

SAMPLE = 1 << 18  # bytes of non-ASCII lines to examine
UTF_16_SAMPLE = 1 << 20  # bytes
BOMS = {  # the longer first: UTF-32's begins with UTF-16's
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
CONTROLS = bytes(set(range(32)) - set(b"\t\n\r"))
VALID_LINES = 0.5  # of the non-ASCII lines; lines in another encoding are rarely valid UTF-8 by chance
FEW_LINES, FEW_LETTERS = 0.2, 0.3  # shares of lines, and of their letters, that may be damaged in an ASCII file
#: Legacy encodings. Where a superset is in common use, only that is listed: cp932 includes shift_jis.
LEGACY = ["gb18030", "big5", "cp932", "euc_jp", "cp949", "koi8_r", "koi8_u", "cp874", *(f"cp{n}" for n in range(1250, 1259))]


class Encoding(NamedTuple):
    """The name of a Python codec, and whether it was guessed from the frequencies of letters."""

    name: str
    guessed: bool = False


def recognise(head: bytes, wanted: str, where: str) -> Encoding:
    """The encoding of the file ``where``, from its decompressed beginning, which may end within a character.

    HeadwayError if it cannot be recognised, or the wanted one, unless ``auto``, is not a text encoding.
    """
    by_mark = next((name for mark, name in BOMS.items() if head.startswith(mark)), None)
    if wanted != "auto":
        return Encoding(_as_wanted(wanted, by_mark))
    lines, all_lines = _lines_beyond_ascii(head)
    if found := by_mark or _utf_16(head[:UTF_16_SAMPLE]):
        return Encoding(found)
    if sum(_decoded(line, "utf-8") is not None for line in lines) >= VALID_LINES * len(lines):
        return Encoding("utf-8")
    sample = b"".join(lines)[:SAMPLE]
    sample = sample[: sample.rfind(b"\n") + 1] or sample  # no character is cut
    found = latin_page(sample)
    if not found and _is_damaged_ascii(lines, all_lines):
        return Encoding("utf-8")
    found = found or _by_frequencies(sample)
    if not found:
        raise HeadwayError(
            f"{where}: the encoding cannot be recognised; name it in data.encoding (for example gb18030 or windows-1251), "
            "or save the file as UTF-8"
        )
    return Encoding(found, guessed=True)


def _lines_beyond_ascii(head: bytes) -> tuple[list[bytes], int]:
    """The first non-ASCII lines, about ``SAMPLE`` bytes; and the number of lines read to find them."""
    lines, size, number = [], 0, 0
    for number, line in enumerate(head.splitlines(keepends=True), start=1):  # noqa: B007
        if not line.isascii():
            lines.append(line)
            size += len(line)
            if size >= SAMPLE:
                break
    return lines, number


def _as_wanted(wanted: str, by_mark: str | None) -> str:
    """The encoding that params name; a byte order mark of the same family is skipped."""
    codec = codecs.lookup(wanted)
    if not codec._is_text_encoding:
        raise HeadwayError(
            f"data.encoding: {wanted} is not a text encoding; expected auto, or a name such as utf-8 or gb18030"
        )
    return by_mark if by_mark and codec.name.startswith(by_mark.removesuffix("-sig")) else codec.name


def _utf_16(head: bytes) -> str | None:
    """UTF-16 without a byte order mark, recognised by its line ends, which the wrong byte order turns into other signs."""
    units = head[: len(head) // 2 * 2]
    controls = len(units) - len(units.translate(None, CONTROLS))
    if not controls or (_decoded(units, "utf-8") is not None and controls < len(units) / 5):
        return None  # UTF-8 text may hold a zero byte; UTF-16 text that is valid UTF-8 is full of them
    for name in ("utf-16-le", "utf-16-be"):
        text = _decoded(units, name) or ""
        if "\n" in text or "\r" in text:
            return name
    return None


def _is_damaged_ascii(lines: list[bytes], all_lines: int) -> bool:
    """Whether this is ASCII with a few damaged bytes, which are reported row by row, and not another encoding."""
    damaged = b"".join(lines)
    beyond = len(damaged.translate(None, bytes(range(128))))
    return len(lines) <= FEW_LINES * all_lines and beyond <= FEW_LETTERS * len(re.findall(b"[A-Za-z]", damaged))


def _by_frequencies(sample: bytes) -> str | None:
    """A legacy encoding, chosen by the letter frequencies of the languages that use it."""
    import charset_normalizer

    best = charset_normalizer.from_bytes(sample, cp_isolation=LEGACY).best()
    return best.encoding if best else None


def _decoded(block: bytes, encoding: str) -> str | None:
    """A block as text, without an incomplete character at its end; None if it is not valid."""
    try:
        return codecs.getincrementaldecoder(encoding)().decode(block)
    except UnicodeDecodeError:
        return None
