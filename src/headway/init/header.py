"""Whether the first line of a CSV is a header, by what it says and by the rows below it."""

from __future__ import annotations

from collections.abc import Sequence

from headway.data.column_names import is_usual_name
from headway.data.column_values import ColumnValues, count_words, is_code
from headway.data.columns import Proposal
from headway.data.sampling import Sample
from headway.errors import HeadwayError
from headway.phrases import counted

NAME_WORDS = 3  # in the name of a column, at most; longer ones may be texts
CODES = 0.8  # share of codes, such as numbers and dates, in a column whose name would be one too


def require_header(header: Sequence[str], sample: Sample, proposal: Proposal | None, where: str) -> None:
    """Refuse a CSV whose first line looks like a row, with the options that read it.

    Args:
        header: the cells of the first line.
        proposal: the columns chosen if the first line is a header; None if none could be chosen.
    """
    evidence = _evidence(header, sample, proposal)
    if evidence:
        names = [f"column_{number}" for number in range(1, len(header) + 1)]
        if proposal:
            for name, chosen in (("text", proposal.text), ("label", proposal.label)):
                names[list(sample).index(chosen)] = name
        raise HeadwayError(
            f"{where}: the first line looks like a row, not a header: {evidence}; if it is a row, add --no-header --columns "
            f"{','.join(names)}; if it names the columns, add --header"
        )


def _evidence(header: Sequence[str], sample: Sample, proposal: Proposal | None) -> str:
    """Why the first line looks like a row; "" if it does not."""
    if list(header) == [str(number) for number in range(len(header))]:
        return ""  # which pandas writes if columns have no names
    columns = {name: ColumnValues(values) for name, values in sample.items()}
    coded = (name for name in header if name in columns and is_code(name) and not _is_short_name(name))
    codes = [name for name in coded if columns[name].codes > CODES]
    again = columns[proposal.label].counts.get(proposal.label.strip(), 0) if proposal else 0
    # A text can be as short as a name, with its words; a number and a label beside it tell.
    is_named = proposal is not None and _is_short_name(proposal.text) and not (codes and again)
    if codes and not is_named:
        return f"its value {codes[0][:40]!r} is like the values below it"
    if proposal is None:
        return ""
    text, label = proposal.text, proposal.label
    if again and not _is_short_name(text):
        return f"its value {label!r} occurs {counted(again, 'more time')} below"
    is_text = count_words(text) > NAME_WORDS and not text.rstrip().endswith(("?", ":"))
    if is_text and not any(map(_is_short_name, header)):
        return f"its value {text[:40]!r} is like the texts below it"
    return ""


def _is_short_name(name: str) -> bool:
    return 0 < count_words(name) <= NAME_WORDS and is_usual_name(name)
