"""Fitting a tokenizer: choosing its kind, its normalisation and its vocabulary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from headway.data.text.chunks import chunks
from headway.data.text.markup import MARKUP
from headway.data.text.scripts import script_counts, share_without_spaces
from headway.data.tokenization import unigram
from headway.data.tokenization.patterns import ACCENTS, SPACES, WORDS
from headway.data.tokenization.tokenizer import PADDING, PADDING_ID, UNKNOWN, UNKNOWN_ID
from headway.params import TokenizerParams

#: With ``kind: auto``, texts with at least this share of letters in scripts without spaces get a unigram tokenizer.
UNIGRAM_SHARE = 0.2
#: With ``kind: auto``, words give way to bpe if at least this share of the words in the training texts is too rare for the
#: vocabulary. Of the words in new texts a larger share is unknown, because some do not occur in the training texts at all.
BPE_SHARE = 0.08
#: Tokens of such a bpe tokenizer, at most.
BPE_VOCABULARY = 4_000
#: Characters that bpe and unigram are fitted on, and those that the share of unknown words is measured on.
MAX_CHARACTERS, MAX_MEASURED = 10_000_000, 1_000_000


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


def kind_of(tokenizer: Tokenizer) -> str:
    """The kind of a fitted tokenizer: word, bpe or unigram."""
    return {"WordLevel": "word", "BPE": "bpe", "Unigram": "unigram"}[type(tokenizer.model).__name__]


def fit(texts: Iterable[str], params: TokenizerParams, statistics: TextStatistics) -> Tokenizer:
    """Fit a tokenizer on texts, which can be iterated repeatedly, with their statistics.

    word: the most frequent words, separated by spaces and punctuation; every Chinese character is a word.
    bpe: byte-pair encoding of UTF-8 bytes; no text has unknown tokens, and decoding restores the normalised text.
    unigram: word pieces under which the texts are most likely; it needs no spaces and ignores ``min_frequency``.

    auto: unigram if enough letters are in scripts without spaces; else word, or bpe of at most ``BPE_VOCABULARY`` tokens if too
    many words are rare, as where texts are few and short or words have many forms. With word vectors it stays word, because
    few pieces of words have a vector. The texts are read up to three times.

    bpe and unigram are fitted on every k-th text, with the smallest k for which about ``MAX_CHARACTERS`` are read.
    """
    kind = params.kind
    if kind == "auto":
        kind = "unigram" if share_without_spaces(statistics.scripts) >= UNIGRAM_SHARE else "word"
    if kind == "word" and params.kind == "auto" and not params.word_vectors:
        repeated = _fit_words(texts, params.model_copy(update={"min_frequency": max(2, params.min_frequency)}))
        if unknown_share(repeated, _sample(texts, statistics, MAX_MEASURED)) >= BPE_SHARE:
            kind = "bpe"
            params = params.model_copy(update={"vocabulary_size": min(params.vocabulary_size, BPE_VOCABULARY)})
        elif params.min_frequency >= 2:
            return repeated
    if kind == "word":
        return _fit_words(texts, params)
    sample = _sample(texts, statistics, MAX_CHARACTERS)
    return _fit_bpe(sample, params) if kind == "bpe" else _fit_unigram(sample, params)


def unknown_share(tokenizer: Tokenizer, texts: Iterable[str]) -> float:
    """Share of unknown tokens in texts; 0 if they have no tokens."""
    tokens = unknown = 0
    for chunk in chunks(texts):
        for encoding in tokenizer.encode_batch_fast(chunk, add_special_tokens=False):
            tokens += len(encoding.ids)
            unknown += encoding.ids.count(UNKNOWN_ID)
    return unknown / max(1, tokens)


def _sample(texts: Iterable[str], statistics: TextStatistics, characters: int) -> Iterator[str]:
    """Every k-th text, with the smallest k that gives about ``characters`` characters or fewer."""
    return islice(texts, 0, None, max(1, -(-statistics.characters // characters)))


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
    spaces = [normalizers.Replace(Regex(SPACES), " "), normalizers.Strip(), normalizers.Prepend(" ")]
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
