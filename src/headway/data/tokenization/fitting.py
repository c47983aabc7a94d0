"""Fitting a tokenizer: which kind suits the texts, what its normaliser does, and its vocabulary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from headway.data.text.markup import MARKUP
from headway.data.text.scripts import FIRST, script_counts, share_without_spaces
from headway.data.tokenization import unigram
from headway.data.tokenization.tokenizer import PADDING, PADDING_ID, UNKNOWN, UNKNOWN_ID
from headway.params import TokenizerParams

UNIGRAM_SHARE = 0.2
MAX_CHARACTERS = 10_000_000

# Elsewhere, as in Thai, Devanagari or Japanese, such marks are vowels or other letters.
ACCENTS = r"(?<=[\p{Latin}\p{Greek}\p{Cyrillic}\p{Hebrew}\p{Arabic}])\p{Mn}+"
# A word with the space before it, a number, or a run of symbols; marks belong to words.
WORDS = r" ?[\p{L}\p{M}]+| ?\p{N}+| ?[^\s\p{L}\p{M}\p{N}]+| +"


@dataclass(frozen=True)
class Survey:
    """What texts are, before anything is fitted: how many characters, and how many of each script at their beginnings."""

    characters: int
    scripts: Counter[str]

    @property
    def share_without_spaces(self) -> float:
        """The share of letters whose script does without spaces."""
        return share_without_spaces(self.scripts)


def survey(texts: Iterable[str]) -> Survey:
    """Go through the texts once."""
    characters = 0

    def heads() -> Iterator[str]:
        nonlocal characters
        for text in texts:
            characters += len(text)
            yield text[:FIRST]

    return Survey(scripts=script_counts(heads()), characters=characters)


def kind_of(params: TokenizerParams, seen: Survey) -> str:
    """``auto`` made definite: unigram where a fifth of the letters or more are in scripts without spaces, else word."""
    if params.kind != "auto":
        return params.kind
    return "unigram" if seen.share_without_spaces >= UNIGRAM_SHARE else "word"


def fit(texts: Iterable[str], params: TokenizerParams, seen: Survey) -> Tokenizer:
    """A tokenizer fitted on texts.

    word: the most frequent words, which Unicode separates by spaces and punctuation; every Chinese character is a word.
    bpe: byte-pair encoding of UTF-8 bytes; nothing is unknown, and decoding gives the normalised text back.
    unigram: the pieces that make the texts likeliest, which needs no spaces. ``min_frequency`` does not apply to it.

    For bpe and unigram, of texts with more than ten million characters every k-th text is looked at, k as small as keeps
    within that.

    Args:
        texts: gone through once.
        seen: of the same texts.
    """
    kind = kind_of(params, seen)
    if kind == "word":
        return _fit_words(texts, params)
    some = islice(texts, 0, None, max(1, -(-seen.characters // MAX_CHARACTERS)))
    return _fit_bytes(some, params) if kind == "bpe" else _fit_pieces(some, params)


def _fit_words(texts: Iterable[str], params: TokenizerParams) -> Tokenizer:
    tokenizer = Tokenizer(models.WordLevel({PADDING: PADDING_ID, UNKNOWN: UNKNOWN_ID}, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Sequence(_normalizers(params, isolate_han=True))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordLevelTrainer(
        vocab_size=params.vocabulary_size,
        min_frequency=params.min_frequency,
        special_tokens=[PADDING, UNKNOWN],
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.encode_special_tokens = True
    return tokenizer


def _fit_bytes(texts: Iterable[str], params: TokenizerParams) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    # With a space before it the first word of a text is the same token as elsewhere.
    spaces = [normalizers.Replace(Regex(" {2,}"), " "), normalizers.Strip(), normalizers.Prepend(" ")]
    tokenizer.normalizer = normalizers.Sequence([*_normalizers(params), *spaces])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=params.vocabulary_size,
        min_frequency=params.min_frequency,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=[PADDING, UNKNOWN],
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.encode_special_tokens = True
    return tokenizer


def _fit_pieces(texts: Iterable[str], params: TokenizerParams) -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence(_normalizers(params))
    # Punctuation apart, lest ",我" become a piece; without spaces' marks, which these scripts have no use for.
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.encode_special_tokens = True
    tokenizer.model = unigram.learn(tokenizer, list(texts), params.vocabulary_size, [PADDING, UNKNOWN])
    tokenizer.add_special_tokens([PADDING, UNKNOWN])
    tokenizer.decoder = decoders.Fuse()
    return tokenizer


def _normalizers(params: TokenizerParams, isolate_han: bool = False) -> list[normalizers.Normalizer]:
    """What happens to a text before it is cut; all of it is kept in the tokenizer's JSON.

    HTML tags, comments and entities become spaces; then Unicode's normal form; control, format and private characters go
    and every white space is a space; lower case; accents go, which leaves a text in a composed form.
    """
    steps: list[normalizers.Normalizer] = []
    if params.strip_html:
        steps.append(normalizers.Replace(Regex(MARKUP), " "))
    if params.unicode != "none":
        steps.append({"nfkc": normalizers.NFKC, "nfc": normalizers.NFC}[params.unicode]())
    steps.append(
        normalizers.BertNormalizer(
            clean_text=True, handle_chinese_chars=isolate_han, strip_accents=False, lowercase=params.lowercase
        )
    )
    if params.strip_accents:
        steps += [normalizers.NFD(), normalizers.Replace(Regex(ACCENTS), ""), normalizers.NFC()]
    return steps
