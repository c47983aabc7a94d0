"""N-grams of whole words in texts of sub-words, held against a slow way of finding the words."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from headway.data.tokenization import fitting, tokenizer
from headway.data.tokenization.pieces import vocabulary_of
from headway.model.ngrams import NgramClassifier
from headway.model.words import LETTERS, NO_WORD, SYMBOLS, Pieces, word_ngrams
from headway.params import Params

#: Padding, an unknown token, a space alone, and pieces of words and of symbols with and without a space before them.
VOCABULARY = [
    b"",
    b"",
    b" ",
    b" film",
    b"film",
    b"s",
    b"ab",
    b"a",
    b"b",
    b" a",
    b"7",
    b"!",
    b" !",
    b"...",
    "é".encode(),
    b"\xc3",
]
PIECES = Pieces.of(VOCABULARY)
TEXTS = st.lists(st.integers(1, len(VOCABULARY) - 1), max_size=12)


def slow_words(text: list[int]) -> list[tuple[bytes, int, int]]:
    """The words of a text with their first and last token, one piece after the other."""
    words: list[tuple[bytes, int, int]] = []
    open_kind = NO_WORD
    for place, token in enumerate(text):
        piece = VOCABULARY[token]
        content = piece.removeprefix(b" ")
        kind = NO_WORD if not content else SYMBOLS if content in (b"!", b"...") else LETTERS
        if kind and kind == open_kind and not piece.startswith(b" "):
            content = words[-1][0] + content
            words[-1] = (content, words[-1][1], place)
        elif kind:
            words.append((content, place, place))
        open_kind = kind
    return words


def padded(texts: list[list[int]]) -> torch.Tensor:
    longest = max(map(len, texts), default=0)
    return torch.tensor([text + [0] * (longest - len(text)) for text in texts], dtype=torch.int64).reshape(
        len(texts), longest
    )


@given(st.lists(TEXTS, min_size=1, max_size=4), st.integers(1, 3))
def test_n_grams_of_words_are_those_that_a_slow_way_finds(texts: list[list[int]], max_words: int) -> None:
    found = word_ngrams(padded(texts), PIECES, max_words)
    expected = []
    for order in range(1, max_words + 1):
        for row, text in enumerate(texts):
            words = slow_words(text)
            for some in zip(*(words[start:] for start in range(order)), strict=False):
                expected.append((row, tuple(word for word, *_ in some), some[0][1], some[-1][2] - some[0][1] + 1))
    assert list(zip(found.rows.tolist(), found.starts.tolist(), found.lengths.tolist(), strict=True)) == [
        (row, start, length) for row, _, start, length in expected
    ]
    names: dict[int, tuple[bytes, ...]] = {}
    for key, (_, name, _, _) in zip(found.keys.tolist(), expected, strict=True):
        assert names.setdefault(key, name) == name  # one name for each hash …
    assert len(set(names.values())) == len(names)  # … and one hash for each name


def test_a_word_has_one_hash_however_it_was_cut() -> None:
    whole, cut, after_symbol = (word_ngrams(torch.tensor([ids]), PIECES, 1).keys for ids in ([4, 5], [3, 5], [11, 4, 5]))
    assert whole.tolist() == cut.tolist() == after_symbol[1:].tolist()
    ab = [word_ngrams(torch.tensor([ids]), PIECES, 1).keys.tolist() for ids in ([6], [7, 8], [9, 8])]
    assert ab[0] == ab[1] == ab[2]


def test_marks_belong_to_words() -> None:
    marks = ["ि", "्", "ா", "\u064e"]  # vowel signs of Hindi and Tamil, a virama, and a vowel of Arabic
    assert set(Pieces.of([mark.encode() for mark in marks]).kinds.tolist()) == {LETTERS}


def test_hashes_of_words_differ_from_those_of_tokens() -> None:
    model = NgramClassifier(0, 2, 3, 2)
    model.set_vocabulary([bytes([byte]) for byte in range(33, 120)])
    _, keys = model.occurrences(torch.arange(1, 80)[:, None])
    assert len(keys.unique()) == len(keys) == 2 * 79


def test_a_tokenizer_of_words_has_no_n_grams_of_words() -> None:
    model = NgramClassifier(0, 2, 3, 2)
    model.set_vocabulary(None)
    assert model.max_words == 0
    assert model.pieces is None


def test_without_n_grams_of_words_the_n_grams_of_tokens_are_left() -> None:
    model = NgramClassifier(0, 2, 2, 0)
    model.set_vocabulary(VOCABULARY)
    _, keys = model.occurrences(torch.tensor([[3, 5]]))
    assert len(keys) == 3


@pytest.mark.parametrize(
    "texts",
    [
        ["Not a bad film, at all!", "a (bad) film", "BAD films"],
        ["Плохой фильм!", "фильм (плохой)", "«Фильм»"],
        ["فيلم سيئ", "ليس فيلما سيئا"],
        ["अच्छी फ़िल्म", "यह फ़िल्म अच्छी नहीं है!"],
    ],
)
def test_words_of_a_fitted_tokenizer_are_found_again(texts: list[str], params: Params) -> None:
    knobs = params.tokenizer.model_copy(update={"kind": "bpe", "vocabulary_size": 300, "min_frequency": 1})
    fitted = fitting.fit(texts, knobs, fitting.measure(texts))
    vocabulary = vocabulary_of(fitted)
    assert vocabulary is not None
    encode = tokenizer.TextEncoder(fitted, 100)
    for text in texts:
        ids = [int(token) for token in encode([text])[0]]
        assert b"".join(vocabulary[token] for token in ids).decode().strip() == fitted.decode(ids).strip()
        found = word_ngrams(torch.tensor([ids]), Pieces.of(vocabulary), 1)
        spans = [
            b"".join(vocabulary[token] for token in ids[start : start + length]).decode().strip()
            for start, length in zip(found.starts.tolist(), found.lengths.tolist(), strict=True)
        ]
        plain = fitted.decode(ids)
        for symbol in "!,()«»":
            plain = plain.replace(symbol, f" {symbol} ")
        assert spans == plain.split()


def test_pieces_of_other_tokenizers_are_not_joined(params: Params) -> None:
    for kind, texts in (("word", ["a film", "a film"]), ("unigram", ["这部电影很好看", "电影不好看"])):
        knobs = params.tokenizer.model_copy(update={"kind": kind, "min_frequency": 1})
        assert vocabulary_of(fitting.fit(texts, knobs, fitting.measure(texts))) is None


def test_all_bytes_are_in_the_vocabulary(params: Params) -> None:
    knobs = params.tokenizer.model_copy(update={"kind": "bpe"})
    vocabulary = vocabulary_of(fitting.fit(["x y"] * 9, knobs, fitting.measure(["x y"])))
    assert vocabulary is not None
    single = {piece for piece in vocabulary if len(piece) == 1}
    assert single == {bytes([byte]) for byte in itertools.chain(range(256))}
