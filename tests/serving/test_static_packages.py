"""Packages with a static encoder: served and explained without transformers, and refused if their tables do not fit."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from headway.errors import HeadwayError
from headway.files import sha256_of_file, sha256_of_json
from headway.model.joint import JointClassifier
from headway.reporting.explanation import page
from headway.serving.explain import PretrainedPart, explain
from headway.serving.package import CONFIG, TOKENIZER, WEIGHTS, ModelPackage
from headway.serving.package.config import ENCODER_TOKENIZER
from tests.serving.test_pretrained_packages import TEXTS, made_of, save


@pytest.fixture(scope="module")
def made(tiny_encoders: Path, tokenizer_file: Path) -> JointClassifier:
    return made_of(tiny_encoders / "static", tokenizer_file, "mean")


@pytest.fixture(scope="module")
def packed(
    made: JointClassifier, tiny_encoders: Path, tokenizer_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Only to be read."""
    return save(tmp_path_factory.mktemp("static") / "package", made, tokenizer_file, tiny_encoders / "static")


@pytest.fixture
def damaged(packed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(packed, tmp_path / "damaged"))


def seal(folder: Path, **sizes: Any) -> None:
    """Write the config with other sizes of the encoder, and the hashes of all files as they are now."""
    config = json.loads((folder / CONFIG).read_text())
    del config["sha256"]
    config["pretrained"]["config"] |= sizes
    hashes = {name: sha256_of_file(folder / name) for name in (WEIGHTS, TOKENIZER, ENCODER_TOKENIZER)}
    (folder / CONFIG).write_text(json.dumps({**config, "sha256": {**hashes, CONFIG: sha256_of_json(config)}}))


def require_one_line(folder: Path) -> str:
    with pytest.raises(HeadwayError) as refusal:
        ModelPackage.load(folder)
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


SERVE = """
import json, sys
from pathlib import Path
from headway.serving.package import ModelPackage

print(json.dumps(ModelPackage.load(Path(sys.argv[1])).predict_proba(json.loads(sys.argv[2])).tolist()))
print("transformers" in sys.modules)
"""


def test_a_package_gives_the_classifiers_probabilities_without_transformers(packed: Path, made: JointClassifier) -> None:
    texts = [*TEXTS, "電影"]
    done = subprocess.run(
        [sys.executable, "-c", SERVE, str(packed), json.dumps(texts)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert second == "False"
    loaded = ModelPackage.load(packed)
    here = ModelPackage(made, loaded.encoder, loaded.classes, loaded.subwords).predict_proba(texts)
    np.testing.assert_allclose(json.loads(first), here, atol=1e-6)
    assert here.std(axis=0).min() > 0.01


@pytest.mark.parametrize(
    "sizes",
    [
        {"hidden_size": 31},
        {"vocab_size": 7},
        {"vectors": 21},
        {"vectors": 10**8},
        {"mapped": False},
        {"weighted": False},
        {"normalize": 1},
        {"model_type": "bert"},
    ],
    ids=str,
)
def test_other_sizes_than_those_of_the_weights_are_refused(damaged: Path, sizes: dict[str, Any]) -> None:
    seal(damaged, **sizes)
    require_one_line(damaged)


@pytest.mark.parametrize("row", [20, -1])
def test_a_sub_word_without_a_vector_is_refused(damaged: Path, row: int) -> None:
    tensors = load_file(damaged / WEIGHTS)
    tensors["attention.encoder.mapping"][5] = row
    save_file(tensors, damaged / WEIGHTS)
    seal(damaged)
    assert "mapping" in require_one_line(damaged)


def test_contributions_are_each_words_share_of_the_linear_layer(packed: Path) -> None:
    package = ModelPackage.load(packed)
    found = explain(package, "a 電影 quietly moving film")
    part, model = found.attention, package.classifier
    assert isinstance(part, PretrainedPart)
    assert part.maps == ()
    assert "[CLS]" not in part.subwords.names
    assert "[UNK]" not in part.subwords.names
    with torch.no_grad():
        embedded = model.attention.embed(torch.from_numpy(part.subwords.ids)[None])[0]  # (S, d)
        shares = embedded @ model.attention.output.weight.T / len(embedded) * model.weights[1]  # (S, C)
    expected = (shares - shares.mean(dim=1, keepdim=True))[:, found.predicted]
    np.testing.assert_allclose(part.contributions, expected, atol=1e-5)
    assert part.left_over == pytest.approx(0, abs=1e-5)
    total = part.contributions.sum() + part.blank + part.left_over
    assert total == pytest.approx(part.logits[found.predicted], abs=1e-5)
    np.testing.assert_allclose(found.probabilities, package.predict_proba([found.text])[0], atol=1e-6)


def test_the_page_says_that_there_is_no_attention_and_shows_unknown_words_without_colour(packed: Path) -> None:
    text = "a 電影 quietly moving film"
    found = explain(ModelPackage.load(packed), text)
    html = page.render(found)
    assert "This encoder is static" in html
    for words in ("Attention weights do not show", "too many weights", "<canvas", "only the positions are left"):
        assert words not in html
    assert isinstance(found.attention, PretrainedPart)
    words = [text[start:end] for start, end in found.attention.subwords.word_spans]
    assert words == ["a", "quietly", "moving", "film"]
