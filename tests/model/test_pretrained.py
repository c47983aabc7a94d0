"""A pretrained encoder as the attention part: its features, the linear layer on them, and what may be built and loaded."""

from __future__ import annotations

import itertools
import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sklearn.linear_model import LogisticRegression
from torch.nn import functional as F
from transformers import AutoModel

from headway import encoders
from headway.data.batching import pad
from headway.data.tokenization import subwords
from headway.errors import NO_TRANSFORMERS, HeadwayError
from headway.model import pretrained
from headway.model.combination import fit_weights
from headway.model.pretrained import (
    MAX_LAYERS,
    POOLINGS,
    PretrainedClassifier,
    features,
    fit_head,
    hidden_states,
    layers_of,
    pool,
    select,
)
from tests.tiny_encoders import FAMILIES, TEXTS, WIDTH

STRENGTHS = [0.001, 0.01, 0.1, 1.0]


def tokens_of(folder: Path, max_length: int = 64) -> list[np.ndarray]:
    """Sub-words of texts of many lengths."""
    encode = subwords.SubwordEncoder(subwords.load(folder / "tokenizer.json"), max_length, strip_html=True)
    return encode([*TEXTS, "dull", " ".join(TEXTS * 3)])


@pytest.fixture(params=FAMILIES)
def folder(request: pytest.FixtureRequest, tiny_encoders: Path) -> Path:
    return tiny_encoders / str(request.param)


@pytest.fixture
def damaged(tiny_encoders: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_encoders / "bert", tmp_path / "bert"))


# Features.


def test_a_batch_with_padding_has_the_hidden_states_of_each_text_alone(folder: Path) -> None:
    import transformers

    encoder = pretrained.load(folder)
    plain = transformers.AutoModel.from_pretrained(folder, attn_implementation="eager").eval()
    texts = tokens_of(folder)
    assert len({len(text) for text in texts}) > 3
    with torch.inference_mode():
        (together,) = hidden_states(encoder, pad(texts))
        for row, text in enumerate(texts):
            alone = plain(input_ids=torch.from_numpy(text.astype(np.int64))[None] - 1).last_hidden_state[0]
            torch.testing.assert_close(together[row, : len(text)], alone, rtol=1e-4, atol=1e-5)


def test_pooling_is_that_of_numpy_over_the_sub_words_that_are_there(folder: Path) -> None:
    encoder, tokens = pretrained.load(folder), pad(tokens_of(folder))
    with torch.inference_mode():
        encoded, found = hidden_states(encoder, tokens, all_layers=True), features(encoder, tokens).numpy()
    layers = layers_of(encoder)
    assert len(encoded) == len(layers)
    assert found.shape == (len(tokens), len(layers) + 2, WIDTH)
    assert found.dtype == np.float32
    for row, mask in enumerate(tokens.numpy() != 0):
        rows = [layer[row].numpy()[mask] for layer in encoded]
        expected = np.stack([*(layer.mean(axis=0) for layer in rows), rows[-1][0], rows[-1].max(axis=0)])
        np.testing.assert_allclose(found[row], expected, atol=1e-5)
    for one, other in itertools.combinations(range(found.shape[1]), 2):
        assert not np.allclose(found[:, one], found[:, other])
    for pooling in POOLINGS:
        chosen = encoded if pooling == "layers" else encoded[-1:]
        pooled = torch.cat([pool(layer, tokens != 0, pooling) for layer in chosen], dim=1)
        torch.testing.assert_close(select(found, pooling), pooled, rtol=0, atol=0)


def test_all_layers_are_those_of_the_library_with_the_last_one_normalised(folder: Path) -> None:
    encoder, plain = pretrained.load(folder), AutoModel.from_pretrained(folder).eval()
    (text,) = tokens_of(folder)[:1]
    ids = torch.from_numpy(text.astype(np.int64))[None]
    with torch.inference_mode():
        found = hidden_states(encoder, ids, all_layers=True)
        expected = plain(input_ids=ids - 1, output_hidden_states=True)
    assert layers_of(encoder) == list(range(plain.config.num_hidden_layers + 1))
    for layer, hidden in zip(found[:-1], expected.hidden_states[:-1], strict=True):
        torch.testing.assert_close(layer, hidden, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found[-1], expected.last_hidden_state, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("last", "expected"), [(0, [0]), (2, [0, 1, 2]), (6, [*range(7)]), (12, [0, 2, 4, 6, 8, 10, 12])])
def test_a_few_layers_are_taken_from_the_embeddings_to_the_last(last: int, expected: list[int]) -> None:
    assert layers_of(SimpleNamespace(config=SimpleNamespace(num_hidden_layers=last))) == expected  # type: ignore[arg-type]


def test_of_many_layers_the_first_and_the_last_are_taken() -> None:
    layers = layers_of(SimpleNamespace(config=SimpleNamespace(num_hidden_layers=29)))  # type: ignore[arg-type]
    assert (len(layers), layers[0], layers[-1]) == (MAX_LAYERS, 0, 29)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_logits_are_the_linear_layer_on_the_pooled_features_from_tokens_or_from_embeddings(
    folder: Path, pooling: str
) -> None:
    generator = torch.Generator().manual_seed(0)
    classifier = PretrainedClassifier(pretrained.load(folder), pooling, 64, 3).eval()
    width = WIDTH * (len(layers_of(classifier.encoder)) if pooling == "layers" else 1)
    head = pretrained.Head(torch.randn(width, 3, generator=generator), torch.randn(3, generator=generator), 1.0, ())
    classifier.set_head(head)
    tokens = pad(tokens_of(folder))
    with torch.inference_mode():
        logits = classifier(tokens)
        expected = head(select(features(classifier.encoder, tokens).numpy(), pooling))
        embedded = classifier.embed(tokens)
        again = classifier.classify(embedded, tokens != 0)
    assert embedded.shape == (*tokens.shape, WIDTH)
    torch.testing.assert_close(logits, expected)
    torch.testing.assert_close(again, logits, rtol=1e-4, atol=1e-4)
    assert logits.std() > 0.1


# The linear layer.


def rows_of(n: int, n_classes: int, seed: int = 0) -> tuple[torch.Tensor, np.ndarray]:
    """Features of very different scales, and labels that depend on some of them."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, n_classes, n)
    x = generator.normal(size=(n, 12))
    x[:, 0] += labels
    x[:, 1] -= labels == 1
    x = x * np.geomspace(0.01, 100, 12) + 5
    x[:, 11] = 5.0  # without spread
    return torch.from_numpy(x).float(), labels


@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_the_fit_is_logistic_regression_on_standardised_features(n_classes: int, balanced: bool) -> None:
    x, labels = rows_of(400, n_classes)
    keep = (labels != 0) | (np.arange(len(labels)) % 4 == 0)  # so that balancing matters
    x, labels = x[keep], labels[keep]
    held_out, truth = rows_of(300, n_classes, seed=1)
    head = fit_head((x, labels), (held_out, truth), n_classes, STRENGTHS, balanced)

    spread = x.std(dim=0)
    scaled = ((x - x.mean(dim=0)) / torch.where(spread > 0, spread, 1.0)).numpy()
    weights = "balanced" if balanced else None
    reference = LogisticRegression(C=head.inverse_regularisation, class_weight=weights, tol=1e-8, max_iter=10_000)
    reference.fit(scaled, labels)
    np.testing.assert_allclose(head(x).softmax(dim=1).numpy(), reference.predict_proba(scaled), atol=0.01)


def test_the_strength_is_the_one_with_the_lowest_validation_loss_at_its_best_temperature() -> None:
    x, labels = rows_of(60, 3)
    held_out, truth = rows_of(300, 3, seed=1)
    path = fit_head((x, labels), (held_out, truth), 3, [10.0, 0.01, 1.0, 0.1, 100.0]).fits
    strengths, losses = zip(*path, strict=True)
    assert strengths == (0.01, 0.1, 1.0, 10.0, 100.0)[: len(path)]
    assert len(path) < 5  # they end once the loss rises
    assert losses[-1] > losses[-2] == min(losses)
    head = fit_head((x, labels), (held_out, truth), 3, [strengths[-2]])
    assert head.inverse_regularisation == strengths[-2]
    _, loss = fit_weights(head(held_out)[None], torch.from_numpy(truth))
    assert loss == pytest.approx(head.fits[0][1], rel=1e-4)
    assert loss == pytest.approx(losses[-2], rel=0.01)  # which began from the fit before


def test_a_class_without_training_rows_gets_a_low_probability() -> None:
    x, labels = rows_of(200, 2)
    labels = labels * 2  # classes 0 and 2 of 4
    held_out, truth = rows_of(100, 2, seed=1)
    head = fit_head((x, labels), (held_out, truth * 2), 4, STRENGTHS)
    probabilities = head(x).softmax(dim=1)
    assert head.weight.shape == (12, 4)
    assert torch.isfinite(probabilities).all()
    assert probabilities[:, [1, 3]].max() < 0.05
    assert (probabilities.argmax(dim=1).numpy() == labels).mean() > 0.6


def test_one_class_alone_is_always_that_class() -> None:
    x, _ = rows_of(50, 2)
    head = fit_head((x, np.ones(50, dtype=np.int64)), (x, np.ones(50, dtype=np.int64)), 3, STRENGTHS)
    assert head.inverse_regularisation is None
    assert head.fits == ()
    probabilities = head(x).softmax(dim=1)
    assert (probabilities.argmax(dim=1) == 1).all()
    assert probabilities[0, 1] == pytest.approx(51 / 53, abs=1e-6)


def test_before_a_fit_all_classes_are_equally_likely(tiny_encoders: Path) -> None:
    classifier = PretrainedClassifier(pretrained.load(tiny_encoders / "bert"), "mean", 64, 3).eval()
    with torch.inference_mode():
        assert F.softmax(classifier(pad(tokens_of(tiny_encoders / "bert"))), dim=1).eq(1 / 3).all()


# What is built and loaded.


def test_a_build_with_the_weights_of_a_file_is_the_loaded_encoder(folder: Path) -> None:
    loaded, tokens = pretrained.load(folder), pad(tokens_of(folder))
    built = pretrained.build(encoders.read(folder.parent, folder.name).config)
    built.load_state_dict(loaded.state_dict(), strict=True)
    with torch.inference_mode():
        torch.testing.assert_close(hidden_states(built, tokens), hidden_states(loaded, tokens), rtol=0, atol=0)
    assert not built.training
    assert not loaded.training
    assert not [name for name in loaded.state_dict() if name.startswith("pooler")]


@pytest.mark.parametrize(
    "changes",
    [
        {"model_type": "unheard-of"},
        {"model_type": None},
        {"hidden_size": 33},
        {"hidden_size": -4},
        {"hidden_size": "wide"},
        {"hidden_act": "unheard-of"},
        {"num_hidden_layers": "2\n3"},
        {"num_attention_heads": 0},
        {"vocab_size": None},
        {"pad_token_id": 10**6},
    ],
    ids=str,
)
def test_an_odd_configuration_is_refused_in_one_line(tiny_encoders: Path, changes: dict[str, Any]) -> None:
    config = json.loads((tiny_encoders / "bert" / "config.json").read_text())
    with pytest.raises(HeadwayError) as refusal:
        pretrained.build({**config, **changes})
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 500


@pytest.mark.parametrize(
    "settings",
    [
        {"attn_implementation": "organisation/kernel"},
        {"_attn_implementation": "organisation/kernel"},
        {"_attn_implementation_internal": "organisation/kernel"},
        {"auto_map": {"AutoModel": "code.Model"}},
        {"quantization_config": {"load_in_8bit": True}},
        {"torch_dtype": "float16"},
        {"dtype": "float16"},
        {"num_labels": 5},
        {"id2label": {"0": "a"}, "label2id": {"a": 0}},
        {"_name_or_path": "organisation/model"},
        {"gradient_checkpointing": True},
        {"output_hidden_states": True, "output_attentions": True, "return_dict": False},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_settings_that_are_no_sizes_change_nothing(tiny_encoders: Path, settings: dict[str, Any]) -> None:
    folder = tiny_encoders / "bert"
    config = json.loads((folder / "config.json").read_text())
    tokens, loaded = pad(tokens_of(folder)), pretrained.load(folder)
    built = pretrained.build({**config, **settings})
    built.load_state_dict(loaded.state_dict())
    with torch.inference_mode():
        torch.testing.assert_close(hidden_states(built, tokens), hidden_states(loaded, tokens), rtol=0, atol=0)


def test_missing_weights_are_named(damaged: Path) -> None:
    tensors = load_file(damaged / "model.safetensors")
    name = "encoder.layer.1.output.dense.weight"
    del tensors[name]
    save_file(tensors, damaged / "model.safetensors", {"format": "pt"})
    with pytest.raises(HeadwayError) as refusal:
        pretrained.load(damaged)
    assert str(damaged) in str(refusal.value)
    assert name in str(refusal.value)


def test_weights_of_another_shape_are_named(damaged: Path) -> None:
    tensors = load_file(damaged / "model.safetensors")
    name = "encoder.layer.1.output.dense.weight"
    tensors[name] = tensors[name].T.contiguous()
    save_file(tensors, damaged / "model.safetensors", {"format": "pt"})
    with pytest.raises(HeadwayError) as refusal:
        pretrained.load(damaged)
    assert "\n" not in str(refusal.value)
    assert str(damaged) in str(refusal.value)
    assert name in str(refusal.value)


def test_a_missing_pooler_is_not_missed_since_it_is_not_used(damaged: Path) -> None:
    tensors = load_file(damaged / "model.safetensors")
    assert any(name.startswith("pooler.") for name in tensors)
    save_file(
        {n: t for n, t in tensors.items() if not n.startswith("pooler.")}, damaged / "model.safetensors", {"format": "pt"}
    )
    with torch.inference_mode():
        tokens = pad(tokens_of(damaged))
        assert torch.isfinite(hidden_states(pretrained.load(damaged), tokens)[-1]).all()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(damaged: Path, value: float) -> None:
    tensors = load_file(damaged / "model.safetensors")
    name = "encoder.layer.1.output.dense.weight"
    tensors[name][0, 0] = value
    save_file(tensors, damaged / "model.safetensors", {"format": "pt"})
    with pytest.raises(HeadwayError, match="not finite") as refusal:
        pretrained.load(damaged)
    assert name in str(refusal.value)


def test_without_the_library_one_line_says_what_to_install(tiny_encoders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    for use in (lambda: pretrained.load(tiny_encoders / "bert"), lambda: pretrained.build({"model_type": "bert"})):
        with pytest.raises(HeadwayError) as refusal:
            use()
        assert str(refusal.value) == NO_TRANSFORMERS
