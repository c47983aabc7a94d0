"""``data.label_map`` renames, merges and drops labels in the form in which the pipeline compares them."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.data.identity import canonical_label
from headway.data.preparation.label_map import LabelMap
from headway.errors import HeadwayError

label = st.sampled_from(["a", "b", "c ", " c", "1", "1.0", "True", "true", "e\u0301", "é", "n/a"])


def test_labels_are_renamed_merged_and_dropped_and_the_others_stay():
    label_map = LabelMap({"Positive": "positive", "pos": "positive", "n/a": ""})
    assert [label_map(label) for label in ("Positive", "pos", "positive", "n/a", "negative", " pos\u00a0")] == [
        "positive",
        "positive",
        "positive",
        "",
        "negative",
        "positive",
    ]


def test_the_map_is_applied_once_so_that_labels_can_be_swapped():
    label_map = LabelMap({"0": "1", "1": "0"})
    assert (label_map("0"), label_map("1.0")) == ("1", "0")


@pytest.mark.parametrize("written", ["true", "True", "TRUE"])
def test_a_boolean_key_stands_for_every_way_to_write_it(written):
    assert LabelMap({"true": "yes"})(written) == "yes"


def test_an_exact_key_comes_before_a_boolean_one():
    assert LabelMap({"true": "yes", "True": "no"})("True") == "no"


@given(st.dictionaries(label, st.sampled_from(["x", "y", "a", ""]), max_size=4), st.lists(label, max_size=20))
def test_counts_are_those_of_a_plain_loop(entries, labels):
    try:
        label_map = LabelMap(entries)
    except HeadwayError:  # two spellings of one key
        return
    expected = Counter()
    for one in labels:
        keys = [key for key in entries if canonical_label(key) == canonical_label(one)]
        keys = keys or [key for key in entries if key == "true" and one == "True"]
        expected[entries[keys[0]] if keys else canonical_label(one)] += 1
    del expected[""]
    assert label_map.count(Counter(labels)) == expected
    used = {name: rows for name, (_, rows) in label_map.used(Counter(labels)).items()}
    assert used == Counter(canonical_label(one) for one in labels if canonical_label(one) in label_map)


def test_keys_that_no_row_has_are_reported_with_the_most_similar_label():
    label_map = LabelMap({"Postive": "good", "bad": "poor", "zzz": "", "true": "yes"})
    assert label_map.unused(["positive", " bad ", "TRUE", ""]) == {"Postive": "positive", "zzz": ""}


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"\u200b ": "x"}, "is blank, expected a label"),
        ({"1": "one", "1.0": "two"}, "the label '1' has two targets, 'one' and 'two'"),
    ],
)
def test_a_map_that_contradicts_itself_is_one_line(entries, message):
    with pytest.raises(HeadwayError, match=r"^data\.label_map: ") as raised:
        LabelMap(entries)
    assert message in str(raised.value)


def test_the_map_of_another_versions_params_is_read_leniently():
    assert LabelMap.from_tree({"data": {"label_map": {2: "two", True: "x", "a": None, "b": "c"}, "gone": 1}})("b") == "c"
    for tree in (None, {}, {"data": {}}, {"data": {"label_map": "text"}}, []):
        assert not LabelMap.from_tree(tree)
