"""Labels that a person would read as the same: they differ only in case, white space, Unicode form or look-alike characters."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Container, Iterable, Mapping
from functools import cache

from headway.data.identity import canonical_label

#: White space, unless it is between two digits.
_SPACE = re.compile(r"(?<!\d)\s+|\s+(?!\d)")


def look_alikes(labels: Iterable[str], named: Container[str] = ()) -> list[list[str]]:
    """The groups of two or more labels that look alike, sorted; two members may be alike through a third one only.

    Labels in ``named``, those that a person maps, are in no group: ``{Co: Co}`` keeps Co and CO apart.
    """
    names = sorted({canonical_label(label) for label in labels})
    group = {name: [name] for name in names}
    first_of_form: dict[str, str] = {}
    for name in names:
        for form in (_folded(name), _folded(_in_latin(name))):
            one, other = group[first_of_form.setdefault(form, name)], group[name]
            if one is not other:
                one += other
                group |= dict.fromkeys(other, one)
    found = [sorted(members) for name, members in group.items() if members[0] == name]
    others = ([name for name in members if name not in named] for members in found)
    return sorted(members for members in others if len(members) > 1)


def propose_map(rows: Mapping[str, int], named: Container[str] = ()) -> dict[str, str]:
    """A ``data.label_map`` that merges labels which look alike into the most frequent of them, from the rows of each label.

    For ``named``, see :func:`look_alikes`.
    """
    counts: dict[str, int] = {}
    for label, number in rows.items():
        counts[canonical_label(label)] = counts.get(canonical_label(label), 0) + number
    merged: dict[str, str] = {}
    for group in look_alikes(counts, named):
        best = min(group, key=lambda label: (-counts[label], label))
        merged |= {label: best for label in group if label != best}
    return merged


def _folded(label: str) -> str:
    """A label without differences of case, character width, compatibility forms and white space."""
    return _SPACE.sub("", unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", label).casefold()).strip())


def _in_latin(label: str) -> str:
    """A label whose letters of other scripts and whose dashes and quotes are replaced by ASCII characters that look the same."""
    return label if label.isascii() else "".join(map(_ascii_look_alike, unicodedata.normalize("NFKC", label)))


@cache
def _ascii_look_alike(character: str) -> str:
    """The ASCII character that looks like another one, by Unicode's table of confusables (UTS #39); else the character itself.

    Letters look like letters alone, so that no label is taken for a number. Letters of the Latin script stay as they are.
    """
    from confusable_homoglyphs import categories, confusables

    kind = unicodedata.category(character)
    if character.isascii() or kind[0] not in "LPS" or categories.alias(character) == "LATIN":
        return character
    if kind == "Pd":
        return "-"
    similar = [entry["c"] for entry in confusables.confusables_data.get(character, ())]
    chosen = [other for other in similar if len(other) == 1 and other.isascii() and other.isalpha() == (kind[0] == "L")]
    if not chosen:
        return character
    # The table takes a capital I for a small l.
    return "I" if chosen[0] == "l" and character.isupper() else str(chosen[0])
