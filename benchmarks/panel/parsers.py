"""Parsers of the files that contain the panel's texts: file content in, rows of (text, label) out. None of them reads a file."""

from __future__ import annotations

import gettext
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html.parser import HTMLParser

import yaml

Row = tuple[str, str]

#: White space between characters of scripts that have none, where a line was broken.
_BROKEN = re.compile(r"(?<=[\u3000-\u30ff\u4e00-\u9fff\uff00-\uffef])\s+(?=[\u3000-\u30ff\u4e00-\u9fff\uff00-\uffef])")
#: Part of the archive in front of a section's name.
_ARCHIVE = re.compile(r"(?:contrib|non-free|non-free-firmware)/")
#: References to issues in front of an entry of Python's changelog.
_ISSUE = re.compile(r"^(?:(?:gh|bpo)-\d+|Issue #\d+|(?:Patch|SF bug) #?\d+)(?:, (?:bpo-|gh-|#)\d+)*: ")

_RELEASE = re.compile(r"Release date: (\d{4}-\d{2}-\d{2})")


def one_line(text: str) -> str:
    """The text with every run of white space as one space, or as none between Chinese or Japanese characters."""
    return _BROKEN.sub("", " ".join(text.split()))


def ratings(content: str, bounds: Mapping[str, float]) -> Iterator[Row]:
    """Texts of a tab-separated file (id, mean rating, text) and the class of their rating.

    Args:
        content: of the file.
        bounds: the classes in ascending order, each with the rating that its members do not reach.
    """
    for line in content.splitlines():
        cells = line.split("\t", 2)
        if len(cells) == 3:
            rating = float(cells[1])
            yield one_line(cells[2]), next(name for name, bound in bounds.items() if rating < bound)


def fortunes(content: str, label: str) -> Iterator[Row]:
    """The entries of a fortune file, which are separated by lines of one per cent sign."""
    for entry in re.split(r"^%\s*$", content, flags=re.MULTILINE):
        text = one_line(entry)
        if text:
            yield text, label


def glosses(content: str) -> Iterator[Row]:
    """Definitions and examples in a WordNet data file; the class is the number of the lexicographer file (wndb(5))."""
    for line in content.splitlines():
        if line[:1].isdigit():
            synset, _, gloss = line.partition(" | ")
            yield one_line(gloss), synset.split(" ", 2)[1]


class NewsEntries(HTMLParser):
    """Entries of Python's changelog in HTML; the class is the section that an entry is in, such as Library.

    Entries are the items of the outer lists below a heading of level 3. A reference to an issue at the start is left out.

    Attributes:
        rows: the entries with their classes.
        dates: the release date of each row, such as 2023-02-07; "" if the changelog does not have it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[Row] = []
        self.dates: list[str] = []
        self._date = ""
        self._section, self._depth, self._is_heading = "", 0, False
        self._text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Enter a heading or an item."""
        if tag in ("h1", "h2"):
            self._date = ""
        if tag in ("h1", "h2", "h3"):
            self._section, self._is_heading = "", tag == "h3"
        elif tag == "li":
            self._depth += 1
            if self._depth == 1:
                self._text = []

    def handle_endtag(self, tag: str) -> None:
        """Leave a heading or an item; the outer item's text becomes a row."""
        if tag == "h3":
            self._is_heading = False
        elif tag == "li":
            self._depth -= 1
            text = _ISSUE.sub("", one_line("".join(self._text)))
            if self._depth == 0 and self._section and text:
                self.rows.append((text, self._section))
                self.dates.append(self._date)

    def handle_data(self, data: str) -> None:
        """Collect the text of a heading or an item."""
        if self._is_heading:
            self._section = one_line(self._section + data).rstrip("¶").strip()
        elif self._depth:
            self._text.append(data)
        elif found := _RELEASE.match(data):
            self._date = found[1]


def dated_python_news(content: str) -> list[tuple[str, str, str]]:
    """Entries of Python's changelog, their sections and their release dates."""
    parser = NewsEntries()
    parser.feed(content)
    return [
        (text, section, date)
        for (text, section), date in zip(parser.rows, parser.dates, strict=True)
        if section not in ("Navigation", "This Page", "Table of Contents")
    ]


def python_news(content: str) -> list[Row]:
    """Entries of Python's changelog and their sections."""
    return [(text, section) for text, section, _ in dated_python_news(content)]


def stanzas(content: str) -> Iterator[dict[str, str]]:
    """The stanzas of a Debian control file: fields by name, with the lines of a field joined by line feeds."""
    found: dict[str, str] = {}
    name = ""
    for line in content.splitlines():
        if not line.strip():
            if found:
                yield found
            found, name = {}, ""
        elif line[0] in " \t":
            found[name] = f"{found[name]}\n{line[1:]}"
        else:
            name, _, value = line.partition(":")
            found[name] = value.strip()
    if found:
        yield found


def descriptions(packages: Iterable[str], translations: Iterable[str], language: str) -> Iterator[Row]:
    """Descriptions of Debian packages and the sections of the archive that the packages are in.

    Args:
        packages: contents of package lists.
        translations: contents of lists of translated descriptions, of any language.
        language: "en" for the one-line descriptions in the package lists; others are whole translated descriptions.
    """
    sections: dict[str, str] = {}  # by hash of the English description
    for content in packages:
        for stanza in stanzas(content):
            section = _ARCHIVE.sub("", stanza["Section"])
            sections[stanza.get("Description-md5", "")] = section
            if language == "en":
                yield one_line(stanza["Description"]), section
    for content in translations:
        for stanza in stanzas(content):
            text = stanza.get(f"Description-{language}", "")
            found = sections.get(stanza["Description-md5"], "")
            if text and found:
                yield one_line(re.sub(r"^\.$", "", text, flags=re.MULTILINE)), found


def catalogue(content: bytes, label: str) -> Iterator[Row]:
    """The translations in a compiled message catalogue (.mo) that differ from the original message."""
    messages: dict[str | tuple[str, int], str] = vars(gettext.GNUTranslations(io.BytesIO(content)))["_catalog"]
    for key, translation in messages.items():
        original = key[0] if isinstance(key, tuple) else key
        if original and translation and translation != original:
            yield one_line(translation), label


def verses(content: str) -> Iterator[Row]:
    """Verses and the place of revelation of their chapter, in a JSON list of chapters."""
    for chapter in json.loads(content):
        for verse in chapter["verses"]:
            yield one_line(verse["text"]), chapter["type"]


def conversations(content: str) -> Iterator[Row]:
    """Utterances in a ChatterBot corpus file and the file's first category."""
    found = yaml.safe_load(content)
    topic = str(found["categories"][0])
    for conversation in found["conversations"]:
        for utterance in conversation:
            if isinstance(utterance, str):
                yield one_line(utterance), topic


def lines(content: str, label: str) -> Iterator[Row]:
    """One text per line."""
    for line in content.splitlines():
        if line.strip():
            yield one_line(line), label


def labelled(contents: Mapping[str, Sequence[str]]) -> Iterator[Row]:
    """Whole files, by class."""
    for label, texts in contents.items():
        for text in texts:
            yield text.strip(), label
