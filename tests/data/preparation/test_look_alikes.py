"""Labels that a person would read as the same are found, and the proposed map merges them; others are left alone."""

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.data.preparation import look_alikes as module
from headway.data.preparation.label_map import LabelMap
from headway.data.preparation.look_alikes import look_alikes, propose_map


@pytest.mark.parametrize(
    "alike",
    [
        ["Positive", "positive", "POSITIVE"],
        ["very good", "very  good", "very\u00a0good", "verygood"],
        ["５", "5"],
        ["ﬁne", "fine"],
        ["Straße", "STRASSE"],
        ["spam", "ѕраm", "SPAM"],  # the second one has three Cyrillic letters
        ["спам", "cпам"],  # the second one has a Latin letter
        ["ВЕРА", "вера", "BEPA"],  # alike through the first one
        ["ΟΚ", "ok"],
        ["IT", "ІТ", "it"],
        ["non-fiction", "non–fiction", "non‑fiction", "non−fiction"],
        ["don't", "don’t"],
        ["-1", "−1"],
    ],
)
def test_labels_that_differ_in_case_space_width_form_or_look_alike_characters_are_a_group(alike):
    assert look_alikes([*alike, "other"]) == [sorted(alike)]


@pytest.mark.parametrize(
    "different",
    [
        ["pos", "positive", "negative"],
        ["cafe", "café"],
        ["1", "l"],
        ["0", "o"],
        ["1 1", "11"],
        ["1", "+1", "-1"],
        ["中", "国"],
        ["спам", "spam"],
        ["g", "q"],
        ["true", "false"],
    ],
)
def test_labels_that_can_be_told_apart_are_no_group(different):
    assert look_alikes(different) == []


@given(st.lists(st.sampled_from(["a", "A", "а", "А", "B", "В", "в", "b", "x y", "xy", "5", "５", "c"]), unique=True))
def test_the_groups_are_the_connected_parts_of_all_pairs(labels):
    parts = {label: {label} for label in labels}
    for one, other in combinations(labels, 2):
        forms = [{module._folded(label), module._folded(module._in_latin(label))} for label in (one, other)]
        if forms[0] & forms[1]:
            joined = parts[one] | parts[other]
            parts |= dict.fromkeys(joined, joined)
    assert look_alikes(labels) == sorted(map(list, {tuple(sorted(part)) for part in parts.values() if len(part) > 1}))


def test_the_proposed_map_merges_into_the_most_frequent_label():
    rows = {"Positive": 20, "positive": 300, " positive": 5, "negative": 7, "NEGATIVE": 7, "n/a": 3}
    assert propose_map(rows) == {"Positive": "positive", "negative": "NEGATIVE"}
    assert look_alikes(LabelMap(propose_map(rows)).count(rows)) == []


def test_labels_that_a_person_maps_to_themselves_are_kept_apart():
    rows = {"Co": 5, "CO": 5, "co": 5}
    assert propose_map(rows, LabelMap({"Co": "Co"})) == {"co": "CO"}
    assert propose_map(rows, LabelMap({"Co": "Co", "co": "co"})) == {}
