"""A unigram tokenizer model that is the same after every fit.

Kudo, "Subword Regularization" (2018), but pieces are counted in the best segmentation instead of the expected one: counts are
integers, so neither the order of a sum nor the number of threads changes the result. The trainer of the tokenizers library
is not deterministic: it sums floats in the order of a hash table that is seeded anew in every process.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from tokenizers import Tokenizer, models, trainers

from headway.data.text.chunks import chunks

#: Candidates to begin with, as a multiple of the vocabulary size, and rounds in which they are reduced to that size.
CANDIDATES, ROUNDS = 3, 4
#: Fewest uses of a piece longer than a character. A classifier learns little from rarer pieces, and more from their parts.
MIN_USES = 20
MAX_CHARACTERS = 12  # of a piece


def learn(tokenizer: Tokenizer, texts: Sequence[str], vocabulary_size: int, special: list[str]) -> models.Unigram:
    """Learn a vocabulary of word pieces under which the texts are likely.

    Candidates come from byte-pair encoding on characters. Each round segments the texts into their most likely pieces,
    re-estimates the probabilities from the counts, and drops the least used pieces.

    The tokenizer's normalizer and pre-tokenizer define words; its model is overwritten. There are at most ``vocabulary_size``
    pieces, fewer if fewer are used often enough. The ``special`` ones are the first; the last of them is the unknown token.
    """
    characters = Counter[str]()
    for text in texts:
        characters.update(tokenizer.normalizer.normalize_str(text))
    repeated = [char for char, count in most_frequent(characters) if count > 1 and not char.isspace()]
    alphabet = set(repeated[: vocabulary_size // 2])
    tokenizer.model = models.BPE(unk_token=special[-1])
    trainer = trainers.BpeTrainer(
        vocab_size=len(special) + len(characters) + CANDIDATES * vocabulary_size,
        min_frequency=2,
        max_token_length=MAX_CHARACTERS,
        special_tokens=special,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    for left in reversed(range(ROUNDS)):
        size = int(vocabulary_size * CANDIDATES ** (left / ROUNDS)) - len(special)
        tokenizer.model = unigram_model(keep_most_used(count_uses(tokenizer, texts, special), alphabet, size), special)
    return unigram_model(count_uses(tokenizer, texts, special), special)


def count_uses(tokenizer: Tokenizer, texts: Sequence[str], special: list[str]) -> Counter[str]:
    """Count each piece in the most likely segmentation of the texts. Unused pieces have a count of 0."""
    counts = np.zeros(tokenizer.get_vocab_size(), dtype=np.int64)
    for chunk in chunks(texts):
        encodings = tokenizer.encode_batch_fast(chunk, add_special_tokens=False)
        counts += np.bincount([index for encoding in encodings for index in encoding.ids], minlength=len(counts))
    return Counter({piece: int(counts[index]) for piece, index in tokenizer.get_vocab().items() if piece not in special})


def keep_most_used(counts: Counter[str], alphabet: set[str], size: int) -> dict[str, int]:
    """The alphabet and the most used other pieces, at most ``size`` in total."""
    others = [(piece, count) for piece, count in most_frequent(counts) if count >= MIN_USES and piece not in alphabet]
    return {char: counts[char] for char in alphabet} | dict(others[: size - len(alphabet)])


def most_frequent(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    """Items by decreasing count; ties are sorted by code point."""
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def unigram_model(counts: Mapping[str, int], special: list[str]) -> models.Unigram:
    """A unigram model with log-probabilities proportional to the counts. An unused piece counts as half a use."""
    total = sum(counts.values()) or 1
    scored = [(piece, round(math.log(max(count, 0.5) / total), 6)) for piece, count in most_frequent(counts)]
    return models.Unigram([(name, 0.0) for name in special] + scored, unk_id=len(special) - 1, byte_fallback=False)
