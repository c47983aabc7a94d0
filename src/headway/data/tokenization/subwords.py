"""Text to the sub-words of a pretrained encoder, with the encoder's own tokenizer."""

from __future__ import annotations

import json
import re
import string
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Encoding, Tokenizer
from tokenizers.models import Unigram

from headway.data.text.chunks import chunks
from headway.data.text.markup import MARKUP
from headway.data.tokenization.tokenizer import truncate
from headway.errors import HeadwayError, first_line
from headway.params_sections import STATIC_FAMILY

#: Regular expressions in the tokenizers of the supported families. The library runs any, without a limit of time.
KNOWN_REGEXES = {" {2,}", r"\s+", r"\s{2,}|[\n\r\t]", "``|''", "''|``"}
#: Steps of a tokenizer that are supported: those of the families' tokenizers. All take time in proportion to the text.
NORMALIZERS = {
    "BertNormalizer",
    "Lowercase",
    "NFC",
    "NFD",
    "NFKC",
    "NFKD",
    "Nmt",
    "Precompiled",
    "Prepend",
    "Replace",
    "Sequence",
    "Strip",
    "StripAccents",
}
PRE_TOKENIZERS = {
    "BertPreTokenizer",
    "ByteLevel",
    "Digits",
    "Metaspace",
    "Punctuation",
    "Sequence",
    "Whitespace",
    "WhitespaceSplit",
}
POST_PROCESSORS = {"BertProcessing", "ByteLevel", "RobertaProcessing", "Sequence", "TemplateProcessing"}
MODELS = {"BPE", "Unigram", "WordLevel", "WordPiece"}
#: Steps, at most; and characters that a step puts in place of others or in front, at most.
MAX_STEPS, MAX_CONTENT = 16, 4


class SubwordEncoder:
    """Encodes texts as sub-words, with the encoder's special tokens around them.

    Ids are the encoder's own plus 1, so that 0 is padding for every encoder. Of more than ``max_length`` sub-words, the first and
    the last half are kept, which leaves the special tokens at both ends.

    Args:
        left_out: id of a sub-word that is dropped from texts that have others too; None for none.
    """

    def __init__(self, tokenizer: Tokenizer, max_length: int, strip_html: bool, left_out: int | None = None) -> None:
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.strip_html = strip_html
        self.left_out = left_out
        self._markup = re.compile(MARKUP)

    def __call__(self, texts: Iterable[str]) -> list[np.ndarray]:
        """Encode texts, int32, shape (length,) each, with 1 ≤ length ≤ max_length."""
        found: list[np.ndarray] = []
        for chunk in chunks(texts):
            try:
                encodings = self.tokenizer.encode_batch_fast(self.cleaned(chunk))
            except Exception as error:  # noqa: BLE001 - the library raises plain Exception
                raise HeadwayError(f"the encoder's tokenizer cannot encode a text: {first_line(error)}") from None
            for ids in map(self.ids_of, encodings):
                found.append(truncate(ids[self.places(ids)] + np.int32(1), self.max_length))
        return found

    def ids_of(self, encoding: Encoding) -> np.ndarray:
        """The tokenizer's ids of a text, int32, at least one."""
        return np.array(encoding.ids or [self.left_out or 0], dtype=np.int32)

    def places(self, ids: np.ndarray) -> np.ndarray:
        """Places of the sub-words that are not left out, ascending, at least one; those of a long text are not truncated here."""
        kept = np.arange(len(ids)) if self.left_out is None else np.flatnonzero(ids != self.left_out)
        return kept if len(kept) else np.arange(1)

    def cleaned(self, texts: Iterable[str]) -> list[str]:
        """The texts without markup, if it is removed; what is left has the same length, so that positions stay the same."""
        if not self.strip_html:
            return list(texts)
        return [self._markup.sub(lambda found: " " * len(found[0]), text) for text in texts]


def encoder_of(path: Path, config: Mapping[str, Any], max_length: int, strip_html: bool) -> SubwordEncoder:
    """The encoder of texts for a pretrained encoder: a static one reads neither special tokens nor unknown words.

    Args:
        path: tokenizer.json.
        config: of the pretrained encoder.

    Raises:
        HeadwayError: as :func:`load` raises it.
    """
    size = config.get("vocab_size")
    is_static = config.get("model_type") == STATIC_FAMILY
    tokenizer = load(path, size if isinstance(size, int) else None, is_static)
    unknown = unknown_id(tokenizer) if is_static else None
    if is_static and unknown is None:
        raise HeadwayError(
            f"{path}: has no token for unknown words, so a text without known ones would have no vector; use another encoder"
        )
    return SubwordEncoder(tokenizer, max_length, strip_html, unknown)


def unknown_id(tokenizer: Tokenizer) -> int | None:
    """Id of the token that stands for unknown words; None if there is none."""
    if isinstance(tokenizer.model, Unigram):
        found = json.loads(tokenizer.to_str())["model"]["unk_id"]
        return None if found is None else int(found)
    name = tokenizer.model.unk_token
    return None if name is None else tokenizer.token_to_id(name)


def load(path: Path, vocab_size: int | None = None, is_static: bool = False) -> Tokenizer:
    """An encoder's tokenizer from its tokenizer.json, without the truncation and padding that the file may ask for.

    Args:
        vocab_size: number of sub-words that the encoder has embeddings of; None if it is not known.
        is_static: whether to leave out the step that puts special tokens around a text, which static encoders do not read.

    Raises:
        HeadwayError: it is damaged, has a regular expression that no supported family has, or has more sub-words than the
            encoder.
    """
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text)
        if problem := _problem(content):
            raise HeadwayError(f"{path}: has {problem}, which no supported family has; use another encoder")
        if is_static:
            content["post_processor"] = None
        tokenizer = Tokenizer.from_str(json.dumps(content, ensure_ascii=False))
        tokenizer.encode("")
    except HeadwayError:
        raise
    except Exception as error:  # noqa: BLE001 - the library raises plain Exception
        raise HeadwayError(f"{path}: cannot be loaded as a tokenizer: {first_line(error)}") from None
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # of the library, which is written in Rust
            raise
        raise HeadwayError(f"{path}: cannot be loaded as a tokenizer: the tokenizers library fails on it") from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    # Not saved in the JSON. With it, "[SEP]" in a text is ordinary text instead of the special token.
    tokenizer.encode_special_tokens = True
    if vocab_size is not None:
        # Ids of the special tokens around a text need not be in the vocabulary.
        largest = max([*tokenizer.get_vocab().values(), *tokenizer.encode("").ids], default=0)
        if largest >= vocab_size:
            raise HeadwayError(
                f"{path}: has the id {largest:,}, but the encoder has embeddings of {vocab_size:,} sub-words; use the tokenizer "
                "that was published with the encoder"
            )
    return tokenizer


def _problem(content: Any) -> str:
    """What a tokenizer's JSON has that no supported family's has; "" if nothing."""
    if unknown := [regex for regex in _regexes(content) if regex not in KNOWN_REGEXES]:
        return f"the regular expression {unknown[0][:60]!r}"
    model = content["model"]
    if model.get("type") not in MODELS:
        return f"a model of type {str(model.get('type'))[:40]!r}"
    parts = (("normalizer", NORMALIZERS), ("pre_tokenizer", PRE_TOKENIZERS), ("post_processor", POST_PROCESSORS))
    for part, allowed in parts:
        steps = list(_steps(content.get(part)))
        apart = [step["content"] for step in steps if _sets_apart(step)]
        if len(set(apart)) == len(apart):  # a step that is repeated would set the spaces apart further
            steps = [step for step in steps if not _sets_apart(step)]
        if len(steps) > MAX_STEPS:
            return f"{len(steps):,} steps in its {part}"
        for step in steps:
            if step.get("type") not in allowed:
                return f"a {part} of type {str(step.get('type'))[:40]!r}"
            added = step.get("content", step.get("prepend", ""))
            pattern = step.get("pattern")
            replaced = pattern.get("String", "") if isinstance(pattern, dict) else ""
            # A longer replacement would double a text with each step.
            if isinstance(added, str) and (len(added) > MAX_CONTENT or (replaced and len(added) > len(replaced))):
                return f"a {part} that makes texts longer"
    vocabulary, unknown_token = model.get("vocab"), model.get("unk_token")
    added_tokens = {token["content"] for token in content.get("added_tokens", [])}
    if isinstance(unknown_token, str) and unknown_token not in vocabulary and unknown_token not in added_tokens:
        return f"no token {unknown_token[:40]!r} for unknown words"
    if model["type"] == "Unigram" and model.get("unk_id") is None:
        return "no token for unknown words"
    return ""


def _steps(part: Any) -> Iterator[dict[str, Any]]:
    """The steps of a normalizer, pre-tokenizer or post-processor, itself included."""
    if isinstance(part, dict):
        yield part
        for name in ("normalizers", "pretokenizers", "processors"):
            for inner in part.get(name, ()):
                yield from _steps(inner)


def _sets_apart(step: dict[str, Any]) -> bool:
    """Whether a step puts a space on both sides of an ASCII punctuation mark, as normalizers of model2vec do."""
    pattern = step.get("pattern")
    mark = pattern.get("String") if isinstance(pattern, dict) else None
    return step.get("type") == "Replace" and mark in tuple(string.punctuation) and step.get("content") == f" {mark} "


def _regexes(content: Any) -> Iterator[str]:
    """All regular expressions in a tokenizer's JSON."""
    if isinstance(content, dict):
        pattern = content.get("Regex")
        if isinstance(pattern, str):
            yield pattern
        for name, value in content.items():
            if name not in ("vocab", "merges", "added_tokens"):
                yield from _regexes(value)
    elif isinstance(content, list):
        for value in content:
            yield from _regexes(value)
