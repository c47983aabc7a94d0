"""Static encoders: their features are those of model2vec, in plain NumPy here, and they need no other library than PyTorch."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer

from headway import encoders
from headway import params as parameters
from headway.data.batching import pad
from headway.data.batching.datamodule import TextDataModule
from headway.data.tokenization import subwords
from headway.data.tokenization.encoded import EncodedTexts
from headway.errors import HeadwayError
from headway.model import pretrained
from headway.model.fine_tuning import FineTuningModule, parameter_groups
from headway.model.pretrained import POOLINGS, PretrainedClassifier, features
from headway.model.training import fit
from headway.params import Params
from tests.tiny_encoders import TEXTS, WIDTH, write_static

#: With words that the tiny tokenizer does not know.
WITH_UNKNOWN = [*TEXTS, "dull 映画 movie", "電影 plot", " ".join(TEXTS * 3)]


@pytest.fixture(autouse=True)
def without_transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Importing the library fails."""
    monkeypatch.setitem(sys.modules, "transformers", None)


def encoded(folder: Path, texts: list[str], max_length: int = 64) -> list[np.ndarray]:
    files = encoders.read(folder.parent, folder.name)
    return subwords.encoder_of(files.tokenizer, files.config, max_length, strip_html=True)(texts)


def read_by_model2vec(folder: Path, text: str) -> np.ndarray:
    """The vectors of the sub-words of a text as model2vec has them, (T, d)."""
    tokenizer, tensors = Tokenizer.from_file(str(folder / "tokenizer.json")), load_file(folder / "model.safetensors")
    tokenizer.no_truncation()
    tokenizer.no_padding()
    unknown = tokenizer.token_to_id("[UNK]")
    ids = np.array([token for token in tokenizer.encode(text, add_special_tokens=False).ids if token != unknown])
    vectors = tensors["embeddings"][tensors["mapping"][ids] if "mapping" in tensors else ids].astype(np.float64)
    return vectors * tensors["weights"][ids][:, None] if "weights" in tensors else vectors


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("settings", [{}, {"mapped": True}, {"weighted": True}, {"mapped": True, "weighted": True}], ids=str)
def test_the_mean_is_what_model2vec_encodes_whatever_the_batch(
    tmp_path: Path, settings: dict[str, bool], normalize: bool
) -> None:
    folder = write_static(tmp_path / "static", normalize=normalize, **settings)
    tokens = encoded(folder, WITH_UNKNOWN, max_length=1000)
    assert len({len(text) for text in tokens}) > 3
    encoder = pretrained.load(folder)
    with torch.inference_mode():
        found = features(encoder, pad(tokens)).numpy()
    assert found.shape == (len(WITH_UNKNOWN), 3, WIDTH)  # mean, first and maximum of the only layer
    for row, text in enumerate(WITH_UNKNOWN):
        vectors = read_by_model2vec(folder, text)
        length = np.linalg.norm(vectors.mean(axis=0)) if normalize else 1.0
        expected = np.stack([vectors.mean(axis=0), vectors[0], vectors.max(axis=0)]) / length
        np.testing.assert_allclose(found[row], expected, rtol=1e-4, atol=1e-5)


def test_a_text_without_known_words_has_the_vector_of_the_unknown_one(tmp_path: Path) -> None:
    folder = write_static(tmp_path / "static")
    tokens = encoded(folder, ["電影 映画", "電影", ""])
    unknown = Tokenizer.from_file(str(folder / "tokenizer.json")).token_to_id("[UNK]")
    assert [text.tolist() for text in tokens] == [[unknown + 1]] * 3


def test_a_long_text_is_shortened_after_unknown_words_are_left_out(tmp_path: Path) -> None:
    folder = write_static(tmp_path / "static")
    (plain,) = encoded(folder, [" ".join(TEXTS)])
    (short,) = encoded(folder, [" 電影 ".join(TEXTS)], max_length=9)
    np.testing.assert_array_equal(short, [*plain[:5], *plain[-4:]])


@pytest.mark.parametrize("kind", [np.float16, np.float64, np.int8])
def test_vectors_of_another_precision_are_computed_with_in_single_precision(tmp_path: Path, kind: Any) -> None:
    folder = write_static(tmp_path / "static", kind=kind)
    encoder = pretrained.load(folder)
    (vectors,) = encoder.parameters()
    assert vectors.dtype == torch.float32
    np.testing.assert_array_equal(
        vectors.detach().numpy(), load_file(folder / "model.safetensors")["embeddings"].astype(np.float32)
    )


@pytest.mark.parametrize("pooling", POOLINGS)
def test_logits_are_the_same_from_tokens_and_from_embeddings(tmp_path: Path, pooling: str) -> None:
    folder = write_static(tmp_path / "static", mapped=True, weighted=True, normalize=True)
    classifier = PretrainedClassifier(pretrained.load(folder), pooling, 64, 3).eval()
    torch.nn.init.normal_(classifier.output.weight)
    tokens = pad(encoded(folder, WITH_UNKNOWN))
    with torch.inference_mode():
        logits = classifier(tokens)
        again = classifier.classify(classifier.embed(tokens), tokens != 0)
    torch.testing.assert_close(again, logits)
    assert logits.std() > 0.01


def test_a_build_with_the_weights_of_a_file_is_the_loaded_encoder(tmp_path: Path) -> None:
    folder = write_static(tmp_path / "static", mapped=True, weighted=True, normalize=True)
    loaded, tokens = pretrained.load(folder), pad(encoded(folder, TEXTS))
    built = pretrained.build(encoders.read(tmp_path, "static").config)
    built.load_state_dict(loaded.state_dict(), strict=True)
    assert not built.training
    assert not loaded.training
    with torch.inference_mode():
        torch.testing.assert_close(features(built, tokens), features(loaded, tokens), rtol=0, atol=0)


@pytest.mark.parametrize(
    "changes", [{"hidden_size": None}, {"vocab_size": 0}, {"vectors": "20"}, {"mapped": 1}, {"normalize": "yes"}], ids=str
)
def test_impossible_sizes_are_refused_in_one_line(tmp_path: Path, changes: dict[str, Any]) -> None:
    write_static(tmp_path / "static")
    with pytest.raises(HeadwayError, match=next(iter(changes))) as refusal:
        pretrained.build({**encoders.read(tmp_path, "static").config, **changes})
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(("name", "value"), [("embeddings", np.nan), ("weights", np.inf), ("mapping", 20), ("mapping", -1)])
def test_weights_that_cannot_be_used_are_refused(tmp_path: Path, name: str, value: float) -> None:
    folder = write_static(tmp_path / "static", mapped=True, weighted=True)
    tensors = load_file(folder / "model.safetensors")
    tensors[name].flat[3] = value
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(HeadwayError, match=name) as refusal:
        pretrained.load(folder)
    assert str(folder) in str(refusal.value)


# Fine-tuning.


@pytest.fixture(scope="module")
def knobs(repository: Path) -> Params:
    changes = {
        "tune.space": {},
        "model.encoder": "pretrained",
        "pretrained.path": "static",
        "pretrained.mode": "fine_tune",
        "pretrained.learning_rate": 0.01,
        "training.max_epochs": 6,
        "training.threads": 1,
    }
    return parameters.load(repository / "params.yaml").override(changes)


def module_of(knobs: Params, folder: Path) -> tuple[FineTuningModule, TextDataModule]:
    tokens = encoded(folder, TEXTS * 8)
    offsets = np.concatenate([[0], np.cumsum([len(text) for text in tokens])]).astype(np.int64)
    texts = EncodedTexts(np.concatenate(tokens), offsets, np.array([1, 0, 0, 1] * 8, dtype=np.int32), ())
    data = TextDataModule(texts, texts, 64, knobs.seed)
    return FineTuningModule(folder, knobs, [16, 16], knobs.seed, data), data


def test_the_vectors_learn_and_the_training_loss_falls(knobs: Params, tmp_path: Path) -> None:
    folder = write_static(tmp_path / "static", mapped=True, weighted=True)
    module = fit(*module_of(knobs, folder))
    assert module.history[-1]["train_loss"] < module.history[0]["train_loss"]
    (before,), (after,) = pretrained.load(folder).parameters(), module.classifier.encoder.parameters()
    assert not torch.equal(before, after)


def test_the_vectors_are_one_layer_below_the_linear_one(tmp_path: Path) -> None:
    classifier = PretrainedClassifier(pretrained.load(write_static(tmp_path / "static")), "mean", 64, 2)
    rates = {
        parameter.shape: group.rate
        for group in parameter_groups(classifier, rate=0.1, layer_decay=0.5, layers=0)
        for parameter in group.parameters
    }
    assert rates[classifier.output.weight.shape] == pytest.approx(1.0)
    assert rates[next(classifier.encoder.parameters()).shape] == pytest.approx(0.05)
    parameter_groups(classifier, rate=0.1, layer_decay=0.5, layers=1)
    assert not next(classifier.encoder.parameters()).requires_grad


def test_saving_activations_of_no_layers_is_refused(knobs: Params, tmp_path: Path) -> None:
    folder = write_static(tmp_path / "static")
    with pytest.raises(HeadwayError, match=r"pretrained\.gradient_checkpointing: model2vec"):
        module_of(knobs.override({"pretrained.gradient_checkpointing": True}), folder)


# Tokenizers of model2vec.


def with_normalizers(folder: Path, steps: list[dict[str, Any]]) -> Path:
    content = json.loads((folder / "tokenizer.json").read_text())
    content["normalizer"] = {"type": "Sequence", "normalizers": [content["normalizer"], *steps]}
    (folder / "tokenizer.json").write_text(json.dumps(content))
    return folder


def set_apart(mark: str, content: str = "") -> dict[str, Any]:
    return {"type": "Replace", "pattern": {"String": mark}, "content": content or f" {mark} "}


def test_a_normalizer_may_set_each_punctuation_mark_apart(tmp_path: Path) -> None:
    import string

    folder = write_static(tmp_path / "static")
    (expected,) = encoded(folder, ["dull ."])
    (found,) = encoded(with_normalizers(folder, [set_apart(mark) for mark in string.punctuation]), ["dull."])
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    "steps",
    [[set_apart("!")] * 2, [set_apart("a")], [set_apart("!", "!!")], [set_apart(" ")]],
    ids=["twice", "a", "!!", "space"],
)
def test_a_normalizer_that_could_lengthen_texts_without_limit_is_refused(
    tmp_path: Path, steps: list[dict[str, Any]]
) -> None:
    folder = with_normalizers(write_static(tmp_path / "static"), steps)
    with pytest.raises(HeadwayError, match="normalizer"):
        encoded(folder, TEXTS)
