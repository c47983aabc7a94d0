"""Texts in portions: none is lost, none out of order, and none of the portions is larger than it may be."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from headway.data.text.chunks import portions


@given(st.lists(st.text(max_size=9)), st.integers(1, 5), st.integers(1, 20))
def test_portions_are_the_texts_in_order_within_both_limits(texts, most_texts, most_characters):
    found = list(portions(texts, most_texts, most_characters))
    assert [text for portion in found for text in portion] == texts
    for portion in found:
        assert 1 <= len(portion) <= most_texts
        assert len(portion) == 1 or sum(map(len, portion)) <= most_characters


@given(st.lists(st.text(max_size=9)), st.integers(1, 5))
def test_no_two_neighbours_could_have_been_one(texts, most_texts):
    found = list(portions(texts, most_texts, 20))
    for one, other in pairwise(found):
        assert len(one) == most_texts or sum(map(len, one)) + len(other[0]) > 20
