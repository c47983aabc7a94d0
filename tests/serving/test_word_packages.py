"""Packages whose linear part has n-grams of whole words: saved, loaded, explained."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from headway.data.batching import pad
from headway.data.tokenization import fitting
from headway.data.tokenization.pieces import vocabulary_of
from headway.data.tokenization.tokenizer import TextEncoder
from headway.errors import HeadwayError
from headway.files import sha256_of_json, write_json
from headway.model.classifier import AttentionClassifier
from headway.model.joint import JointClassifier
from headway.model.ngrams import NgramClassifier
from headway.serving import package
from headway.serving.explain import explain
from headway.serving.package import CONFIG, ModelPackage

TEXTS = [
    "An unforgettable (film) about friendship!",
    "Forgettable, forgettable films.",
    "«Незабываемый» фильм о дружбе",
    "好看的电影 film",
]
CLASSES = ["bad", "good", "neither"]
MAX_LENGTH = 400


@pytest.fixture(scope="module")
def folder(reviews: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package with a byte-level tokenizer of few pieces, and random weights for two n-grams of three in TEXTS."""
    params = reviews.params
    knobs = params.tokenizer.model_copy(update={"kind": "bpe", "vocabulary_size": 290, "min_frequency": 1})
    fitted = fitting.fit(TEXTS, knobs, fitting.measure(TEXTS))
    file = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    fitted.save(str(file))
    torch.manual_seed(0)
    sizes = params.override({"model.d_model": 8, "model.dim_feedforward": 16, "model.bigram_buckets": 64}).model
    linear = NgramClassifier(0, len(CLASSES), 2, 2)
    linear.set_vocabulary(vocabulary_of(fitted))
    keys = linear.occurrences(pad(TextEncoder(fitted, MAX_LENGTH)(TEXTS)))[1].unique()
    linear.keys = keys[torch.arange(len(keys)) % 3 > 0].contiguous()
    linear.weight = torch.randn(len(linear.keys), len(CLASSES))
    linear.bias.normal_()
    model = JointClassifier(linear, AttentionClassifier(sizes, fitted.get_vocab_size(), len(CLASSES)))
    folder = tmp_path_factory.mktemp("package")
    package.save(folder, model.eval(), file, MAX_LENGTH, fitted.get_vocab_size(), CLASSES)
    return folder


@pytest.fixture(scope="module")
def loaded(folder: Path) -> ModelPackage:
    return ModelPackage.load(folder)


def test_a_loaded_package_finds_the_same_words(folder: Path, loaded: ModelPackage) -> None:
    linear = loaded.classifier.ngrams
    assert linear is not None
    assert (linear.max_order, linear.max_words) == (2, 2)
    tokens = pad(loaded.encoder(TEXTS))
    with_words, without = linear(tokens), NgramClassifier(len(linear.keys), len(CLASSES), 2)
    without.load_state_dict(linear.state_dict())
    assert (with_words - without(tokens)).abs().amax(dim=1).min() > 1e-3  # each text has known words
    assert json.loads((folder / CONFIG).read_text())["ngrams"]["max_words"] == 2


def test_contributions_of_words_add_up_to_the_logit_of_the_linear_part(loaded: ModelPackage) -> None:
    linear = loaded.classifier.ngrams
    assert linear is not None
    for text in TEXTS:
        found = explain(loaded, text).linear
        assert found is not None
        logits = linear(pad(loaded.encoder([text])))[0].double()
        np.testing.assert_allclose(found.logits, (logits - logits.mean()).numpy(), atol=1e-5)
        predicted = explain(loaded, text).predicted
        assert found.tokens.sum() + found.bias == pytest.approx(float(logits[predicted] - logits.mean()), abs=1e-5)


def test_a_word_that_was_cut_is_named_whole(loaded: ModelPackage) -> None:
    surfaces = set()
    for text in TEXTS:
        found = explain(loaded, text).linear
        assert found is not None
        surfaces |= {one.surface for one in (*found.strongest_for, *found.strongest_against)}
    cut = [word for word in ("unforgettable", "friendship", "дружбе", "фильм") if len(loaded.encoder([word])[0]) > 2]
    assert cut
    assert set(cut) & surfaces


def test_words_of_a_tokenizer_without_pieces_are_refused(saved: Path, tmp_path: Path) -> None:
    altered = tmp_path / "altered"
    shutil.copytree(saved, altered)
    config = json.loads((altered / CONFIG).read_text())
    config["ngrams"]["max_words"] = 2
    hashes = config.pop("sha256")
    write_json(altered / CONFIG, {**config, "sha256": {**hashes, CONFIG: sha256_of_json(config)}})
    with pytest.raises(HeadwayError, match="max_words"):
        ModelPackage.load(altered)
