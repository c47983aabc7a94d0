"""Which rows cannot be used and why, and which labels count as the same."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.data.identity import canonical_label
from headway.data.preparation.validation import BAD, REASONS, count_markup_noise, reasons, sort_labels


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
def test_a_text_without_visible_content_is_missing(text):
    assert reason_of(text) == "missing text"


@pytest.mark.parametrize(
    "text", ["x", "0", "None", "nan", "👍", "...", "好", "é", "<3", "a <b> c", "<sigh>", "<https://x.org>"]
)
def test_a_text_with_visible_content_is_not_missing(text):
    assert reason_of(text) == ""


@pytest.mark.parametrize("label", [None, "", " ", "\u200b"])
def test_a_blank_label_is_missing(label):
    assert reason_of("fine", label) == "missing label"


@pytest.mark.parametrize("label", ["<POS>", "<b>", "0", "👍", "&nbsp;"])
def test_any_other_label_is_accepted(label):
    assert reason_of("fine", label) == ""


def test_lengths_are_counted_in_characters_and_the_longest_allowed_is_allowed():
    assert reason_of("好" * 50) == ""
    assert reason_of("好" * 51) == "too long"
    assert reason_of("x" * 1_000_000, max_characters=2_000_000) == ""


def test_the_first_applicable_reason_is_reported():
    assert reason_of(None, None, "3 fields where 2 are expected") == "unreadable"
    assert reason_of("", "") == "missing text"
    assert reason_of("x" * 51, "") == "missing label"


def test_unlabelled_rows_need_no_label():
    batch = pa.record_batch({"text": pa.array(["fine", ""], pa.large_string()), "problem": ["", ""]})
    assert [REASONS[code] for code in reasons(batch, 50)] == ["", "missing text"]


def test_bad_rows_are_those_that_need_correction():
    assert BAD == (
        "unreadable",
        "missing text",
        "missing label",
        "too long",
        "conflicting labels",
        "missing time",
        "unreadable time",
    )


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
def test_markup_noise_is_counted_by_kind(text, kind):
    counts = count_markup_noise(pa.array([text, "plain text"]))
    assert {name for name, count in counts.items() if count} == {kind}
    assert counts[kind] == 1


@pytest.mark.parametrize("text", ["3 < 4 > 2", "I <3 you", "Q&A; more", "été à Ænima", "tab\tand\nline", "AT&T"])
def test_text_that_resembles_markup_noise_is_not_counted(text):
    assert not any(count_markup_noise(pa.array([text])).values())


def test_labels_that_look_the_same_count_as_the_same():
    assert canonical_label(" cafe\u0301\n") == canonical_label("café") == "café"
    assert canonical_label("A") != canonical_label("a")


@pytest.mark.parametrize(
    ("label", "plain"),
    [
        *(("pos\u200b", "pos"), ("\ufeff pos \u200e", "pos"), ("so\u00adso", "soso"), ("\u200d pos \u200c", "pos")),
        *(("1.0", "1"), ("-3.00", "-3"), ("1.5", "1.5"), ("007", "007"), ("1.0.0", "1.0.0"), ("v1.0", "v1.0")),
        *(("می\u200cخواهم", "می\u200cخواهم"), ("👩\u200d🚀", "👩\u200d🚀")),
    ],
)
def test_invisible_differences_do_not_make_another_label(label, plain):
    assert canonical_label(label) == plain


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
def test_numeric_labels_are_sorted_by_value_and_others_by_code_point(labels, ordered):
    assert sort_labels(labels) == ordered


@given(st.sets(st.text(min_size=1, max_size=3)), st.randoms())
def test_the_order_of_labels_does_not_depend_on_the_input_order(labels, random):
    shuffled = random.sample(sorted(labels), len(labels))
    assert sort_labels(set(shuffled)) == sort_labels(labels)
    assert sorted(sort_labels(labels)) == sorted(labels)
