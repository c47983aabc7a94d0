"""Text that others wrote, such as labels, file names and reasons, made harmless for a terminal and for Markdown.

For HTML, the pages' templates escape it; for spreadsheets, see :mod:`headway.data.text.spreadsheets`.
"""

from __future__ import annotations

import re

#: Characters that move the cursor, start a command of the terminal, end a line, reorder or hide text.
_HIDDEN = re.compile(
    "["
    "\x00-\x1f\x7f-\x9f"  # control characters, such as ESC, and line breaks
    "\u00ad\u180e\u200b\u2060-\u2064\ufeff"  # without width
    "\u2028\u2029"  # line and paragraph separator
    "\u202a-\u202e\u2066-\u206f"  # embeddings, overrides and isolates of text direction
    "\ufff9-\ufffb\ufffe\uffff"  # annotations, and code points that are no characters
    "\ud800-\udfff"  # surrogates
    "\U000e0000-\U000e007f"  # invisible copies of ASCII
    "]"
    # Joiners belong to Indic and Persian words and to emoji; elsewhere they hide.
    "|(?<![^\x00-\u02ff\u200c\u200d])[\u200c\u200d]"
)
#: The flags of England, Scotland and Wales are spelled with invisible letters.
_FLAG = re.compile("\U0001f3f4[\U000e0061-\U000e007a]{2,6}\U000e007f")
_NAMES = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}
_MARKDOWN = re.compile(
    r"[\\`*\[\]|~$]|(?<!\w)_|_(?!\w)|:(?=//)|(?<=\bwww)\.|^(?:[#=+-]|\d{1,9}(?=[.)](?:\s|$)))", re.IGNORECASE
)


def one_line(text: str) -> str:
    r"""A text for a terminal: every control character, line break or hiding character is written as ``\x1b``, ``\n``, ``\u202e``.

    Ordinary text of any script stays as it is. A text that was made harmless before does not change again.
    """
    return _escape(text, keep="")


def lines(text: str) -> str:
    """As :func:`one_line`, for a text of several lines that Headway wrote itself: line feeds and tabs stay."""
    return _escape(text, keep="\n\t")


def _escape(text: str, keep: str) -> str:
    if not _HIDDEN.search(text):
        return text
    flags = [range(*found.span()) for found in _FLAG.finditer(text)]

    def escape(found: re.Match[str]) -> str:
        character = found[0]
        if character in keep or any(found.start() in flag for flag in flags):
            return character
        code = ord(character)
        named = f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
        return _NAMES.get(character, named)

    return _HIDDEN.sub(escape, text)


def markdown(text: str) -> str:
    """A text on one line of a Markdown page, in a cell of a table too, with no markup, link, image or HTML of its own."""
    line = one_line(" ".join(text.split()))
    line = _MARKDOWN.sub(lambda found: found[0] + "\\" if found[0].isdigit() else "\\" + found[0], line)
    return line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
