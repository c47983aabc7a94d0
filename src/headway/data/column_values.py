"""What the values of a column look like: prose, numbers, yes or no, split names, or codes such as dates, links and hashes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean

from headway.data.text.words import UNSPACED, words

NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)(e[+-]?\d+)?%?", re.IGNORECASE)
#: Values that a machine wrote for machines.
CODES = re.compile(
    r"""
      (?: [a-z][a-z0-9+.-]*:// | www\. ) \S*                                # a link
    | [^\s@]+ @ [^\s@]+ \. [^\s@]+                                          # an address
    | \{? [0-9a-f]{8} -? (?: [0-9a-f]{4} -? ){3} [0-9a-f]{12} \}?           # a UUID
    | (?=\S*\d) [0-9a-f]{16,}                                               # a hash
    | (?: [a-z]: )? [/\\~] \S* | (?: [\w.-]+ [/\\] ){2,} \S*                # a path
    | <? (?: [\w.+-]+ @ [\w.-]+ ) >?                                        # the id of a message
    | (?=\S*\d) \S* [_/=-] \S*                                              # another code of letters and digits
    | [{\[] .* [}\]]                                                        # JSON, or a list or dictionary of Python
    | [\w-]+ \. (?: html?|txt|csv|json|pdf|png|jpe?g|wav|mp3|xml|docx?)     # a file
    """,
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)
_DATE_WORDS = (
    "mon tue wed thu fri sat sun monday tuesday wednesday thursday friday saturday sunday jan feb mar apr may jun jul aug "
    "sep sept oct nov dec january february march april june july august september october november december am pm utc gmt "
    "est edt cst cdt mst mdt pst pdt cet cest bst t z st nd rd th of 年 月 日 時 时 分 秒"
)
DATE_WORDS = frozenset(_DATE_WORDS.split())
DATE = re.compile(r"(?=.*\d)[\w\s:,./+\-()']{6,45}")
_YES_OR_NO = "0 1 true false yes no y n t f ja nein oui non si sí sim não да нет 是 否 はい いいえ"
YES_OR_NO = frozenset(_YES_OR_NO.split())
_SPLIT_NAMES = "train training test testing val valid validation dev eval evaluation trial holdout"
SPLIT_NAMES = frozenset(_SPLIT_NAMES.split())
MARKUP = re.compile(r"<[a-zA-Z/!][^<>]{0,500}>")
#: About two characters of scripts that are written without spaces make a word.
UNSPACED_CHARACTER = re.compile(f"[{UNSPACED}]")
DATE_WORD = re.compile(r"[^\W\d_]+")
MEASURED = 300  # values whose words are counted


@dataclass(frozen=True)
class ColumnValues:
    """The values of a column in a sample, "" where one is missing."""

    values: Sequence[str]

    @cached_property
    def present(self) -> list[str]:
        """Values that are not blank, without white space around them."""
        return [value.strip() for value in self.values if value.strip()]

    @cached_property
    def counts(self) -> Counter[str]:
        return Counter(self.present)

    @property
    def fill(self) -> float:
        """Share of the rows with a value."""
        return len(self.present) / len(self.values) if self.values else 0.0

    @property
    def distinct(self) -> int:
        return len(self.counts)

    @cached_property
    def some(self) -> list[str]:
        """Values from all over the sample."""
        return self.present[:: max(1, len(self.present) // MEASURED)]

    @cached_property
    def words(self) -> float:
        """Mean number of words per value."""
        return fmean(map(count_words, self.some)) if self.some else 0.0

    @cached_property
    def codes(self) -> float:
        """Share of the values that are dates, links, hashes, JSON and the like, numbers included."""
        return fmean(is_code(value) for value in self.some) if self.some else 0.0

    @property
    def is_numeric(self) -> bool:
        return bool(self.counts) and all(NUMBER.fullmatch(value) for value in self.counts)

    @property
    def has_fractions(self) -> bool:
        return self.is_numeric and any(not re.fullmatch(r"[+-]?\d+([.,]0*)?", value) for value in self.counts)

    @property
    def is_yes_or_no(self) -> bool:
        return 0 < self.distinct <= 2 and {value.lower().removesuffix(".0") for value in self.counts} <= YES_OR_NO

    @property
    def is_bit(self) -> bool:
        """Whether the values are 0 and 1."""
        return {value.removesuffix(".0") for value in self.counts} == {"0", "1"}

    @property
    def names_splits(self) -> bool:
        """Whether the values are names of splits, such as train and test."""
        return self.distinct > 1 and {value.lower() for value in self.counts} <= SPLIT_NAMES

    @cached_property
    def lists(self) -> float:
        """Share of the values that are lists."""
        return fmean(value.startswith("[") and value.endswith("]") for value in self.some) if self.some else 0.0

    @cached_property
    def markup(self) -> float:
        """Share of the values with HTML tags."""
        return fmean(bool(MARKUP.search(value)) for value in self.some) if self.some else 0.0


def count_words(value: str) -> float:
    """Number of words; two letters of a script without spaces count as one."""
    found = words(value.replace("_", " "))
    unspaced = sum(bool(UNSPACED_CHARACTER.match(word)) for word in found)
    spaced = sum(any(map(str.isalpha, word)) and not UNSPACED_CHARACTER.match(word) for word in found)
    return spaced + unspaced / 2


def is_code(value: str) -> bool:
    """Whether a value is a number, a date, a link, a hash, a path, JSON or the like."""
    return bool(NUMBER.fullmatch(value) or (len(value) < 5000 and CODES.fullmatch(value)) or is_date(value))


def is_date(value: str) -> bool:
    """Whether a value consists of digits, separators and words such as ``May``, ``Fri`` and ``UTC``."""
    return bool(DATE.fullmatch(value)) and all(word.lower() in DATE_WORDS for word in DATE_WORD.findall(value))


def is_twin(markup: Sequence[str], plain: Sequence[str]) -> bool:
    """Whether the first column is the second one in HTML: most words of the one are in the other, row by row."""
    shared = total = 0
    for tagged, other in list(zip(markup, plain, strict=True))[:MEASURED]:
        wanted = set(words(MARKUP.sub(" ", tagged)))
        shared += len(wanted & set(words(other)))
        total += len(wanted)
    return total > 0 and shared > 0.7 * total
