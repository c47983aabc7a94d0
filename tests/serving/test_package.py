"""The model package: it loads as it was saved, alterations are refused, and loading needs few libraries."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from safetensors.torch import load_file, save_file

from headway.data.batching import pad
from headway.data.tokenization import tokenizer as tokenization
from headway.data.tokenization.tokenizer import TextEncoder
from headway.errors import HeadwayError
from headway.files import sha256_of_file, sha256_of_json
from headway.model.joint import JointClassifier
from headway.serving import package
from headway.serving.package import CONFIG, TOKENIZER, WEIGHTS, ModelPackage, model_package
from tests.conftest import REPOSITORY
from tests.serving.conftest import CLASSES, MAX_LENGTH, TEXTS, save


@pytest.fixture
def copy(saved: Path, tmp_path: Path) -> Path:
    """A copy of the package that a test may alter."""
    return Path(shutil.copytree(saved, tmp_path / "copy"))


@pytest.fixture(scope="module")
def model(saved: Path) -> ModelPackage:
    return ModelPackage.load(saved)


def test_a_package_of_format_6_gives_the_probabilities_that_it_gave_when_it_was_written() -> None:
    """Headway 0.1.0 wrote it: config.json has former names of knobs, the weights file a former name of a tensor."""
    model = ModelPackage.load(Path(__file__).parent / "package_format_6")
    assert model.classes == ["negative", "positive"]
    assert model.classifier.attention.params.dim_feedforward == 8
    found = model.predict_proba(["a charming film", "a tedious mess"])
    written = [[0.30120065808296204, 0.6987993121147156], [0.49737629294395447, 0.5026237368583679]]
    np.testing.assert_allclose(found, written, rtol=1e-5)


# Predicting.


def test_a_loaded_model_gives_exactly_the_probabilities_of_the_saved_one(
    model: ModelPackage, classifier: JointClassifier, tokenizer_file: Path
) -> None:
    tokenizer = tokenization.load(tokenizer_file)
    assert model.classes == CLASSES
    assert model.encoder.max_length == MAX_LENGTH
    for text in TEXTS:
        tokens = pad(TextEncoder(tokenizer, MAX_LENGTH)([text]))
        with torch.inference_mode():
            expected = classifier(tokens).softmax(dim=1)
        assert torch.equal(torch.from_numpy(model.predict_proba([text])), expected)
    assert model.predict_proba(TEXTS).std(axis=0).min() > 0.01  # the texts do differ


def test_probabilities_are_proper(model: ModelPackage) -> None:
    probabilities = model.predict_proba(TEXTS)
    assert probabilities.shape == (len(TEXTS), len(CLASSES))
    assert probabilities.dtype == np.float32
    assert (probabilities >= 0).all()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from([*TEXTS, "good", "a b c d e f g"]), max_size=12))
def test_the_result_for_a_text_does_not_depend_on_the_other_texts(model: ModelPackage, texts: list[str]) -> None:
    together = model.predict_proba(texts)
    alone = np.array([model.predict_proba([text])[0] for text in texts], dtype=np.float32).reshape(len(texts), len(CLASSES))
    np.testing.assert_allclose(together, alone, atol=1e-5)
    np.testing.assert_allclose(model.predict_proba(texts[::-1])[::-1], together, atol=1e-5)


def test_texts_of_several_batches_keep_their_order(model: ModelPackage) -> None:
    texts = [" ".join(["good", "film", "bad", "plot"][: 1 + index % 4] * (1 + index % 9)) for index in range(2000)]
    assert sum(len(text.split()) for text in texts) > model_package.TOKENS_PER_BATCH
    together = model.predict_proba(texts)
    some = [0, 1, 999, 1998, 1999]
    np.testing.assert_allclose(together[some], [model.predict_proba([texts[index]])[0] for index in some], atol=1e-5)


def test_no_text_gives_no_row(model: ModelPackage) -> None:
    assert model.predict_proba([]).shape == (0, len(CLASSES))


def test_a_text_of_a_megabyte_is_one_row_like_any_other(model: ModelPackage) -> None:
    opening, end = "a wonderful film from the first minute ", " what a dreadful and boring end"
    text = opening + "and then it goes on and on " * 40_000 + end
    assert len(text) > 1_000_000
    huge, short = model.predict_proba([text, "good"])
    assert np.isfinite(huge).all()
    np.testing.assert_allclose(short, model.predict_proba(["good"])[0], atol=1e-5)
    assert not np.allclose(
        huge, model.predict_proba([text.replace("dreadful and boring", "splendid and fine")])[0], atol=1e-4
    )


# What is refused.


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-10] ^= 1
    path.write_bytes(content)


def edit(**changes: Any) -> Callable[[Path], None]:
    """Changes values in the config."""

    def apply(folder: Path) -> None:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        (folder / CONFIG).write_text(json.dumps({**config, **changes}), encoding="utf-8")

    return apply


def drop(key: str) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        del config[key]
        (folder / CONFIG).write_text(json.dumps(config), encoding="utf-8")

    return apply


@pytest.mark.parametrize(
    ("alter", "message"),
    [
        pytest.param(lambda folder: flip_a_byte(folder / WEIGHTS), f"{WEIGHTS}: SHA-256 differs", id="weights"),
        pytest.param(lambda folder: flip_a_byte(folder / TOKENIZER), f"{TOKENIZER}: SHA-256 differs", id="tokenizer"),
        pytest.param(edit(classes=CLASSES[::-1]), f"{CONFIG}: SHA-256 differs", id="swapped labels"),
        pytest.param(edit(max_length=7), f"{CONFIG}: SHA-256 differs", id="truncation"),
        pytest.param(edit(extra=1), f"{CONFIG}: SHA-256 differs", id="one key more"),
        pytest.param(drop("model"), f"{CONFIG}: SHA-256 differs", id="one key less"),
        pytest.param(drop("sha256"), f"{CONFIG}: SHA-256 differs", id="no hashes"),
        pytest.param(edit(sha256={}), f"{CONFIG}: SHA-256 differs", id="empty hashes"),
        pytest.param(edit(sha256="abc"), f"{CONFIG}: SHA-256 differs", id="odd hashes"),
        pytest.param(
            edit(format=5), f"{CONFIG}: format 5, this Headway reads formats 6, 7, 8, 9 and 10", id="an earlier format"
        ),
        pytest.param(drop("format"), f"{CONFIG}: format None, this Headway reads formats 6, 7, 8, 9 and 10", id="no format"),
        pytest.param(lambda folder: (folder / CONFIG).write_text("{"), "damaged (not JSON)", id="not JSON"),
        pytest.param(lambda folder: (folder / CONFIG).write_bytes(b"\xff\xfe\x00"), "damaged (not JSON)", id="not text"),
        pytest.param(lambda folder: (folder / CONFIG).write_text("[1]"), "expected an object, found list", id="a list"),
        pytest.param(lambda folder: (folder / WEIGHTS).unlink(), f"{WEIGHTS}: missing", id="no weights"),
        pytest.param(lambda folder: (folder / TOKENIZER).unlink(), f"{TOKENIZER}: missing", id="no tokenizer"),
        pytest.param(lambda folder: (folder / CONFIG).unlink(), "not a model package", id="no config"),
        pytest.param(shutil.rmtree, "not a model package", id="no folder"),
    ],
)
def test_an_altered_or_incomplete_package_is_refused_in_one_line(
    copy: Path, alter: Callable[[Path], None], message: str
) -> None:
    alter(copy)
    with pytest.raises(HeadwayError) as refusal:
        ModelPackage.load(copy)
    assert message in str(refusal.value)
    assert str(copy) in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "change",
    [
        "other weights",
        "no weights at all",
        "other sizes",
        "odd sizes",
        "no vocabulary",
        "no max_length",
        "weight that is not finite",
        "negative weight",
    ],
)
def test_a_package_with_correct_hashes_but_wrong_contents_is_refused_in_one_line(copy: Path, change: str) -> None:
    """Such a package could come from a faulty program."""
    config = json.loads((copy / CONFIG).read_text(encoding="utf-8"))
    hashes = config.pop("sha256")
    if change == "other weights":
        weights = load_file(copy / WEIGHTS)
        weights.pop("attention.output.bias")
        save_file(weights, copy / WEIGHTS)
    elif change == "no weights at all":
        (copy / WEIGHTS).write_bytes(b"nothing")
    elif change == "other sizes":
        config["model"]["d_model"] = 16
    elif change in ("weight that is not finite", "negative weight"):
        odd = torch.nan if change == "weight that is not finite" else -0.1
        save_file({**load_file(copy / WEIGHTS), "weights": torch.tensor([0.5, odd])}, copy / WEIGHTS)
    elif change == "no max_length":
        del config["max_length"]
    elif change == "no vocabulary":
        del config["vocabulary_size"]
    else:
        config["model"]["n_heads"] = 3
    hashes |= {CONFIG: sha256_of_json(config), WEIGHTS: sha256_of_file(copy / WEIGHTS)}
    (copy / CONFIG).write_text(json.dumps({**config, "sha256": hashes}), encoding="utf-8")
    with pytest.raises(HeadwayError, match="cannot be loaded as a model package") as refusal:
        ModelPackage.load(copy)
    assert "\n" not in str(refusal.value)


# Identity.


def test_saving_a_model_twice_gives_the_same_bytes(
    saved: Path, classifier: JointClassifier, tokenizer_file: Path, tmp_path: Path
) -> None:
    again = save(tmp_path, classifier, tokenizer_file)
    assert sorted(file.name for file in again.iterdir()) == sorted([WEIGHTS, TOKENIZER, CONFIG])
    for file in again.iterdir():
        assert file.read_bytes() == (saved / file.name).read_bytes(), file.name
    assert package.fingerprint(again) == package.fingerprint(saved)


def test_the_fingerprint_changes_with_a_single_weight(
    saved: Path, classifier: JointClassifier, tokenizer_file: Path, tmp_path: Path
) -> None:
    weight = classifier.attention.output.bias
    before = weight.detach().clone()
    with torch.no_grad():
        weight[0] += 0.001
    try:
        assert package.fingerprint(save(tmp_path, classifier, tokenizer_file)) != package.fingerprint(saved)
    finally:
        weight.data.copy_(before)


def test_a_folder_without_a_package_has_no_fingerprint(tmp_path: Path) -> None:
    with pytest.raises(HeadwayError, match="not a model package"):
        package.fingerprint(tmp_path)


# What loading needs.

ASK = """
import sys, time
started = time.perf_counter()
absent = set(sys.argv[3].split(","))

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in absent:
            raise ModuleNotFoundError(f"{name} is not installed where only the serving extra is", name=name)

sys.meta_path.insert(0, Refuse())
from pathlib import Path
from headway.serving.package import ModelPackage

imported = time.perf_counter()
model = ModelPackage.load(Path(sys.argv[1]))
loaded = time.perf_counter()
print(*model.predict_proba([sys.argv[2]])[0])
answered = time.perf_counter()
import pandas
from headway.serving.pyfunc import _load_pyfunc

print(_load_pyfunc(sys.argv[1]).predict(pandas.DataFrame({"text": [sys.argv[2]]}))["label"].item())
import headway

assert headway.load(sys.argv[1]).predict_proba([sys.argv[2]]).tolist() == model.predict_proba([sys.argv[2]]).tolist()
print(f"imports {imported - started:.2f} s, loading {loaded - imported:.2f} s, first answer {answered - loaded:.2f} s")
print(",".join(sys.modules))
"""


#: Beginning of a program that cannot import the modules that its third argument names, with commas between them.
REFUSE_ABSENT = """
import sys
absent = set(sys.argv[3].split(","))

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in absent:
            raise ModuleNotFoundError(f"{name} is not installed where only the serving extra is", name=name)

sys.meta_path.insert(0, Refuse())
"""


def modules_beyond(extra: str) -> set[str]:
    """What is installed here and would not be where an extra of pyproject.toml, and all that it needs itself, is alone."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pending = [Requirement(line) for line in project["optional-dependencies"][extra]]
    found: set[str] = set()
    while pending:
        requirement = pending.pop()
        name = canonicalize_name(requirement.name)
        if name in found or not (requirement.marker is None or requirement.marker.evaluate({"extra": ""})):
            continue
        found.add(name)
        assert metadata.version(name) in requirement.specifier
        pending += map(Requirement, metadata.requires(name) or [])
    modules = metadata.packages_distributions()
    ours = {module for module, owners in modules.items() if found & set(map(canonicalize_name, owners))}
    return modules.keys() - ours - {"headway"}


def test_a_process_with_only_the_serving_extra_loads_a_model_and_predicts(saved: Path, model: ModelPackage) -> None:
    absent = modules_beyond("serving")
    training = {"pytorch_lightning", "optuna", "datasets", "sklearn", "scipy", "prefect", "dvc", "mlflow", "matplotlib"}
    assert absent > training | {"torchmetrics", "rensa", "fontTools"}
    command = [sys.executable, "-c", ASK, str(saved), TEXTS[0], ",".join(sorted(absent))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answer, label, seconds, modules = done.stdout.splitlines()
    expected = model.predict_proba([TEXTS[0]])[0]
    np.testing.assert_allclose([float(value) for value in answer.split()], expected, atol=1e-6)
    assert label == CLASSES[expected.argmax()]
    assert not training & set(modules.split(","))
    print(f"a fresh process with only the serving extra: {seconds}")  # noqa: T201 - for a person, with pytest -s
