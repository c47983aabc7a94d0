"""Counts with their noun, and lists that are cut short."""

from headway.phrases import counted, listed


def test_a_number_agrees_with_its_noun():
    assert [counted(number, "row") for number in (0, 1, 2500)] == ["0 rows", "1 row", "2,500 rows"]
    assert counted(2, "class", "classes") == "2 classes"


def test_a_long_list_ends_with_the_number_of_items_left_out():
    assert listed(["a", "b"], most=2) == "a, b"
    assert listed(["a", "b", "c"], most=2, separator="; ") == "a; b and 1 more"
    assert listed([str(n) for n in range(2000)], most=1) == "0 and 1,999 more"
    assert listed([], most=3) == ""
