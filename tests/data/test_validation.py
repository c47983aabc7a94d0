"""Which rows cannot be used and why, and which labels are one."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.data.preparation.validation import BAD, REASONS, debris, in_order, plain_label, reasons


def reason_of(text, label="good", problem="", max_characters=50):
    batch = pa.record_batch(
        {
            "text": pa.array([text], pa.large_string()),
            "label": pa.array([label], pa.string()),
            "problem": pa.array([problem], pa.string()),
        }
    )
    return REASONS[reasons(batch, max_characters)[0]]


@pytest.mark.parametrize(
    "text", [None, "", "  \n\t", "\u200b\ufeff", "\u3000", "\x00\x01", "<br /><br/>", "&nbsp; <p></p>", "\u2028"]
)
def test_a_text_without_anything_to_read_is_missing(text):
    assert reason_of(text) == "missing text"


@pytest.mark.parametrize(
    "text", ["x", "0", "None", "nan", "👍", "...", "好", "é", "<3", "a <b> c", "<sigh>", "<https://x.org>"]
)
def test_a_text_with_anything_to_read_is_not(text):
    assert reason_of(text) == ""


@pytest.mark.parametrize("label", [None, "", " ", "\u200b"])
def test_a_blank_label_is_missing(label):
    assert reason_of("fine", label) == "missing label"


@pytest.mark.parametrize("label", ["<POS>", "<b>", "0", "👍", "&nbsp;"])
def test_any_other_label_is_one(label):
    assert reason_of("fine", label) == ""


def test_lengths_are_counted_in_characters_and_the_longest_allowed_is_allowed():
    assert reason_of("好" * 50) == ""
    assert reason_of("好" * 51) == "too long"
    assert reason_of("x" * 1_000_000, max_characters=2_000_000) == ""


def test_the_first_reason_in_the_list_is_told():
    assert reason_of(None, None, "3 fields where 2 are expected") == "unreadable"
    assert reason_of("", "") == "missing text"
    assert reason_of("x" * 51, "") == "missing label"


def test_unlabelled_rows_need_no_label():
    batch = pa.record_batch({"text": pa.array(["fine", ""], pa.large_string()), "problem": ["", ""]})
    assert [REASONS[code] for code in reasons(batch, 50)] == ["", "missing text"]


def test_bad_rows_are_those_that_somebody_has_to_mend():
    assert BAD == ("unreadable", "missing text", "missing label", "too long", "conflicting labels")


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("so<br />good", "html"),
        ("R&amp;B &#39;n more", "html"),
        ("bell\x07", "control_characters"),
        ("cafÃ©", "mojibake"),
        ("itâ€™s", "mojibake"),
        ("lost \ufffd", "mojibake"),
    ],
)
def test_debris_is_counted_by_kind(text, kind):
    assert debris(pa.array([text, "plain text"])) == {name: int(name == kind) for name in debris(pa.array(["x"]))}


@pytest.mark.parametrize("text", ["3 < 4 > 2", "I <3 you", "Q&A; more", "été à Ænima", "tab\tand\nline", "AT&T"])
def test_what_looks_like_debris_and_is_none_is_not_counted(text):
    assert not any(debris(pa.array([text])).values())


def test_labels_that_look_the_same_are_the_same():
    assert plain_label(" cafe\u0301\n") == plain_label("café") == "café"
    assert plain_label("A") != plain_label("a")


@pytest.mark.parametrize(
    ("label", "plain"),
    [
        *(("pos\u200b", "pos"), ("\ufeff pos \u200e", "pos"), ("so\u00adso", "soso"), ("\u200d pos \u200c", "pos")),
        *(("1.0", "1"), ("-3.00", "-3"), ("1.5", "1.5"), ("007", "007"), ("1.0.0", "1.0.0"), ("v1.0", "v1.0")),
        *(("می\u200cخواهم", "می\u200cخواهم"), ("👩\u200d🚀", "👩\u200d🚀")),
    ],
)
def test_what_nobody_sees_makes_no_other_label(label, plain):
    assert plain_label(label) == plain


@pytest.mark.parametrize(
    ("labels", "ordered"),
    [
        ({"10", "9", "1"}, ["1", "9", "10"]),
        ({"-1", "0", "1"}, ["-1", "0", "1"]),
        ({"0.5", "10", "2"}, ["0.5", "2", "10"]),
        ({"b", "a", "10"}, ["10", "a", "b"]),
        ({"nan", "2", "10"}, ["10", "2", "nan"]),
        ({"坏", "好"}, ["坏", "好"]),
    ],
)
def test_labels_are_sorted_as_people_would(labels, ordered):
    assert in_order(labels) == ordered


@given(st.sets(st.text(min_size=1, max_size=3)), st.randoms())
def test_the_order_of_labels_does_not_depend_on_how_they_come(labels, random):
    shuffled = random.sample(sorted(labels), len(labels))
    assert in_order(set(shuffled)) == in_order(labels)
    assert sorted(in_order(labels)) == sorted(labels)
