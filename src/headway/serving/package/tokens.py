"""A package's tokenizer: it is given to the tokenizers library only if it is one that Headway writes.

The library runs whatever regular expressions a file holds, without a limit of time, and aborts on some inconsistent files.
So all of the file but its vocabulary must equal what Headway writes, and the vocabulary must be complete.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from headway.data.text.markup import MARKUP
from headway.data.tokenization import pieces, subwords, tokenizer
from headway.data.tokenization.patterns import ACCENTS, SPACES, WORDS
from headway.data.tokenization.subwords import SubwordEncoder
from headway.data.tokenization.tokenizer import PADDING, PADDING_ID, UNKNOWN, UNKNOWN_ID
from headway.errors import HeadwayError, first_line
from headway.serving.package.config import MAX_BYTES, Encoder, read_json, require_file

#: Regular expressions in the tokenizers of every format that is read, and what replaces their matches.
REPLACEMENTS = ((MARKUP, " "), (ACCENTS, ""), (SPACES, " "))
#: Smallest logarithm of a probability in a unigram vocabulary.
MIN_SCORE = -1e6

SPECIAL = [
    {
        "id": index,
        "content": name,
        "special": True,
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
    }
    for name, index in ((PADDING, PADDING_ID), (UNKNOWN, UNKNOWN_ID))
]
STEPS: list[dict[str, Any]] = [
    *({"type": "Replace", "pattern": {"Regex": regex}, "content": content} for regex, content in REPLACEMENTS),
    *({"type": form} for form in ("NFC", "NFD", "NFKC")),
    *(
        {
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": han,
            "strip_accents": False,
            "lowercase": lower,
        }
        for han in (True, False)
        for lower in (True, False)
    ),
    {"type": "Strip", "strip_left": True, "strip_right": True},
    {"type": "Prepend", "prepend": " "},
]
BERT = {"type": "BertPreTokenizer"}
BYTES = {"type": "ByteLevel", "trim_offsets": True}
SPLIT = {"type": "Split", "pattern": {"Regex": WORDS}, "behavior": "Isolated", "invert": False}
#: By kind of model: the pre-tokenizer, the decoder, and the model without its vocabulary.
PARTS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "WordLevel": (BERT, None, {"unk_token": UNKNOWN}),
    "BPE": (
        {"type": "Sequence", "pretokenizers": [SPLIT, {**BYTES, "add_prefix_space": False, "use_regex": False}]},
        {**BYTES, "add_prefix_space": True, "use_regex": True},
        {
            **dict.fromkeys(("dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix")),
            **dict.fromkeys(("fuse_unk", "byte_fallback", "ignore_merges"), False),
        },
    ),
    "Unigram": (BERT, {"type": "Fuse"}, {"unk_id": UNKNOWN_ID, "byte_fallback": False}),
}


def read(path: Path, vocabulary_size: int) -> Tokenizer:
    """A package's tokenizer, whose ids are all below ``vocabulary_size``; HeadwayError if it is not one that Headway writes."""
    content = read_json(path)
    try:
        _check(content, vocabulary_size)
        return tokenizer.from_json(json.dumps(content, ensure_ascii=False))
    except (_Unexpected, KeyError, TypeError, AttributeError) as error:
        reason = f"unexpected {error}" if isinstance(error, _Unexpected) else "a part of it is missing or of another type"
    except Exception as error:  # noqa: BLE001 - the library raises plain Exception
        reason = first_line(error)
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # of the library, which is written in Rust
            raise
        reason = "the tokenizers library fails on it"
    raise HeadwayError(f"{path}: cannot be loaded as a model package: {reason}")


def read_subwords(path: Path, encoder: Encoder, vocab_size: int) -> SubwordEncoder:
    """The encoder of texts for a package's pretrained encoder, whose ids are all below ``vocab_size``.

    Raises:
        HeadwayError: it is damaged, or unlike the supported encoders'.
    """
    require_file(path, MAX_BYTES)
    config = {**encoder.config, "vocab_size": vocab_size}
    return subwords.encoder_of(path, config, encoder.max_length, encoder.strip_html)


class _Unexpected(Exception):
    """A part of a tokenizer that Headway does not write."""


def _check(content: dict[str, Any], vocabulary_size: int) -> None:
    model = content["model"]
    if model["type"] not in PARTS:
        raise _Unexpected("type of model")
    pre_tokenizer, decoder, settings = PARTS[model["type"]]
    vocabulary, merges = model["vocab"], model.get("merges", [])
    rest = {name: value for name, value in model.items() if name not in ("type", "vocab", "merges")}
    parts = (
        ("settings of the model", rest, settings),
        ("pre_tokenizer", content["pre_tokenizer"], pre_tokenizer),
        ("decoder", content["decoder"], decoder),
        ("added_tokens", content["added_tokens"], SPECIAL),
        ("type of normalizer", content["normalizer"]["type"], "Sequence"),
        *((name, content[name], None) for name in ("truncation", "padding", "post_processor")),
    )
    for name, found, expected in parts:
        if not _same(found, expected):
            raise _Unexpected(name)
    steps = content["normalizer"]["normalizers"]
    if len(steps) > len(STEPS) or not all(any(_same(step, known) for known in STEPS) for step in steps):
        raise _Unexpected("step of the normalizer")
    if model["type"] == "Unigram":
        _check_scores(vocabulary)
        vocabulary = {piece: index for index, (piece, _) in enumerate(vocabulary)}
    if model["type"] == "BPE":
        _check_merges(vocabulary, merges)
    elif merges:
        raise _Unexpected("merges")
    ids = list(vocabulary.values())
    if not all(type(index) is int for index in ids) or sorted(ids) != list(range(len(ids))):
        raise _Unexpected("ids, which are not 0, 1, 2, …")
    if len(ids) > vocabulary_size:
        raise _Unexpected(f"number of tokens: {len(ids):,}, where the config has vocabulary_size: {vocabulary_size:,}")
    if not all(type(piece) is str for piece in vocabulary):
        raise _Unexpected("type of a token")
    if model["type"] == "BPE" and not set().union(*vocabulary.keys() - {PADDING, UNKNOWN}) <= pieces.BYTES.keys():
        raise _Unexpected("token that is not made of bytes")
    if (vocabulary.get(PADDING), vocabulary.get(UNKNOWN)) != (PADDING_ID, UNKNOWN_ID):
        raise _Unexpected(f"ids of {PADDING} and {UNKNOWN}")


def _check_scores(vocabulary: list[Any]) -> None:
    for entry in vocabulary:
        if type(entry) is not list or [type(part) for part in entry] != [str, float] or not MIN_SCORE <= entry[1] <= 0:
            raise _Unexpected("score of a token")


def _check_merges(vocabulary: dict[str, int], merges: list[Any]) -> None:
    for merge in merges:
        if type(merge) is not list or [type(part) for part in merge] != [str, str]:
            raise _Unexpected("merge")
        if not {*merge, "".join(merge)} <= vocabulary.keys():
            raise _Unexpected("merge of tokens that are not in the vocabulary")


def _same(found: Any, expected: Any) -> bool:
    """Whether two JSON values are equal; unlike ``==``, not if one is 1 and the other true."""
    return json.dumps(found, sort_keys=True) == json.dumps(expected, sort_keys=True)
