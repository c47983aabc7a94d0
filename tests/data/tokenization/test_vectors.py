"""Pretrained word vectors: each token gets the vector of its word, and an unusable file is a one-line error."""

import bz2
import gzip

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.data.tokenization.fitting import fit, measure
from headway.data.tokenization.vectors import FILE, load, read
from headway.errors import HeadwayError
from tests.real_texts import english

WORDS = ["film", "good", "plot", "wretched"]
FILM = [0.25, -1.5, 3e-3]


@pytest.fixture(scope="module", params=["word", "bpe", "unigram"])
def fitted(request, params):
    texts = [*english(300)[0], "good film plot " * 50]
    knobs = params.tokenizer.model_copy(update={"kind": request.param, "vocabulary_size": 2000})
    return fit(texts, knobs, measure(texts))


def line(word, numbers):
    return " ".join([word, *map(str, numbers)]) + "\n"


def written(path, text, opened=open):
    with opened(path, "wt", encoding="utf-8") as file:
        file.write(text)
    return path


def vector_of(vectors, fitted, word):
    """The vector of the token of a word at the beginning of a text."""
    (token,) = fitted.encode(word).ids
    return vectors[token]


@pytest.mark.parametrize("header", ["", "2 3\n"])
@pytest.mark.parametrize(("name", "opened"), [("v.txt", open), ("v.vec.gz", gzip.open), ("v.txt.bz2", bz2.open)])
def test_a_token_has_the_vector_of_the_word_that_it_decodes_to(tmp_path, fitted, header, name, opened):
    text = header + line("film", FILM) + line("xyzzyx", [9, 9, 9]) + line("good", [1, 2, 3])
    vectors = read(written(tmp_path / name, text, opened), fitted)
    assert vectors.dtype == np.float32
    assert vectors.shape == (fitted.get_vocab_size(), 3)
    assert vector_of(vectors, fitted, "film") == pytest.approx(FILM)
    assert vector_of(vectors, fitted, "good") == pytest.approx([1, 2, 3])
    words_with_vectors = {fitted.decode([token]).strip() for token in np.flatnonzero(vectors.any(axis=1))}
    assert words_with_vectors == {"film", "good"}  # and nothing else has any


@given(st.lists(st.lists(st.floats(-1e6, 1e6, width=32), min_size=2, max_size=2), min_size=1, max_size=4))
def test_numbers_are_read_as_they_were_written(tmp_path_factory, fitted, numbers):
    words = dict(zip(WORDS, numbers, strict=False))
    path = written(tmp_path_factory.mktemp("vectors") / "v.txt", "".join(line(*pair) for pair in words.items()))
    vectors = read(path, fitted)
    np.testing.assert_array_equal(vector_of(vectors, fitted, "film"), np.array(words["film"], np.float32))


def test_the_first_line_of_a_word_counts_and_words_with_a_space_are_skipped(tmp_path, fitted):
    text = line("good", [1, 2]) + line("film", [3, 4]) + line("film", [5, 6]) + line("plot of", [7, 8])
    vectors = read(written(tmp_path / "v.txt", text), fitted)
    assert vector_of(vectors, fitted, "film").tolist() == [3, 4]
    assert not vector_of(vectors, fitted, "plot").any()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("film 1 2\ngood 1\n", "line 2: expected a word and 2 numbers"),
        ("film 1 2\ngood 1 two\n", "line 2: expected a word and 2 numbers"),
        ("film 1 2\ngood 1 nan\n", "line 2: expected a word and 2 numbers"),
        ("text,label\nfine,1\n", "line 1: expected a word and its numbers"),
        ("", "contains none of the"),
        ("кино 1 2\n", "contains none of the"),
    ],
)
def test_a_file_in_another_format_is_a_one_line_error(tmp_path, fitted, text, message):
    with pytest.raises(HeadwayError, match=message) as caught:
        read(written(tmp_path / "v.txt", text), fitted)
    assert str(tmp_path / "v.txt") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_or_truncated_file_is_a_one_line_error(tmp_path, fitted):
    with pytest.raises(HeadwayError, match=r"no such file, although tokenizer\.word_vectors"):
        read(tmp_path / "none.txt", fitted)
    whole = gzip.compress("".join(line(word, np.random.rand(50)) for word in WORDS * 20).encode())
    (tmp_path / "cut.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(HeadwayError, match="cannot be read"):
        read(tmp_path / "cut.gz", fitted)


def test_a_folder_without_vectors_has_none(tmp_path):
    assert load(tmp_path) is None
    np.save(tmp_path / FILE, np.eye(3, dtype=np.float32))
    assert load(tmp_path).tolist() == np.eye(3).tolist()
