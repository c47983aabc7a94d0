"""Packages with a pretrained encoder: they give the classifier's probabilities, and damaged ones give one line, soon."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from headway import encoders
from headway.data.batching import pad
from headway.data.tokenization import subwords
from headway.data.tokenization import tokenizer as tokenization
from headway.data.tokenization.subwords import SubwordEncoder
from headway.data.tokenization.tokenizer import TextEncoder
from headway.errors import NO_TRANSFORMERS, HeadwayError
from headway.files import sha256_of_file, sha256_of_json
from headway.model import pretrained
from headway.model.joint import JointClassifier
from headway.model.ngrams import NgramClassifier, ngrams
from headway.model.pretrained import PretrainedClassifier
from headway.serving import package
from headway.serving.package import CONFIG, TOKENIZER, WEIGHTS, ModelPackage, SavedEncoder, model_package
from headway.serving.package.config import ENCODER_TOKENIZER
from tests.serving.conftest import CLASSES, MAX_LENGTH
from tests.serving.refusals import refusals
from tests.tiny_encoders import FAMILIES, WIDTH

SUBWORDS = 24
TEXTS = [
    "tedious",
    "a charming , funny and quietly moving film",
    "the plot is a mess and nobody seems to care " * 20,
    "🤷 zxqv [SEP] </s>",
    "dull<br />",
    "it is <b>neither</b> good nor bad .",
    "好看 的 电影",
    "a" * 500,
]


def made_of(folder: Path, tokenizer_file: Path, pooling: str) -> JointClassifier:
    """A classifier with random weights beside those of the encoder."""
    torch.manual_seed(0)
    keys = ngrams(pad(TextEncoder(tokenization.load(tokenizer_file), MAX_LENGTH)(TEXTS[:2])), 2)[1].unique()
    linear = NgramClassifier(len(keys), len(CLASSES), 2)
    linear.keys = keys
    attention = PretrainedClassifier(pretrained.load(folder), pooling, SUBWORDS, len(CLASSES))
    made = JointClassifier(linear, attention)
    with torch.no_grad():
        for weight in (*attention.output.parameters(), linear.weight):
            weight.normal_()
        made.weights[:] = torch.tensor([0.41, 0.24])
    return made.eval()


def save(folder: Path, made: JointClassifier, tokenizer_file: Path, encoder: Path) -> Path:
    files = encoders.read(encoder.parent, encoder.name)
    size = tokenization.load(tokenizer_file).get_vocab_size()
    folder.mkdir(parents=True)
    saved = SavedEncoder(files, {"name": encoder.name, "sha256": files.sha256}, strip_html=True)
    package.save(folder, made, tokenizer_file, MAX_LENGTH, size, CLASSES, saved)
    return folder


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def made(family: str, tiny_encoders: Path, tokenizer_file: Path) -> JointClassifier:
    return made_of(tiny_encoders / family, tokenizer_file, {"bert": "mean", "roberta": "first", "modernbert": "max"}[family])


@pytest.fixture(scope="module")
def packed(
    family: str, made: JointClassifier, tiny_encoders: Path, tokenizer_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A package of each family; only to be read."""
    return save(tmp_path_factory.mktemp(family) / "package", made, tokenizer_file, tiny_encoders / family)


@pytest.fixture(scope="module")
def small(tiny_encoders: Path, tokenizer_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package with the tiny BERT; only to be read."""
    encoder = tiny_encoders / "bert"
    return save(
        tmp_path_factory.mktemp("small") / "package", made_of(encoder, tokenizer_file, "mean"), tokenizer_file, encoder
    )


@pytest.fixture
def damaged(small: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small, tmp_path / "damaged"))


def read(folder: Path, name: str = CONFIG) -> Any:
    return json.loads((folder / name).read_text(encoding="utf-8"))


def seal(folder: Path, config: dict[str, Any] | None = None) -> None:
    """Write the config with the hashes of all files as they are now."""
    config = {**(read(folder) if config is None else config)}
    config.pop("sha256", None)
    hashes = {name: sha256_of_file(folder / name) for name in (WEIGHTS, TOKENIZER, ENCODER_TOKENIZER)}
    (folder / CONFIG).write_text(json.dumps({**config, "sha256": {**hashes, CONFIG: sha256_of_json(config)}}))


def with_sizes(folder: Path, **changes: Any) -> None:
    """Seal the package with changes of the encoder's own configuration."""
    config = read(folder)
    config["pretrained"]["config"] |= changes
    seal(folder, config)


def require_one_line(folder: Path) -> str:
    with pytest.raises(HeadwayError) as refusal:
        ModelPackage.load(folder)
    line = str(refusal.value)
    assert "\n" not in line
    assert len(line) < 700
    assert line.startswith(str(folder))
    return line


# Predicting.


def test_a_loaded_package_gives_the_probabilities_of_the_classifier(
    packed: Path, made: JointClassifier, family: str, tiny_encoders: Path, tokenizer_file: Path
) -> None:
    model = ModelPackage.load(packed)
    words = TextEncoder(tokenization.load(tokenizer_file), MAX_LENGTH)
    pieces = SubwordEncoder(subwords.load(tiny_encoders / family / "tokenizer.json"), SUBWORDS, strip_html=True)
    found = model.predict_proba(TEXTS)
    for row, text in enumerate(TEXTS):
        with torch.inference_mode():
            expected = made(pad(words([text])), pad(pieces([text]))).softmax(dim=1)[0].numpy()
        np.testing.assert_array_equal(model.predict_proba([text])[0], expected)
        np.testing.assert_allclose(found[row], expected, atol=1e-5)
    assert found.std(axis=0).min() > 0.01
    assert len({len(piece) for piece in pieces(TEXTS)}) > 4
    assert model.predict_proba([]).shape == (0, len(CLASSES))


def test_texts_of_several_batches_keep_their_order(packed: Path) -> None:
    model = ModelPackage.load(packed)
    texts = [" ".join(["good", "film", "bad", "plot"][: 1 + index % 4] * (1 + index % 5)) for index in range(600)]
    assert sum(map(len, model.subwords(texts))) > model_package.TOKENS_PER_BATCH  # type: ignore[misc]
    together = model.predict_proba(texts)
    some = [0, 1, 299, 598, 599]
    np.testing.assert_allclose(together[some], [model.predict_proba([texts[index]])[0] for index in some], atol=1e-5)


def test_saving_twice_gives_the_same_bytes_and_another_encoder_others(
    packed: Path, made: JointClassifier, family: str, tiny_encoders: Path, tokenizer_file: Path, tmp_path: Path
) -> None:
    again = save(tmp_path / "again", made, tokenizer_file, tiny_encoders / family)
    for path in packed.iterdir():
        assert (again / path.name).read_bytes() == path.read_bytes()
    assert {path.name for path in packed.iterdir()} == {CONFIG, WEIGHTS, TOKENIZER, ENCODER_TOKENIZER}
    assert package.fingerprint(again) == package.fingerprint(packed)
    other = made_of(tiny_encoders / family, tokenizer_file, made.attention.pooling)
    with torch.no_grad():
        next(other.attention.encoder.parameters())[0, 0] += 1
    changed = save(tmp_path / "changed", other, tokenizer_file, tiny_encoders / family)
    assert package.fingerprint(changed) != package.fingerprint(packed)


def test_the_package_needs_nothing_of_the_encoders_folder(tiny_encoders: Path, tokenizer_file: Path, tmp_path: Path) -> None:
    encoder = Path(shutil.copytree(tiny_encoders / "bert", tmp_path / "encoders" / "bert"))
    folder = save(tmp_path / "package", made_of(encoder, tokenizer_file, "mean"), tokenizer_file, encoder)
    before = ModelPackage.load(folder).predict_proba(TEXTS)
    shutil.rmtree(encoder)
    np.testing.assert_array_equal(ModelPackage.load(folder).predict_proba(TEXTS), before)


MODULES = """
import sys
from pathlib import Path
from headway.serving.package import ModelPackage

for folder in sys.argv[1:]:
    ModelPackage.load(Path(folder)).predict_proba(["a film"])
    print("transformers" in sys.modules, sorted({"huggingface_hub", "requests", "httpx"} & sys.modules.keys()))
"""


def test_only_a_package_with_a_pretrained_encoder_imports_the_library(saved: Path, small: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", MODULES, str(saved), str(small)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first == "False []"
    assert second.startswith("True")


def test_without_the_library_one_line_says_what_to_install(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(HeadwayError) as refusal:
        ModelPackage.load(small)
    assert NO_TRANSFORMERS in str(refusal.value)


# Damaged packages, with correct hashes unless the test is about these.


def test_a_missing_or_altered_tokenizer_of_the_encoder_is_refused(damaged: Path) -> None:
    path = damaged / ENCODER_TOKENIZER
    path.write_text(path.read_text() + " ")
    assert "altered" in require_one_line(damaged)
    path.unlink()
    assert "missing" in require_one_line(damaged)


def test_hashes_without_the_tokenizer_of_the_encoder_are_refused(damaged: Path) -> None:
    config = read(damaged)
    del config["sha256"][ENCODER_TOKENIZER]
    (damaged / CONFIG).write_text(json.dumps(config))
    require_one_line(damaged)


def test_a_tokenizer_with_a_pattern_of_its_own_is_refused_without_running_it(damaged: Path) -> None:
    content = read(damaged, ENCODER_TOKENIZER)
    content["normalizer"] = {"type": "Replace", "pattern": {"Regex": "(a+)+$|(a|aa)+$|(.*a){25}"}, "content": ""}
    (damaged / ENCODER_TOKENIZER).write_text(json.dumps(content))
    seal(damaged)
    assert ENCODER_TOKENIZER in require_one_line(damaged)


@pytest.mark.parametrize(
    "content", ["[" * 100_000, "1" * 10_000, "", "null", "[]", '"\\ud800"', '{"model": {}}'], ids=range(7)
)
def test_a_tokenizer_that_is_none_is_refused(damaged: Path, content: str) -> None:
    (damaged / ENCODER_TOKENIZER).write_text(content)
    seal(damaged)
    assert ENCODER_TOKENIZER in require_one_line(damaged)


def test_a_tokenizer_with_ids_beyond_the_embeddings_is_refused(damaged: Path) -> None:
    content = read(damaged, ENCODER_TOKENIZER)
    content["model"]["vocab"]["zz"] = 10**6
    (damaged / ENCODER_TOKENIZER).write_text(json.dumps(content))
    seal(damaged)
    assert ENCODER_TOKENIZER in require_one_line(damaged)


@pytest.mark.parametrize("max_length", [0, -1, "16", 1.5, None, 10**30, 65], ids=repr)
def test_an_impossible_length_is_refused(damaged: Path, max_length: object) -> None:
    """The tiny encoder reads 64 sub-words."""
    config = read(damaged)
    config["pretrained"]["max_length"] = max_length
    seal(damaged, config)
    assert "max_length" in require_one_line(damaged)


@pytest.mark.parametrize(
    "changes",
    [
        {"model_type": "gpt2"},
        {"model_type": None},
        {"model_type": "modernbert"},
        {"auto_map": {"AutoModel": "organisation/code--model.Model"}},
        {"hidden_size": 64},
        {"hidden_size": 30},
        {"hidden_size": 0},
        {"hidden_size": "32"},
        {"vocab_size": 7},
        {"num_hidden_layers": 1},
        {"num_hidden_layers": 3},
        {"num_hidden_layers": -1},
        {"num_attention_heads": 0},
        {"hidden_act": "unheard-of"},
        {"max_position_embeddings": 63},
        {"pad_token_id": 10**6},
        {"hidden_size": 10**12},
        {"layer_norm_eps": 1e300},
    ],
    ids=str,
)
def test_an_encoder_of_other_sizes_than_its_weights_is_refused(damaged: Path, changes: dict[str, Any]) -> None:
    with_sizes(damaged, **changes)
    require_one_line(damaged)


@pytest.mark.parametrize("sections", ["both", "neither"])
def test_a_package_has_one_attention_part(damaged: Path, saved: Path, sections: str) -> None:
    config = read(damaged)
    if sections == "both":
        config["model"] = read(saved)["model"]
    else:
        config["pretrained"] = None
    seal(damaged, config)
    require_one_line(damaged)


@pytest.mark.parametrize(
    "change", ["missing", "one more", "transposed", "half precision", "not finite", "head of another width"]
)
def test_tensors_that_do_not_fit_the_encoder_are_refused(damaged: Path, change: str) -> None:
    tensors = load_file(damaged / WEIGHTS)
    name = "attention.encoder.encoder.layer.1.output.dense.weight"
    if change == "missing":
        del tensors[name]
    elif change == "one more":
        tensors["attention.encoder.pooler.dense.weight"] = torch.zeros(WIDTH, WIDTH)
    elif change == "transposed":
        tensors[name] = tensors[name].T.contiguous()
    elif change == "half precision":
        tensors[name] = tensors[name].half()
    elif change == "not finite":
        tensors[name][0, 0] = float("nan")
    else:
        tensors["attention.output.weight"] = torch.zeros(len(CLASSES), WIDTH + 1)
    save_file(tensors, damaged / WEIGHTS)
    seal(damaged)
    assert WEIGHTS in require_one_line(damaged)


ANNOUNCED: dict[str, dict[str, Any]] = {
    "vocabulary": {"vocab_size": 100_000_000},
    "width": {"hidden_size": 100_000_000, "num_attention_heads": 2},
    "feed-forward": {"intermediate_size": 100_000_000},
    "positions": {"max_position_embeddings": 100_000_000},
    "types": {"type_vocab_size": 100_000_000},
    "layers": {"num_hidden_layers": 1_000_000},
    "groups": {"model_type": "albert", "num_hidden_groups": 1_000_000},
    "inner groups": {"model_type": "albert", "inner_group_num": 1_000_000},
    "labels": {"num_labels": 100_000_000, "hidden_size": 64},
    "convolution": {"model_type": "deberta-v2", "conv_kernel_size": 100_000_000},
}


def test_sizes_in_the_encoders_configuration_take_neither_memory_nor_time(small: Path, tmp_path: Path) -> None:
    folders = {}
    for name, changes in ANNOUNCED.items():
        folders[name] = Path(shutil.copytree(small, tmp_path / name))
        with_sizes(folders[name], **changes)
    found = refusals(small, list(folders.values()), allowed=400_000)
    for name, (taken, seconds, message) in zip(folders, found, strict=True):
        assert message.startswith(str(folders[name])), message
        assert "alloc" not in message
        assert taken < 200_000, f"{name}: {taken:,} kB"
        assert seconds < 20, f"{name}: {seconds:.1f} s"


def test_numbers_that_no_weight_bounds_are_not_computed(tiny_encoders: Path, tokenizer_file: Path, tmp_path: Path) -> None:
    """DeBERTa may have no table of positions, but counts them when it is built."""
    config = {
        "model_type": "deberta-v2",
        "vocab_size": 200,
        "hidden_size": WIDTH,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 48,
        "max_position_embeddings": 64,
        "position_biased_input": False,
    }
    attention = PretrainedClassifier(pretrained.build(config), "mean", SUBWORDS, len(CLASSES))
    files = replace(encoders.read(tiny_encoders, "bert"), config=config)
    folder, size = tmp_path / "package", tokenization.load(tokenizer_file).get_vocab_size()
    folder.mkdir()
    made, saved = JointClassifier(None, attention), SavedEncoder(files, {}, strip_html=True)
    package.save(folder, made, tokenizer_file, MAX_LENGTH, size, CLASSES, saved)
    assert ModelPackage.load(folder).predict_proba(TEXTS).shape == (len(TEXTS), len(CLASSES))
    with_sizes(folder, max_position_embeddings=20_000_000)
    assert "20,000,000 numbers besides its weights" in require_one_line(folder)
