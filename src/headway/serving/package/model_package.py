"""A trained classifier with its tokenizer and classes: written as a package, loaded from one, and asked for probabilities."""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from headway.data.batching import TokenBudgetSampler, pad
from headway.data.text.content import problem
from headway.data.tokenization.pieces import vocabulary_of
from headway.data.tokenization.subwords import SubwordEncoder
from headway.data.tokenization.tokenizer import TextEncoder
from headway.encoders import EncoderFiles
from headway.errors import HeadwayError
from headway.files import sha256_of_file, sha256_of_json, write_json
from headway.model.joint import JointClassifier
from headway.model.pretrained import PretrainedClassifier
from headway.serving.package import golden, tokens, weights
from headway.serving.package.config import (
    CONFIG,
    ENCODER_TOKENIZER,
    FORMAT,
    TOKENIZER,
    WEIGHTS,
    Config,
    Golden,
    read_config,
    require_file,
    unreadable,
)

#: Tokens, or sub-words of a pretrained encoder, in a batch. The intermediate results of more do not fit into a core's cache.
TOKENS_PER_BATCH = 4_096


class ModelPackage:
    """A trained classifier with everything that it needs to turn text into probabilities, in the order of ``classes``."""

    def __init__(
        self,
        classifier: JointClassifier,
        encoder: TextEncoder,
        classes: Sequence[str],
        subwords: SubwordEncoder | None = None,
        golden_predictions: Sequence[Golden] = (),
    ) -> None:
        self.classifier = classifier.eval()
        self.encoder = encoder
        self.classes = list(classes)
        self.subwords = subwords
        self.golden = tuple(golden_predictions)

    def predict_proba(self, texts: Sequence[str]) -> np.ndarray:
        """Class probabilities, float32, (texts, classes), in the order of the texts.

        Raises:
            HeadwayError: a text is missing, empty, not a string or not valid Unicode, of which the message gives the position;
                or the model's weights are too large to compute probabilities.
        """
        return self._predict([require_text(text, f"texts[{row}]") for row, text in enumerate(texts)])

    def classify(self, values: Sequence[object]) -> tuple[np.ndarray, list[str]]:
        """The same for values of which some cannot be classified: their probabilities are NaN.

        For each value the reason why it cannot be classified is returned too, "" if it was.
        """
        reasons = [problem(value) for value in values]
        usable = [row for row, reason in enumerate(reasons) if not reason]
        probabilities = np.full((len(reasons), len(self.classes)), np.nan, dtype=np.float32)
        probabilities[usable] = self._predict([str(values[row]) for row in usable])
        return probabilities, reasons

    def _predict(self, texts: Sequence[str]) -> np.ndarray:
        """Probabilities of texts that can be classified; batches hold texts of similar length.

        With several threads, each computes batches of its own: that uses the cores better than threads that share one batch.
        """
        encoded = self.encoder(texts)
        subwords = self.subwords(texts) if self.subwords else None
        probabilities = np.zeros((len(encoded), len(self.classes)), dtype=np.float32)
        if not len(encoded):
            return probabilities
        lengths = np.array([len(ids) for ids in (encoded if subwords is None else subwords)], dtype=np.int64)

        @torch.inference_mode()
        def compute(indices: list[int]) -> None:
            tokens = pad([encoded[index] for index in indices])
            logits = self.classifier(tokens, subwords and pad([subwords[index] for index in indices]))
            probabilities[indices] = logits.softmax(dim=1).numpy()

        batches = list(TokenBudgetSampler(lengths, TOKENS_PER_BATCH))
        in_threads(compute, batches)
        if not np.isfinite(probabilities).all():
            raise HeadwayError("the model's probabilities are not finite numbers: its weights are too large; train it again")
        return probabilities

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Load a package.

        Raises:
            OtherFormat: the package has a format that this version does not read.
            HeadwayError: a file is missing or damaged, or differs from the one that was saved.
        """
        config = read_config(folder)
        for name in config.files:
            require_file(folder / name)
            try:
                found = sha256_of_file(folder / name)
            except OSError as error:
                raise unreadable(folder / name, error) from None
            if found != config.sha256[name]:
                raise HeadwayError(
                    f"{folder / name}: SHA-256 differs from the one in {CONFIG}; the model package was altered"
                )
        return cls._assembled(folder, config, weights.read(folder / WEIGHTS, config))

    @classmethod
    def _assembled(cls, folder: Path, config: Config, classifier: JointClassifier) -> Self:
        """A classifier with the tokenizers in a folder."""
        tokenizer = tokens.read(folder / TOKENIZER, config.vocabulary_size)
        encoder = TextEncoder(tokenizer, config.max_length)
        if classifier.ngrams is not None and (max_words := classifier.ngrams.max_words):
            classifier.ngrams.set_vocabulary(vocabulary_of(tokenizer))
            if classifier.ngrams.pieces is None:
                raise HeadwayError(
                    f"{folder / CONFIG}: ngrams.max_words is {max_words}, but the tokens of {TOKENIZER} are not pieces of words; "
                    "the model package was altered"
                )
        subwords = None
        if config.pretrained:
            attention = classifier.attention
            assert isinstance(attention, PretrainedClassifier)
            subwords = tokens.read_subwords(folder / ENCODER_TOKENIZER, config.pretrained, attention.vocab_size)
        return cls(classifier, encoder, config.classes, subwords, config.golden)


@dataclass(frozen=True)
class SavedEncoder:
    """What a package keeps of a pretrained encoder besides its weights.

    Attributes:
        files: of the encoder.
        origin: name, source, revision, licence and hashes, as the training's report has them.
        strip_html: whether markup is removed from texts first.
    """

    files: EncoderFiles
    origin: Mapping[str, Any]
    strip_html: bool


def save(
    folder: Path,
    classifier: JointClassifier,
    tokenizer_file: Path,
    max_length: int,
    vocabulary_size: int,
    classes: Sequence[str],
    encoder: SavedEncoder | None = None,
) -> None:
    """Write a package into an empty folder; ``max_length`` tokens are kept of a longer text.

    Args:
        encoder: of a classifier whose attention part is pretrained.

    Raises:
        HeadwayError: the model's weights are too large to compute its golden predictions.
    """
    ngrams, attention = classifier.ngrams, classifier.attention
    weights.write(folder / WEIGHTS, classifier)
    shutil.copyfile(tokenizer_file, folder / TOKENIZER)
    pretrained = None
    if isinstance(attention, PretrainedClassifier):
        assert encoder is not None, "a pretrained encoder is saved with its files"
        shutil.copyfile(encoder.files.tokenizer, folder / ENCODER_TOKENIZER)
        pretrained = {
            "config": encoder.files.config,
            "pooling": attention.pooling,
            "max_length": attention.max_length,
            "strip_html": encoder.strip_html,
            "origin": dict(encoder.origin),
        }
    config: dict[str, Any] = {
        "format": FORMAT,
        "classes": list(classes),
        "max_length": max_length,
        "vocabulary_size": vocabulary_size,
        "ngrams": ngrams and {"n_features": len(ngrams.keys), "max_order": ngrams.max_order, "max_words": ngrams.max_words},
        "model": None if isinstance(attention, PretrainedClassifier) else attention.params.model_dump(),
        "pretrained": pretrained,
    }
    made = ModelPackage._assembled(folder, Config.model_validate({**config, "sha256": {}}), classifier)
    config["golden"] = [one.model_dump() for one in golden.record(made)]
    names = (WEIGHTS, TOKENIZER, *([ENCODER_TOKENIZER] if pretrained else []))
    hashes = {CONFIG: sha256_of_json(config), **{name: sha256_of_file(folder / name) for name in names}}
    write_json(folder / CONFIG, {**config, "sha256": hashes})


def in_threads(compute: Callable[[list[int]], None], batches: Sequence[list[int]]) -> None:
    """Call a function for each batch, in as many threads as PyTorch has, of which each computes alone."""
    threads = torch.get_num_threads()
    if min(threads, len(batches)) == 1:
        for indices in batches:
            compute(indices)
        return
    try:
        with ThreadPoolExecutor(threads, initializer=partial(torch.set_num_threads, 1)) as pool:
            deque(pool.map(compute, batches), maxlen=0)
    finally:
        torch.set_num_threads(threads)  # for threads that begin later, which have the number that was set last in any thread


def require_text(value: object, name: str) -> str:
    """A text that can be classified; HeadwayError if it cannot, in which ``name`` says which one it is."""
    if reason := problem(value):
        raise HeadwayError(f"{name}: {reason}; drop or fill such texts first")
    return str(value)
