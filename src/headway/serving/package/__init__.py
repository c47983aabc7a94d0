"""The model package: a folder of weights (safetensors) and JSON that loads without executing anything it holds.

weights.safetensors   the classifier's parameters
tokenizer.json        text to ids
config.json           sizes, truncation, label names, and the SHA-256 of the other two files and of itself
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from headway.data.batching import TokenBudgetSampler, pad
from headway.data.tokenization import tokenizer
from headway.data.tokenization.tokenizer import TextEncoder
from headway.errors import HeadwayError, first_line
from headway.files import sha256_of_file, sha256_of_json, write_json
from headway.model.classifier import AttentionClassifier
from headway.model.joint import JointClassifier
from headway.model.ngrams import NgramClassifier
from headway.params import ModelParams

FORMAT = 6
WEIGHTS, TOKENIZER, CONFIG = "weights.safetensors", "tokenizer.json", "config.json"
TOKENS_PER_BATCH = 16_384


class OtherFormat(HeadwayError):
    """A package that another version of Headway has made."""


class ModelPackage:
    """A trained classifier with all it needs to go from text to probabilities.

    Attributes:
        classifier: in evaluation mode.
        encoder: text to ids.
        classes: label names, in the order of the probabilities.
    """

    def __init__(self, classifier: JointClassifier, encoder: TextEncoder, classes: Sequence[str]) -> None:
        self.classifier = classifier.eval()
        self.encoder = encoder
        self.classes = list(classes)

    def predict_proba(self, texts: Sequence[str]) -> np.ndarray:
        """Class probabilities, float32, (texts, classes). Texts are batched by length and come back in their order."""
        encoded = self.encoder(texts)
        probabilities = np.zeros((len(encoded), len(self.classes)), dtype=np.float32)
        lengths = np.array([len(text) for text in encoded], dtype=np.int64)
        if not len(lengths):
            return probabilities
        with torch.inference_mode():
            for indices in TokenBudgetSampler(lengths, TOKENS_PER_BATCH):
                logits = self.classifier(pad([encoded[index] for index in indices]))
                probabilities[indices] = logits.softmax(dim=1).numpy()
        return probabilities

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Load a package.

        Raises:
            HeadwayError: a file is missing, damaged, or not the one that was saved.
        """
        config = _read_config(folder)
        for name in (WEIGHTS, TOKENIZER):
            if not (folder / name).is_file():
                raise HeadwayError(f"{folder / name}: missing; the model package is incomplete")
            if sha256_of_file(folder / name) != config["sha256"][name]:
                raise HeadwayError(f"{folder / name}: its SHA-256 is not the one in {CONFIG}; the model package was altered")
        try:
            n_classes = len(config["classes"])
            attention = AttentionClassifier(
                ModelParams.model_validate(config["model"]), config["vocabulary_size"], n_classes
            )
            sizes = config["ngrams"]
            ngrams = NgramClassifier(sizes["n_features"], n_classes, sizes["max_order"]) if sizes else None
            classifier = JointClassifier(ngrams, attention)
            classifier.load_state_dict(load_file(folder / WEIGHTS))
            if not (classifier.mix.isfinite() & (classifier.mix >= 0)).all():
                raise ValueError(f"its parts count {classifier.mix.tolist()}, expected numbers from 0 on")
            encoder = TextEncoder(tokenizer.load(folder / TOKENIZER), config["max_length"])
        except (ValidationError, SafetensorError, RuntimeError, KeyError, TypeError, ValueError) as error:
            raise HeadwayError(f"{folder}: not a model package this Headway can load: {first_line(error)}") from None
        return cls(classifier, encoder, config["classes"])


def save(
    folder: Path,
    classifier: JointClassifier,
    tokenizer_file: Path,
    max_length: int,
    vocabulary_size: int,
    classes: Sequence[str],
) -> None:
    """Write a package into an existing, empty folder; for the values see :class:`ModelPackage`."""
    ngrams = classifier.ngrams
    save_file({name: value.contiguous() for name, value in classifier.state_dict().items()}, folder / WEIGHTS)
    shutil.copyfile(tokenizer_file, folder / TOKENIZER)
    config = {
        "format": FORMAT,
        "classes": list(classes),
        "max_length": max_length,
        "vocabulary_size": vocabulary_size,
        "ngrams": ngrams and {"n_features": len(ngrams.keys), "max_order": ngrams.max_order},
        "model": classifier.attention.params.model_dump(),
    }
    hashes = {CONFIG: sha256_of_json(config), **{name: sha256_of_file(folder / name) for name in (WEIGHTS, TOKENIZER)}}
    write_json(folder / CONFIG, {**config, "sha256": hashes})


def fingerprint(folder: Path) -> str:
    """Hex SHA-256 that identifies a package: of its config, which holds the hashes of the other files.

    Raises:
        HeadwayError: there is no package.
    """
    _read_config(folder)
    return sha256_of_file(folder / CONFIG)


def _read_config(folder: Path) -> dict[str, Any]:
    try:
        config: Any = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise HeadwayError(f"{folder}: no model package here ({CONFIG} is missing)") from None
    except ValueError:
        raise HeadwayError(f"{folder / CONFIG}: damaged (not JSON)") from None
    if not isinstance(config, dict):
        raise HeadwayError(f"{folder / CONFIG}: damaged (expected an object, found {type(config).__name__})")
    if config.get("format") != FORMAT:
        raise OtherFormat(f"{folder / CONFIG}: format {config.get('format')!r}, this Headway reads format {FORMAT}")
    hashes = config.get("sha256")
    own = sha256_of_json({name: value for name, value in config.items() if name != "sha256"})
    if not isinstance(hashes, dict) or hashes.keys() != {CONFIG, WEIGHTS, TOKENIZER} or hashes[CONFIG] != own:
        raise HeadwayError(f"{folder / CONFIG}: its SHA-256 is not the one that was saved; the model package was altered")
    return config
