"""The model package: a folder with a trained classifier. Loading it executes no code from it.

weights.safetensors   parameters of the classifier
tokenizer.json        tokenizer, from text to ids
config.json           sizes, truncation, label names, and the SHA-256 of all three files
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
from headway.params import ModelParams, present_names

#: Written into every package. Format 6, of Headway 0.1.0, has some former names and is read too.
FORMAT = 7
READABLE_FORMATS = (6, FORMAT)
WEIGHTS, TOKENIZER, CONFIG = "weights.safetensors", "tokenizer.json", "config.json"
TOKENS_PER_BATCH = 16_384


class OtherFormat(HeadwayError):
    """A package whose format this version of Headway does not read."""


class ModelPackage:
    """A trained classifier with everything that it needs to turn text into probabilities, in the order of ``classes``."""

    def __init__(self, classifier: JointClassifier, encoder: TextEncoder, classes: Sequence[str]) -> None:
        self.classifier = classifier.eval()
        self.encoder = encoder
        self.classes = list(classes)

    def predict_proba(self, texts: Sequence[str]) -> np.ndarray:
        """Class probabilities, float32, (texts, classes), in the order of the texts; batches hold texts of similar length."""
        encoded = self.encoder(texts)
        probabilities = np.zeros((len(encoded), len(self.classes)), dtype=np.float32)
        lengths = np.array([len(ids) for ids in encoded], dtype=np.int64)
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
            OtherFormat: the package has a format that this version does not read.
            HeadwayError: a file is missing or damaged, or differs from the one that was saved.
        """
        config = _read_config(folder)
        for name in (WEIGHTS, TOKENIZER):
            if not (folder / name).is_file():
                raise HeadwayError(f"{folder / name}: missing; the model package is incomplete")
            if sha256_of_file(folder / name) != config["sha256"][name]:
                raise HeadwayError(
                    f"{folder / name}: SHA-256 differs from the one in {CONFIG}; the model package was altered"
                )
        try:
            n_classes = len(config["classes"])
            sizes = ModelParams.model_validate(present_names("model", config["model"]))
            attention = AttentionClassifier(sizes, config["vocabulary_size"], n_classes)
            table = config["ngrams"]
            ngrams = NgramClassifier(table["n_features"], n_classes, table["max_order"]) if table else None
            classifier = JointClassifier(ngrams, attention)
            tensors = load_file(folder / WEIGHTS)
            if config["format"] == 6:
                tensors["weights"] = tensors.pop("mix")
            classifier.load_state_dict(tensors)
            if not (classifier.weights.isfinite() & (classifier.weights >= 0)).all():
                raise ValueError(f"the weights of its parts are {classifier.weights.tolist()}, expected finite numbers ≥ 0")
            encoder = TextEncoder(tokenizer.load(folder / TOKENIZER), config["max_length"])
        except (ValidationError, SafetensorError, RuntimeError, KeyError, TypeError, ValueError) as error:
            raise HeadwayError(f"{folder}: cannot be loaded as a model package: {first_line(error)}") from None
        return cls(classifier, encoder, config["classes"])


def save(
    folder: Path,
    classifier: JointClassifier,
    tokenizer_file: Path,
    max_length: int,
    vocabulary_size: int,
    classes: Sequence[str],
) -> None:
    """Write a package into an empty folder; ``max_length`` tokens are kept of a longer text."""
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
    """Hex SHA-256 of a package's config.json, which holds the hashes of the other files; HeadwayError if it is damaged."""
    _read_config(folder)
    return sha256_of_file(folder / CONFIG)


def _read_config(folder: Path) -> dict[str, Any]:
    try:
        config: Any = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise HeadwayError(f"{folder}: not a model package ({CONFIG} is missing)") from None
    except ValueError:
        raise HeadwayError(f"{folder / CONFIG}: damaged (not JSON)") from None
    if not isinstance(config, dict):
        raise HeadwayError(f"{folder / CONFIG}: damaged (expected an object, found {type(config).__name__})")
    if config.get("format") not in READABLE_FORMATS:
        readable = " and ".join(map(str, READABLE_FORMATS))
        raise OtherFormat(f"{folder / CONFIG}: format {config.get('format')!r}, this Headway reads formats {readable}")
    hashes = config.get("sha256")
    own = sha256_of_json({name: value for name, value in config.items() if name != "sha256"})
    if not isinstance(hashes, dict) or hashes.keys() != {CONFIG, WEIGHTS, TOKENIZER} or hashes[CONFIG] != own:
        raise HeadwayError(f"{folder / CONFIG}: SHA-256 differs from the one saved in it; the model package was altered")
    return config
