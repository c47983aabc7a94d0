"""Rows of any content, written in any format, are read back unchanged."""

import bz2
import csv
import gzip
import io
import json
import re

import hypothesis.strategies as st
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings

ANY = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
AWKWARD = st.text(st.sampled_from(list("\",;\t|\r\n '\\ab好é\0\u2028\u0085\ufeff")), max_size=12)
ROWS = st.lists(st.tuples(ANY | AWKWARD, ANY | AWKWARD), min_size=1, max_size=8)
PACKERS = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".zst": lambda data: pa.compress(data, "zstd", asbytes=True),
}
many = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])


@many
@given(
    rows=ROWS,
    delimiter=st.sampled_from(",;\t|"),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "gb18030"]),
    packing=st.sampled_from(list(PACKERS)),
    # With another end of lines, Python leaves a carriage return in a cell without quotes.
    style=st.sampled_from([(csv.QUOTE_ALL, "\n"), (csv.QUOTE_ALL, "\r"), (csv.QUOTE_MINIMAL, "\r\n")]),
)
# A label that is a quote, and one whose two lines both end in what looks like that label.
@example(rows=[("", '"'), ("", "\n\t")], delimiter="\t", encoding="utf-8", packing="", style=(csv.QUOTE_ALL, "\n"))
def test_what_the_csv_module_writes_is_read_back_equal(read_file, rows, delimiter, encoding, packing, style):
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter, quoting=style[0], lineterminator=style[1]).writerows([("text", "label"), *rows])
    content = PACKERS[packing](out.getvalue().encode(encoding))
    read = read_file(f"a.csv{packing}", content, encoding=encoding)
    assert read.rows == rows
    assert read.problems == {}
    assert read.manifest.files[0].delimiter == delimiter


@many
@given(rows=ROWS, array=st.booleans(), ascii_only=st.booleans())
def test_what_the_json_module_writes_is_read_back_equal(read_file, rows, array, ascii_only):
    values = [{"label": label, "text": text, "more": [text]} for text, label in rows]
    lines = [json.dumps(value, ensure_ascii=ascii_only) for value in values]
    content = f" [{', '.join(lines)}\n]\n" if array else "\n".join(lines)
    assert read_file("a.json", content, encoding="utf-8").rows == rows


@many
@given(lines=st.lists(st.text(st.sampled_from(list('",ab 1')), min_size=1, max_size=10).filter(str.strip), max_size=8))
def test_no_character_of_a_csv_is_lost(read_file, lines):
    read = read_file("a.csv", "\n".join(["text,label", "fine,1", *lines]))
    assert read.rows[0] == ("fine", "1")
    kept = "".join((text or "") + (label or "") for text, label in read.rows[1:])
    for letter in "ab1":
        assert kept.count(letter) == "".join(lines).count(letter)


@many
@given(
    lines=st.lists(st.text(st.sampled_from(list('"",,\r ')), max_size=6), min_size=1, max_size=12),
    readings=st.sampled_from([0, 1, 8]),
    longest=st.sampled_from([40, 1000]),
)
def test_every_line_of_a_csv_with_stray_quotes_is_in_exactly_one_row(read_file, lines, readings, longest):
    marked = [f"{marks[:3]}<{number}>{marks[3:]}" for number, marks in enumerate(lines)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("headway.data.sources.delimited.PARSED_AGAIN", readings)
        patch.setattr("headway.data.sources.delimited.LONGEST_CELL", longest)
        read = read_file("a.csv", "\n".join(["text,label", *marked]))
    found = re.findall(r"<\d+>", "".join(f"{text}{label}" for text, label in read.rows))
    assert found == [f"<{number}>" for number in range(len(lines))]


@many
@given(
    marks=st.lists(st.tuples(*[st.sampled_from(["", '"', ' "', '" ', "x"])] * 2), min_size=2, max_size=40),
    label_first=st.booleans(),
    delimiter=st.sampled_from(",\t"),
)
def test_no_row_of_a_table_holds_the_texts_of_two_lines(read_file, marks, label_first, delimiter):
    names = ("label", "text") if label_first else ("text", "label")
    rows = [
        {"text": f"{before}<{number}>{after}", "label": "yes" if number % 3 else "no"}
        for number, (before, after) in enumerate(marks)
    ]
    known = [{"text": f"fine {number}", "label": ("yes", "no")[number % 2]} for number in range(4)]
    lines = [delimiter.join(row[name] for name in names) for row in [*known, *rows]]
    read = read_file("a.csv", "\n".join([delimiter.join(names), *lines]))
    assert [re.findall(r"<\d+>", text) for text, _ in read.rows[4:]] == [[f"<{number}>"] for number in range(len(marks))]


@pytest.mark.parametrize("rows", [1, 10_000, 10_001])
def test_as_many_rows_are_read_as_were_written(read_file, rows):
    read = read_file("a.jsonl", '{"text": "x", "label": 1}\n' * rows)
    assert read.manifest.rows == len(read.rows) == rows
