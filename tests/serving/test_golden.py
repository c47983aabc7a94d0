"""Golden predictions: they exercise every part of a model, and replaying them notices a model that answers differently."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from headway.data.batching import pad
from headway.data.tokenization import fitting
from headway.data.tokenization import tokenizer as tokenization
from headway.errors import HeadwayError
from headway.files import sha256_of_json
from headway.model.classifier import AttentionClassifier
from headway.model.joint import JointClassifier
from headway.model.ngrams import NgramClassifier, ngrams
from headway.params import Params
from headway.serving import package
from headway.serving.package import CONFIG, ModelPackage, OtherAnswers, replay
from headway.serving.package.config import Golden
from headway.serving.package.golden import KEPT, ODD
from tests.serving.conftest import MAX_LENGTH

HAN = ["好看", "的", "电影"]


@pytest.fixture
def model(saved: Path) -> ModelPackage:
    """A package of the test's own, to be altered in memory."""
    return ModelPackage.load(saved)


def full_text(golden: Golden) -> str:
    return golden.text * golden.repeats


def rewrite(folder: Path, golden: list[object]) -> None:
    """Replace the golden predictions, with a correct hash."""
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    hashes = config.pop("sha256")
    config["golden"] = golden
    hashes[CONFIG] = sha256_of_json(config)
    (folder / CONFIG).write_text(json.dumps({**config, "sha256": hashes}), encoding="utf-8")


def test_a_loaded_package_gives_its_golden_predictions(model: ModelPackage) -> None:
    assert len(model.golden) >= 4
    assert replay(model) < 1e-6


def test_golden_texts_are_made_of_the_vocabulary_and_exercise_truncation_and_n_grams(
    model: ModelPackage, tokenizer_file: Path
) -> None:
    vocabulary = tokenization.load(tokenizer_file).get_vocab()
    texts = [full_text(one) for one in model.golden]
    assert texts[-1] == ODD
    assert all(word in vocabulary for text in texts[:-1] for word in text.split())
    assert max(len(text.split()) for text in texts) > MAX_LENGTH
    linear = model.classifier.ngrams
    assert linear is not None
    _, columns, _ = linear.features(pad(model.encoder(texts)))
    assert len(columns) > 0


def test_golden_texts_contain_pairs_of_words_that_the_n_grams_know(
    classifier: JointClassifier, tokenizer_file: Path, tmp_path: Path
) -> None:
    tokenizer = tokenization.load(tokenizer_file)
    words = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    first, second = [word for word, index in words if index > 1 and word.isalpha()][3:5]
    linear = NgramClassifier(1, 3, 2)
    ids = torch.tensor([[tokenizer.token_to_id(first), tokenizer.token_to_id(second)]])
    linear.keys = ngrams(ids, 2)[1][-1:]
    made = JointClassifier(linear, classifier.attention)
    package.save(tmp_path, made, tokenizer_file, MAX_LENGTH, tokenizer.get_vocab_size(), ["a", "b", "c"])
    assert f"{first} {second}" in [one.text for one in ModelPackage.load(tmp_path).golden]


@pytest.mark.parametrize("kind", ["word", "bpe", "unigram"])
def test_a_vocabulary_with_another_script_has_a_golden_text_in_it(params: Params, tmp_path: Path, kind: str) -> None:
    texts = ["a charming, funny film", f"tedious {' '.join(HAN)} mess"] * 50
    knobs = params.override({"tokenizer.kind": kind, "tokenizer.vocabulary_size": 300}).tokenizer
    tokenizer = fitting.fit(texts, knobs, fitting.measure(texts))
    tokenizer.save(str(tmp_path / "fitted.json"))
    sizes = params.override({"model.d_model": 8, "model.window_size": 16, "model.bigram_buckets": 64}).model
    attention = AttentionClassifier(sizes, tokenizer.get_vocab_size(), 2)
    (tmp_path / "package").mkdir()
    package.save(
        tmp_path / "package",
        JointClassifier(None, attention),
        tmp_path / "fitted.json",
        40,
        tokenizer.get_vocab_size(),
        ["negative", "positive"],
    )
    made = ModelPackage.load(tmp_path / "package")
    foreign = [one.text for one in made.golden if one.text != ODD and not any(map(str.isascii, one.text.replace(" ", "")))]
    assert foreign
    assert set(foreign[0].replace(" ", "")) <= set("".join(HAN))
    assert replay(made) < 1e-6


def test_of_many_classes_the_most_probable_ones_are_kept(
    classifier: JointClassifier, tokenizer_file: Path, tmp_path: Path
) -> None:
    vocabulary_size = tokenization.load(tokenizer_file).get_vocab_size()
    assert isinstance(classifier.attention, AttentionClassifier)
    torch.manual_seed(0)
    attention = AttentionClassifier(classifier.attention.params, vocabulary_size, 30)
    torch.nn.init.normal_(attention.output.weight)
    names = [f"class {index}" for index in range(30)]
    package.save(tmp_path, JointClassifier(None, attention), tokenizer_file, MAX_LENGTH, vocabulary_size, names)
    made = ModelPackage.load(tmp_path)
    for golden in made.golden:
        (row,) = made.predict_proba([full_text(golden)])
        assert golden.classes == sorted(np.argsort(-row, kind="stable")[:KEPT])
        np.testing.assert_allclose(golden.probabilities, row[golden.classes], atol=1e-6)


@pytest.mark.parametrize("part", ["attention", "n-grams", "weights of the parts", "truncation", "order of the classes"])
def test_a_model_that_answers_differently_is_noticed(model: ModelPackage, part: str) -> None:
    with torch.no_grad():
        if part == "attention":
            model.classifier.attention.output.bias[0] += 0.1
        elif part == "n-grams":
            assert model.classifier.ngrams is not None
            model.classifier.ngrams.weight *= 1.1
        elif part == "weights of the parts":
            model.classifier.weights += 0.01
        elif part == "truncation":
            model.encoder.max_length -= 1
        else:
            model.classifier.attention.output.weight[:] = model.classifier.attention.output.weight.flip(0)
    with pytest.raises(OtherAnswers) as refusal:
        replay(model)
    assert "\n" not in str(refusal.value)


def test_the_refusal_says_how_far_a_probability_is_off(model: ModelPackage) -> None:
    first, *rest = model.golden
    model.golden = (
        first.model_copy(update={"probabilities": [first.probabilities[0] - 0.25, *first.probabilities[1:]]}),
        *rest,
    )
    with pytest.raises(OtherAnswers, match=r"golden text 1 of \d.* of negative instead of .*difference of 2\.5e-01 where"):
        replay(model)


def test_a_package_of_an_earlier_format_has_none() -> None:
    model = ModelPackage.load(Path(__file__).parent / "package_format_6")
    assert model.golden == ()
    assert replay(model) == 0


def test_the_hash_of_the_config_covers_them(saved: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(saved, tmp_path / "copy"))
    content = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    content["golden"][0]["probabilities"][0] += 0.01
    (folder / CONFIG).write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(HeadwayError, match="SHA-256 differs"):
        ModelPackage.load(folder)


@pytest.mark.parametrize(
    "changes",
    [{"classes": [0, 1, 3]}, {"classes": [0, 1]}, {"classes": [-1, 1, 2]}, {"probabilities": [0.1, 0.2, 7.0]}, {"text": ""}],
)
def test_golden_predictions_that_do_not_fit_the_model_are_refused(
    saved: Path, tmp_path: Path, changes: dict[str, object]
) -> None:
    folder = Path(shutil.copytree(saved, tmp_path / "copy"))
    content = json.loads((folder / CONFIG).read_text(encoding="utf-8"))["golden"]
    rewrite(folder, content)
    assert replay(ModelPackage.load(folder)) < 1e-6
    rewrite(folder, [{**content[0], **changes}])
    with pytest.raises(HeadwayError, match="cannot be loaded as a model package"):
        ModelPackage.load(folder)


def test_another_processor_gives_the_same_answers_within_the_tolerance(saved: Path) -> None:
    """PyTorch and its libraries are made to use the instructions of a processor from 2008, and one thread."""
    older = {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2"}
    code = (
        "import sys, torch; torch.set_num_threads(1)\nfrom pathlib import Path\n"
        "from headway.serving.package import ModelPackage, replay\n"
        "print(torch.backends.cpu.get_cpu_capability(), replay(ModelPackage.load(Path(sys.argv[1]))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(saved)], env={**os.environ, **older}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    capability, difference = done.stdout.split()
    assert capability in ("DEFAULT", "NO")
    assert float(difference) < 1e-5
