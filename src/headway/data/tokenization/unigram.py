"""A unigram model of pieces of words, learned the same way every time.

Kudo, "Subword Regularization" (2018), with the best segmentation in place of the expected one: counts are whole numbers, so
neither the order of a sum nor the number of threads can change the outcome. The trainer in the tokenizers library adds up
floats in the order of a hash table that is seeded anew in every process.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from tokenizers import Tokenizer, models, trainers

from headway.data.text.chunks import portions

CANDIDATES = 3  # times the vocabulary's size
ROUNDS = 4
MIN_USES = 20  # of a piece longer than a character: rarer ones take from the others what a classifier could learn of them
MAX_CHARACTERS = 12  # of a piece


def learn(tokenizer: Tokenizer, texts: Sequence[str], vocabulary_size: int, special: list[str]) -> models.Unigram:
    """The pieces that give the texts a high likelihood, as a model for a tokenizer.

    Candidates come from merging frequent neighbours (byte-pair encoding on characters). In each round the texts are cut
    into the likeliest pieces, probabilities are counted anew, and the pieces that were used least are given up.

    Args:
        tokenizer: its normalizer and pre-tokenizer say what words are; its model is replaced.
        texts: what to learn from, gone through a few times.
        vocabulary_size: most pieces, special ones included; there are fewer if fewer are used often enough.
        special: names of the first pieces; the last of them stands for what no piece covers.
    """
    characters = Counter[str]()
    for text in texts:
        characters.update(tokenizer.normalizer.normalize_str(text))
    repeated = [char for char, count in by_use(characters) if count > 1 and not char.isspace()]
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
        tokenizer.model = model_of(most_used(uses(tokenizer, texts, special), alphabet, size), special)
    return model_of(uses(tokenizer, texts, special), special)


def uses(tokenizer: Tokenizer, texts: Sequence[str], special: list[str]) -> Counter[str]:
    """How often each piece occurs when the texts are cut; one that never does is there with 0."""
    counts = np.zeros(tokenizer.get_vocab_size(), dtype=np.int64)
    for portion in portions(texts):
        encodings = tokenizer.encode_batch_fast(portion, add_special_tokens=False)
        counts += np.bincount([index for encoding in encodings for index in encoding.ids], minlength=len(counts))
    return Counter({piece: int(counts[index]) for piece, index in tokenizer.get_vocab().items() if piece not in special})


def most_used(counts: Counter[str], alphabet: set[str], size: int) -> dict[str, int]:
    """The alphabet and the most used other pieces, ``size`` in all at most."""
    others = [(piece, count) for piece, count in by_use(counts) if count >= MIN_USES and piece not in alphabet]
    return {char: counts[char] for char in alphabet} | dict(others[: size - len(alphabet)])


def by_use(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    """Most used first; ties in the order of code points."""
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def model_of(counts: Mapping[str, int], special: list[str]) -> models.Unigram:
    """A unigram model with the counts' log-probabilities; a piece that was never used counts half."""
    total = sum(counts.values()) or 1
    scored = [(piece, round(math.log(max(count, 0.5) / total), 6)) for piece, count in by_use(counts)]
    return models.Unigram([(name, 0.0) for name in special] + scored, unk_id=len(special) - 1, byte_fallback=False)
