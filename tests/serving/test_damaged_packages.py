"""A damaged or hostile package gives finite probabilities or one line, soon, and without memory for what it only announces.

All packages here have correct hashes, as one from a faulty program or a hostile person would.
"""

from __future__ import annotations

import copy
import json
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from headway.data.tokenization import fitting
from headway.errors import HeadwayError
from headway.files import sha256_of_file, sha256_of_json
from headway.model.classifier import AttentionClassifier
from headway.model.joint import JointClassifier
from headway.model.ngrams import NgramClassifier
from headway.params import Params
from headway.serving import package
from headway.serving.package import CONFIG, TOKENIZER, WEIGHTS, ModelPackage
from tests.serving.refusals import refusals

TEXTS = ["a charming, funny film", "好看 的 电影 <br />", "a" * 500, "\u0301 🤷", "0 1 2"]


@pytest.fixture(scope="module", params=["word", "bpe", "unigram"])
def small(request: pytest.FixtureRequest, params: Params, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package of 100 kB with each kind of tokenizer; only to be read."""
    folder = tmp_path_factory.mktemp(request.param)
    knobs = params.override(
        {"tokenizer.kind": request.param, "tokenizer.vocabulary_size": 300, "tokenizer.strip_accents": True}
    )
    texts = ["a charming, funny film", "tedious 好看 的 电影 mess"] * 50
    tokenizer = fitting.fit(texts, knobs.tokenizer, fitting.measure(texts))
    tokenizer.save(str(folder / "fitted.json"))
    sizes = params.override({"model.d_model": 8, "model.window_size": 16, "model.bigram_buckets": 64}).model
    torch.manual_seed(0)
    linear = NgramClassifier(10, 2, 2)
    linear.keys = torch.arange(10)
    made = JointClassifier(linear, AttentionClassifier(sizes, tokenizer.get_vocab_size(), 2))
    folder.joinpath("package").mkdir()
    package.save(folder / "package", made, folder / "fitted.json", 40, tokenizer.get_vocab_size(), ["negative", "positive"])
    return folder / "package"


@pytest.fixture
def damaged(small: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small, tmp_path / "damaged"))


def read(folder: Path, name: str) -> Any:
    return json.loads((folder / name).read_text(encoding="utf-8"))


def seal(folder: Path, config: dict[str, Any] | None = None, text: str | None = None) -> None:
    """Write the config with the hashes of all files as they are now."""
    config = {**(read(folder, CONFIG) if config is None else config)}
    config.pop("sha256", None)
    hashes = {name: sha256_of_file(folder / name) for name in (WEIGHTS, TOKENIZER)}
    try:
        hashes[CONFIG] = sha256_of_json(config)
    except UnicodeEncodeError:
        hashes[CONFIG] = "it has none"
    (folder / CONFIG).write_text(json.dumps({**config, "sha256": hashes}), encoding="utf-8")


def require_one_line(folder: Path) -> str:
    with pytest.raises(HeadwayError) as refusal:
        ModelPackage.load(folder).predict_proba(TEXTS)
    line = str(refusal.value)
    assert "\n" not in line
    assert len(line) < 600
    return line


# Sizes and values in the config.


@pytest.mark.parametrize("value", [0, -1, None, "40", 1.5, True, 10**30, [40]], ids=repr)
@pytest.mark.parametrize("key", ["max_length", "vocabulary_size", "model.max_length", "model.d_model", "ngrams.n_features"])
def test_an_impossible_size_is_refused(damaged: Path, key: str, value: object) -> None:
    config = read(damaged, CONFIG)
    section, _, name = key.rpartition(".")
    (config[section] if section else config)[name] = value
    seal(damaged, config)
    assert str(damaged) in require_one_line(damaged)


@pytest.mark.parametrize(
    "classes", [[], ["one"], ["a", "a"], ["a", "b", "c"], ["a", 1], ["a", "\ud800"], "ab", None, {"a": 1, "b": 2}], ids=repr
)
def test_impossible_classes_are_refused(damaged: Path, classes: object) -> None:
    seal(damaged, {**read(damaged, CONFIG), "classes": classes})
    require_one_line(damaged)


@pytest.mark.parametrize("name", [CONFIG, TOKENIZER])
@pytest.mark.parametrize(
    "content",
    ["[" * 100_000, '{"a":' * 100_000, "1" * 10_000, "NaN", "", "null", "[]", '"\\ud800"', '{"\\udfff": 1}'],
    ids=["deep list", "deep object", "digits", "NaN", "empty", "null", "list", "surrogate", "surrogate key"],
)
def test_a_file_that_is_no_object_is_refused(damaged: Path, name: str, content: str) -> None:
    (damaged / name).write_text(content, encoding="utf-8")
    if name != CONFIG:
        seal(damaged)
    assert name in require_one_line(damaged)


ANNOUNCED = {
    "n-grams": {"ngrams": {"n_features": 100_000_000, "max_order": 2}},
    "more n-grams": {"ngrams": {"n_features": 1_000_000_000, "max_order": 2}},
    "vocabulary": {"vocabulary_size": 100_000_000},
    "width": {"model.d_model": 100_000, "model.n_heads": 2},
    "feed-forward": {"model.dim_feedforward": 100_000_000},
    "bigrams": {"model.bigram_buckets": 100_000_000},
    "layers": {"model.n_layers": 1_000_000},
    "classes": {"classes": [str(number) for number in range(100_000)]},
}


def test_sizes_in_the_config_take_no_memory(small: Path, tmp_path: Path) -> None:
    folders = {}
    for name, changes in ANNOUNCED.items():
        folder = folders[name] = Path(shutil.copytree(small, tmp_path / name))
        config = read(folder, CONFIG)
        for key, value in changes.items():
            section, _, last = key.rpartition(".")
            (config[section] if section else config)[last] = value
        seal(folder, config)
    found = refusals(small, list(folders.values()), allowed=200_000)
    for name, (taken, _, message) in zip(folders, found, strict=True):
        assert message.startswith(str(folders[name])), message
        assert "alloc" not in message
        assert taken < 100_000, f"{name}: {taken:,} kB"


# Weights.


def header(**tensors: Any) -> bytes:
    text = json.dumps(tensors).encode()
    return struct.pack("<Q", len(text)) + text


@pytest.mark.parametrize(
    "content",
    [b"", b"\0" * 8, b"\xff" * 8, b"\xff" * 100, header(), header(a=1), header(a={"dtype": "F32", "shape": [10**18]})],
    ids=["empty", "zeros", "huge header", "noise", "no tensor", "odd tensor", "huge tensor"],
)
def test_a_file_that_is_not_of_tensors_is_refused(damaged: Path, content: bytes) -> None:
    (damaged / WEIGHTS).write_bytes(content)
    seal(damaged)
    assert WEIGHTS in require_one_line(damaged)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_weight_that_is_not_finite_is_refused_wherever_it_is(damaged: Path, value: float) -> None:
    tensors = load_file(damaged / WEIGHTS)
    for name in [name for name, tensor in tensors.items() if tensor.is_floating_point()]:
        changed = tensors[name].clone()
        changed.view(-1)[-1] = value
        save_file({**tensors, name: changed}, damaged / WEIGHTS)
        seal(damaged)
        assert name in require_one_line(damaged)


@pytest.mark.parametrize(
    "change", ["half precision", "transposed", "missing", "one more", "negative part", "unsorted n-grams"]
)
def test_tensors_that_do_not_fit_the_config_are_refused(damaged: Path, change: str) -> None:
    tensors = load_file(damaged / WEIGHTS)
    name = "attention.output.weight"
    if change == "missing":
        del tensors[name]
    else:
        name, tensor = {
            "half precision": (name, tensors[name].half()),
            "transposed": (name, tensors[name].T.contiguous()),
            "one more": ("another", torch.zeros(1)),
            "negative part": ("weights", torch.tensor([0.5, -0.1])),
            "unsorted n-grams": ("ngrams.keys", tensors["ngrams.keys"].flip(0).contiguous()),
        }[change]
        tensors[name] = tensor
    save_file(tensors, damaged / WEIGHTS)
    seal(damaged)
    assert WEIGHTS in require_one_line(damaged)


def test_weights_too_large_to_compute_with_give_one_line(damaged: Path) -> None:
    tensors = load_file(damaged / WEIGHTS)
    tensors["attention.output.weight"][:] = 3e38
    tensors["attention.pooling.score.weight"][:] = 3e38
    save_file(tensors, damaged / WEIGHTS)
    seal(damaged)
    assert "not finite" in require_one_line(damaged)


# Tokenizers.


def test_a_tokenizer_with_a_pattern_of_its_own_is_refused_without_running_it(damaged: Path) -> None:
    content = read(damaged, TOKENIZER)
    content["normalizer"]["normalizers"][0]["pattern"] = {"Regex": "(a+)+$|(a|aa)+$|(.*a){25}"}
    (damaged / TOKENIZER).write_text(json.dumps(content))
    seal(damaged)
    assert TOKENIZER in require_one_line(damaged)


def larger(model: dict[str, Any]) -> None:
    vocabulary = model["vocab"]
    if isinstance(vocabulary, list):
        vocabulary.append(["another", -9.5])
    else:
        vocabulary["another"] = len(vocabulary)


def empty(model: dict[str, Any]) -> None:
    model["vocab"] = type(model["vocab"])()


@pytest.mark.parametrize(
    "damage", [larger, empty, lambda model: model.update(type="WordPiece"), lambda model: model.clear()]
)
def test_a_tokenizer_with_another_vocabulary_is_refused(damaged: Path, damage: Callable[[dict[str, Any]], None]) -> None:
    content = read(damaged, TOKENIZER)
    damage(content["model"])
    (damaged / TOKENIZER).write_text(json.dumps(content))
    seal(damaged)
    assert TOKENIZER in require_one_line(damaged)


# Any other change.

ODD = [
    None,
    True,
    False,
    0,
    -1,
    1,
    2,
    10**9,
    10**30,
    1e300,
    -0.5,
    "",
    "[UNK]",
    "a",
    "Sequence",
    "BPE",
    "WordLevel",
    "\ud800",
]
ODD += [[], {}, [[]], [None], {"type": "NFC"}, {"Regex": "(a+)+$"}, "x" * 1000, [0] * 100]


@st.composite
def mutations(draw: st.DrawFn, tree: Any) -> Any:
    """The tree with one to three values replaced, removed or doubled."""
    tree = copy.deepcopy(tree)
    for _ in range(draw(st.integers(1, 3))):
        node = tree
        while True:
            keys = list(node) if isinstance(node, dict) else list(range(len(node)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(node[key], dict | list) and node[key] and draw(st.integers(0, 3)):
                node = node[key]
                continue
            action = draw(st.sampled_from(["replace", "replace", "remove", "double"]))
            if action == "replace":
                node[key] = copy.deepcopy(draw(st.sampled_from(ODD)))
            elif action == "remove":
                del node[key]
            elif isinstance(node, list):
                node.append(copy.deepcopy(node[key]))
            else:
                node[f"{key} again"] = copy.deepcopy(node[key])
            break
    return tree


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.data())
@pytest.mark.parametrize("name", [CONFIG, TOKENIZER])
def test_any_change_gives_finite_probabilities_or_one_line(
    small: Path, damaged: Path, name: str, data: st.DataObject
) -> None:
    content = data.draw(mutations(read(small, name)))
    if name == CONFIG:
        seal(damaged, content)
    else:
        (damaged / TOKENIZER).write_text(json.dumps(content))
        seal(damaged, read(small, CONFIG))
    message, probabilities = "", np.zeros(1)
    try:
        probabilities = ModelPackage.load(damaged).predict_proba(TEXTS)
    except HeadwayError as error:
        message = str(error)
    assert "\n" not in message
    assert np.isfinite(probabilities).all()


# Files.


def test_every_file_has_the_permissions_that_the_umask_leaves(small: Path, tmp_path: Path) -> None:
    model = ModelPackage.load(small)
    for umask, expected in ((0o022, 0o644), (0o027, 0o640), (0o002, 0o664)):
        folder = tmp_path / oct(umask)
        folder.mkdir()
        before = os.umask(umask)
        try:
            package.save(
                folder, model.classifier, small / TOKENIZER, 40, read(small, CONFIG)["vocabulary_size"], model.classes
            )
        finally:
            os.umask(before)
        assert {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()} == dict.fromkeys(
            (WEIGHTS, TOKENIZER, CONFIG), expected
        )


@pytest.mark.parametrize("name", [CONFIG, TOKENIZER, WEIGHTS])
def test_a_file_that_nobody_may_read_says_so(damaged: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Tests may run as root, who may read everything, so opening the file fails here by other means."""
    opened = Path.open

    def refuse(path: Path, *arguments: Any, **more: Any) -> Any:
        if path == damaged / name:
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *arguments, **more)

    monkeypatch.setattr(Path, "open", refuse)
    assert require_one_line(damaged) == f"{damaged / name}: cannot be read: Permission denied"


@pytest.mark.parametrize("name", [CONFIG, TOKENIZER, WEIGHTS])
@pytest.mark.parametrize("kind", ["folder", "pipe", "endless", "link to itself"])
def test_anything_but_a_regular_file_is_refused(damaged: Path, name: str, kind: str) -> None:
    path = damaged / name
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero" if kind == "endless" else name)
    assert str(path) in require_one_line(damaged)


def test_a_file_in_the_place_of_the_folder_says_so(tmp_path: Path) -> None:
    (tmp_path / "model").write_text("")
    with pytest.raises(HeadwayError, match="folder"):
        ModelPackage.load(tmp_path / "model")
