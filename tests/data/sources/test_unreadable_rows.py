"""A row that cannot be read is reported with its number and the reason, and costs no other row."""

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headway.data.sources import delimited
from tests.data.sources.writers import pairs_of


def test_a_row_with_the_wrong_number_of_fields_is_reported_in_its_place(read_file):
    read = read_file("a.csv", 'text,label\nfine,1\ngood, really,1\n\n"two\nlines",0\nalone\nend,2\n')
    assert read.rows == [("fine", "1"), ("good, really,1", None), ("two\nlines", "0"), ("alone", None), ("end", "2")]
    assert read.problems == {2: "expected 2 fields, found 3", 4: "expected 2 fields, found 1"}
    assert read.manifest.rows == 5
    assert read.manifest.unreadable == 2
    assert read.manifest.label_counts == {"0": 1, "1": 1, "2": 1}


def test_an_unquoted_carriage_return_costs_only_its_row(read_file):
    read = read_file("a.csv", "label,text\n1,fine\r\n0,dull\rand long\n1,end\n")
    assert read.rows == [("fine", "1"), ("0,dull\rand long", None), ("end", "1")]
    assert read.problems == {2: "a carriage return in a cell without quotes"}


def test_invalid_bytes_cost_only_their_row(read_file):
    read = read_file(
        "a.csv", b"id,text,label\n" + b"\xff,fine,1\n" * 200_000 + b"x,caf\xe9,1\nx,dull,\xe9\n", encoding="utf-8"
    )
    assert read.problems == {200_001: "the text is not valid utf-8", 200_002: "the label is not valid utf-8"}
    assert read.rows[-2:] == [("caf\ufffd", None), ("dull", None)]
    assert read.rows[0] == ("fine", "1")


@pytest.mark.parametrize(
    ("rest", "problem", "rescued"),
    [
        ('"dull,0\nodd,1\n', "a quote is opened and never closed", [("odd", "1")]),
        ('odd,"1\ndull,0\n', "a quote is opened and never closed", [("dull", "0")]),
        ('"dull,0\n\n"two\nlines",1\n', "text follows a closing quote", [("two\nlines", "1")]),
        ('"odd,0\n"dull, but good",1\nend,2\n', "text follows a closing quote", [("dull, but good", "1"), ("end", "2")]),
        ('"he said "no", and left",1\nend,2\n', "text follows a closing quote", [("end", "2")]),
    ],
)
def test_an_unclosed_quote_costs_only_its_line(read_file, rest, problem, rescued):
    read = read_file("a.csv", 'text,label\n"fine, all in all",1\n' + rest)
    assert list(read.problems) == [2]
    assert read.problems[2].startswith(problem)
    assert read.rows[1:] == [(rest.split("\n")[0], None), *rescued]


def test_one_stray_quote_in_a_real_file_costs_one_row(read_file, sentences):
    before, after = sentences[:500].to_csv(index=False), sentences[500:].to_csv(index=False, header=False)
    read = read_file("a.csv", f'{before}"not my kind of film,negative\n{after}')
    assert list(read.problems) == [501]
    assert [*read.rows[:500], *read.rows[501:]] == pairs_of(sentences)


@pytest.mark.parametrize("layout", [("text", "label"), ("label", "text"), ("id", "text", "label")])
@pytest.mark.parametrize("delimiter", ["\t", ","])
def test_pairs_of_stray_quotes_do_not_join_rows(read_file, sentences, layout, delimiter):
    texts = [text.replace('"', "").replace(",", ";") for text in sentences["text"][:300]]
    texts = ['"' + text if number % 30 == 4 else text for number, text in enumerate(texts)]
    texts = [text + '"' if number % 30 == 11 else text for number, text in enumerate(texts)]
    rows = [{"id": str(number), "text": text, "label": ("good", "bad")[number % 7 > 2]} for number, text in enumerate(texts)]
    lines = [delimiter.join(row[name] for name in layout) for row in rows]
    read = read_file("a.csv", "\n".join([delimiter.join(layout), *lines]))
    assert read.rows == [(row["text"], row["label"]) for row in rows]
    assert read.problems == {}


def test_a_pair_of_stray_quotes_around_a_broken_line_costs_only_that_line(read_file):
    fine = ["fine,1", "dull,0"] * 10
    read = read_file("a.csv", "\n".join(["text,label", *fine, '"oops,1', "a,b,1", *fine, 'so so",0', "end,1"]))
    assert [text for text, _ in read.rows[20:23]] == ['"oops', "a,b,1", "fine"]
    assert [text for text, _ in read.rows[-2:]] == ['so so"', "end"]
    assert read.problems == {22: "expected 2 fields, found 3"}
    odd = read_file("a.csv", "\n".join(["text,label", *fine, '"oops,x', *fine, 'so so",0', "end,1"]))
    assert odd.problems == {21: "a quote spans rows"}
    assert len(odd.rows) == 43


def test_texts_with_line_breaks_stay_whole_wherever_the_label_column_is(read_file):
    texts = [
        "well, it\nwas",
        "bad,\n\nreally\nbad, yes",
        'He said: "no",\nand left',
        "tab\tand\nline",
        "1\n2,3\n4",
        "1,x\n0",
    ]
    for columns in (["text", "label"], ["label", "text"], ["label", "text", "id"]):
        frame = pd.DataFrame({"text": texts * 4, "label": [1, 0] * 12, "id": range(24)})[columns]
        for delimiter in ",\t":
            read = read_file("a.csv", frame.to_csv(index=False, sep=delimiter))
            assert [text for text, _ in read.rows] == texts * 4
            assert read.problems == {}


def test_quotes_can_be_ordinary_characters(read_file):
    lines = ['"Great" film\t1', '"dull\t0', '"all of it"\t1', 'so "so"\t0']
    content = "\n".join(["text\tlabel", *lines])
    assert next(iter(read_file("a.tsv", content).problems.values())).startswith("text follows a closing quote")
    read = read_file("a.tsv", content, quoting="none")
    assert read.rows == [tuple(line.split("\t")) for line in lines]
    assert read.problems == {}


def test_an_unclosed_quote_holds_no_more_than_the_longest_cell_in_memory(read_file, monkeypatch):
    monkeypatch.setattr("headway.data.sources.delimited.LONGEST_CELL", 5_000)
    held = []
    give_back = delimited._ReplayedLines.give_back

    def noted(lines):
        held.append(len("".join(lines.of_row)))
        return give_back(lines)

    monkeypatch.setattr(delimited._ReplayedLines, "give_back", noted)
    read = read_file("a.csv", 'text,label\n"oops,1\n' + "fine,1\n" * 2_000 + '"oops,1\na","b\n' + "fine,1\n" * 2_000)
    assert list(read.problems) == [1, 2002, 2003]
    assert len(read.rows) == 4_003
    assert set(read.rows[1:2001] + read.rows[2003:]) == {("fine", "1")}
    assert max(held) < 5_010


def test_a_file_full_of_stray_quotes_is_not_parsed_over_and_over(read_file, monkeypatch):
    taken = []
    following = delimited._ReplayedLines.__next__
    monkeypatch.setattr(delimited._ReplayedLines, "__next__", lambda lines: taken.append(1) or following(lines))
    read = read_file("a.csv", "text,label\n" + 'y","z\n' * 2_000)
    assert list(read.problems) == list(range(1, 2_001))
    assert len(taken) < (2_000 + delimited.ROWS_LEARNT) * (delimited.PARSED_AGAIN + 4)


def test_a_line_that_is_not_a_json_object_is_reported_in_its_place(read_file):
    lines = [
        '{"text": "fine", "label": 1}',
        "{'text': 1}",
        "[1, 2]",
        "",
        '{"text": ["a"], "label": 1}',
        '{"text": "a", "label": {}}',
    ]
    lines += ['{"text": "\\ud800", "label": 1}', "[" * 100_000, '{"text": "du']
    read = read_file("a.jsonl", "\n".join(lines))
    assert list(read.problems) == [2, 3, 4, 5, 6, 7, 8]
    assert read.problems[2].startswith("not valid JSON: Expecting property name")
    assert read.problems[3] == "not a JSON object"
    assert read.problems[4] == "the text is a list, expected a string"
    assert read.problems[5] == "the label is a dict, expected a string"
    assert read.problems[6] == "the text is not valid utf-8"
    assert read.rows[7] == ('{"text": "du', None)


def test_lists_and_invalid_strings_in_parquet_are_reported_in_their_place(read_file, tmp_path):
    invalid = pa.array([b"fine", b"caf\xe9", None]).view(pa.binary()).cast(pa.binary()).view(pa.string())
    pq.write_table(pa.table({"text": invalid, "label": [1, 2, 3]}), tmp_path / "b.parquet")
    pq.write_table(pa.table({"text": invalid, "label": [[1, 2], [2], [3, 4]]}), tmp_path / "a.parquet")
    assert list(read_file("a.parquet").problems) == [1, 2, 3]
    read = read_file("b.parquet")
    assert read.problems == {2: "the text is not valid utf-8"}
    assert read.rows == [("fine", "1"), ("caf\ufffd", None), (None, "3")]
