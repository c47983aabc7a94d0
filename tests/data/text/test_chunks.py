"""Chunks keep all texts in order and respect both limits."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from headway.data.text.chunks import chunks


@given(st.lists(st.text(max_size=9)), st.integers(1, 5), st.integers(1, 20))
def test_chunks_are_the_texts_in_order_within_both_limits(texts, max_texts, max_characters):
    found = list(chunks(texts, max_texts, max_characters))
    assert [text for chunk in found for text in chunk] == texts
    for chunk in found:
        assert 1 <= len(chunk) <= max_texts
        assert len(chunk) == 1 or sum(map(len, chunk)) <= max_characters


@given(st.lists(st.text(max_size=9)), st.integers(1, 5))
def test_a_chunk_ends_only_where_the_next_text_would_exceed_a_limit(texts, max_texts):
    for one, other in pairwise(chunks(texts, max_texts, 20)):
        assert len(one) == max_texts or sum(map(len, one)) + len(other[0]) > 20
