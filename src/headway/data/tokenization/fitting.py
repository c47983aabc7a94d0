"""Fitting a tokenizer: choosing its kind, its normalisation and its vocabulary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from headway.data.text.chunks import chunks
from headway.data.text.markup import MARKUP
from headway.data.text.scripts import script_counts, share_without_spaces
from headway.data.tokenization import unigram
from headway.data.tokenization.tokenizer import PADDING, PADDING_ID, UNKNOWN, UNKNOWN_ID
from headway.params import TokenizerParams

#: With ``kind: auto``, texts with at least this share of letters in scripts without spaces get a unigram tokenizer.
UNIGRAM_SHARE = 0.2
#: Characters that bpe and unigram are fitted on.
MAX_CHARACTERS = 10_000_000

# Combining marks of these scripts only: in others, such as Thai, Devanagari or Japanese, marks are vowels or other letters.
ACCENTS = r"(?<=[\p{Latin}\p{Greek}\p{Cyrillic}\p{Hebrew}\p{Arabic}])\p{Mn}+"
# A word, a number or a run of symbols, each with the space before it. Combining marks belong to words.
WORDS = r" ?[\p{L}\p{M}]+| ?\p{N}+| ?[^\s\p{L}\p{M}\p{N}]+| +"


@dataclass(frozen=True)
class TextStatistics:
    """Statistics that decide how a tokenizer is fitted."""

    characters: int  # total length of the texts
    scripts: Counter[str]  # characters by script, counted at the beginning of each text


def measure(texts: Iterable[str]) -> TextStatistics:
    """Compute the statistics of texts, iterating over them once."""
    characters, scripts = 0, Counter[str]()
    for chunk in chunks(texts):
        characters += sum(map(len, chunk))
        scripts += script_counts(chunk)
    return TextStatistics(characters, scripts)


def choose_kind(params: TokenizerParams, statistics: TextStatistics) -> str:
    """The tokenizer's kind: ``params.kind``, or for ``auto``, unigram if enough letters are in scripts without spaces."""
    if params.kind != "auto":
        return params.kind
    return "unigram" if share_without_spaces(statistics.scripts) >= UNIGRAM_SHARE else "word"


def fit(texts: Iterable[str], params: TokenizerParams, statistics: TextStatistics) -> Tokenizer:
    """Fit a tokenizer on texts, iterated over once, with their statistics.

    word: the most frequent words, separated by spaces and punctuation; every Chinese character is a word.
    bpe: byte-pair encoding of UTF-8 bytes; no text has unknown tokens, and decoding restores the normalised text.
    unigram: word pieces under which the texts are most likely; it needs no spaces and ignores ``min_frequency``.

    bpe and unigram are fitted on every k-th text, with the smallest k for which about ``MAX_CHARACTERS`` are read.
    """
    kind = choose_kind(params, statistics)
    if kind == "word":
        return _fit_words(texts, params)
    sample = islice(texts, 0, None, max(1, -(-statistics.characters // MAX_CHARACTERS)))
    return _fit_bpe(sample, params) if kind == "bpe" else _fit_unigram(sample, params)


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


def _fit_bpe(texts: Iterable[str], params: TokenizerParams) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    # With a space before it, the first word of a text is the same token as elsewhere.
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


def _fit_unigram(texts: Iterable[str], params: TokenizerParams) -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence(_normalizers(params))
    # Separates punctuation, so that ",我" cannot become a piece, and drops spaces, which mean little in these scripts.
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.encode_special_tokens = True
    tokenizer.model = unigram.learn(tokenizer, list(texts), params.vocabulary_size, [PADDING, UNKNOWN])
    tokenizer.add_special_tokens([PADDING, UNKNOWN])
    tokenizer.decoder = decoders.Fuse()
    return tokenizer


def _normalizers(params: TokenizerParams, isolate_han: bool = False) -> list[normalizers.Normalizer]:
    """The normalisation steps, which are saved in the tokenizer's JSON.

    In order: HTML tags, comments and entities become spaces; Unicode normal form; control, format and private characters are
    removed and all white space becomes spaces; lower case; accents are removed, which leaves the text in composed form.
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
