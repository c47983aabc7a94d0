"""params.yaml as types: every mistake in it is reported in one line, with its place and what to write instead."""

import errno
import os
import re
import string
import time
from pathlib import Path

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from mlflow.utils.validation import _validate_param
from pydantic import ValidationError
from ruamel.yaml import YAML

from headway.errors import HeadwayError
from headway.params import Params, Section, flatten, load
from tests.params_mutations import mutated

TEXT = (Path(__file__).resolve().parents[1] / "params.yaml").read_text(encoding="utf-8")


def sections(kind=Params, prefix=()):
    """Every section of the params with its path, the whole first."""
    yield prefix, kind
    for name, field in kind.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from sections(field.annotation, (*prefix, name))


KEYS = [".".join((*path, name)) for path, kind in sections() for name in kind.model_fields]


def line_of(path):
    """The 1-based number of the line of params.yaml with a key."""
    section, _, name = path.rpartition(".")
    lines = TEXT.splitlines()
    start = line_of(section) if section else 0
    indent = "  " * path.count(".")
    return next(at for at in range(start, len(lines)) if lines[at].startswith(f"{indent}{name}:")) + 1


def edited(changes):
    """The repository's params with the lines of some keys replaced."""
    lines = TEXT.splitlines()
    for path, line in changes.items():
        lines[line_of(path) - 1] = "  " * path.count(".") + line
    return "\n".join(lines)


def with_space(*knobs):
    """The repository's params with a search over these knobs, whose lines begin below ``tune.space``."""
    lines = TEXT.splitlines()
    at = line_of("tune.space")
    rest = next(index for index in range(at, len(lines)) if lines[index] and not lines[index].startswith(" "))
    return "\n".join([*lines[:at], *(f"    {knob}" for knob in knobs), *lines[rest:]])


def refusal(folder, text):
    """The message that a params file of this text is refused with."""
    path = folder / "params.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(HeadwayError) as caught:
        load(path)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_the_repositorys_own_params_are_accepted(params):
    assert params.model.d_model % params.model.n_heads == 0


@pytest.mark.parametrize(
    ("path", "line", "says"),
    [
        # Unknown keys, at the top and in a section.
        ("seed", "sed: 1", "sed: unknown key; did you mean seed?"),
        ("tokenizer", "tokeniser:", "tokeniser: unknown key; did you mean tokenizer?"),
        ("data.subset", "subst: imdb", "data.subst: unknown key; did you mean subset?"),
        ("seed", "int: 3", "int: unknown key; known: seed"),
        # Wrong types: no value is converted.
        ("seed", "seed: one", "seed: 'one' is not allowed: input should be a valid integer"),
        ("seed", "seed: 1.0", "seed: 1.0 is not allowed: input should be a valid integer"),
        ("tokenizer.lowercase", "lowercase: yes", "tokenizer.lowercase: 'yes' is not allowed: input should be a valid bool"),
        ("model.n_layers", "n_layers: true", "model.n_layers: True is not allowed: input should be a valid integer"),
        ("split.salt", "salt: 7", "split.salt: 7 is not allowed: input should be a valid string"),
        ("split.salt", "salt:", "split.salt: None is not allowed: input should be a valid string"),
        ("data.path", "path: [a, b]", "data.path: ['a', 'b'] is not allowed: input should be a valid string"),
        ("gate", "gate: strict\nrest:", "gate: 'strict' is not allowed: expected a section of policy, champion_margin"),
        # Out of range.
        ("seed", "seed: -1", "seed: -1 is not allowed: input should be greater than or equal to 0"),
        ("model.n_layers", "n_layers: 0", "model.n_layers: 0 is not allowed: input should be greater than 0"),
        (
            "baseline.max_ngram",
            "max_ngram: 9",
            "baseline.max_ngram: 9 is not allowed: input should be less than or equal to 5",
        ),
        ("split.train", "train: 80", "split.train: 80 is not allowed: input should be less than 1"),
        (
            "training.learning_rate",
            "learning_rate: .nan",
            "training.learning_rate: nan is not allowed: input should be a finite",
        ),
        (
            "training.gradient_clip_val",
            "gradient_clip_val: .inf",
            "training.gradient_clip_val: inf is not allowed: input should be a fin",
        ),
        (
            "tune.executor",
            "executor: dask",
            "tune.executor: 'dask' is not allowed: input should be 'serial', 'processes' or 'ray'",
        ),
        # A number, or the word auto.
        (
            "training.patience",
            "patience: often",
            "training.patience: 'often' is not allowed: expected auto, or a number",
        ),
        ("training.patience", "patience: 0", "training.patience: 0 is not allowed: input should be greater than 0"),
        (
            "training.tokens_per_batch",
            "tokens_per_batch: 0.5",
            "training.tokens_per_batch: 0.5 is not allowed: input should be a valid integer",
        ),
        ("training.warmup_ratio", "warmup_ratio: 1.0", "training.warmup_ratio: 1.0 is not allowed: input should be less"),
        ("tune.train_share", "train_share: 1.5", "tune.train_share: 1.5 is not allowed: input should be less than or equal"),
        (
            "evaluation.slices",
            "slices: {number: 3, auto: length > 3}",
            "evaluation.slices.number: 3 is not allowed: input should be a valid string",
        ),
        (
            "pretrained.revision",
            "revision: main",
            "pretrained.revision: 'main' is not a commit; expected 40 hexadecimal digits",
        ),
        (
            "pretrained.mode",
            "mode: thaw",
            "pretrained.mode: 'thaw' is not allowed: input should be 'frozen', 'fine_tune' or 'lora'",
        ),
        (
            "pretrained.max_length",
            "max_length: 7",
            "pretrained.max_length: 7 is not allowed: input should be greater than or equal to 8",
        ),
        (
            "pretrained.inverse_regularisation",
            "inverse_regularisation: []",
            "pretrained.inverse_regularisation: [] is not allowed: list should have at least 1 item",
        ),
        ("tune.train_share", "train_share:", "tune.train_share: None is not allowed: input should be a valid number"),
        ("data.source", "source: web", "data.source: 'web' is not allowed: input should be 'package', 'file' or 'hub'"),
        # Not YAML.
        ("seed", "\tseed: 1", "not valid YAML: found character '\\t'"),
        ("model.n_heads", "n_heads: ]2", "not valid YAML: "),
    ],
)
def test_a_wrong_key_or_value_is_reported_with_its_line_and_what_is_allowed(tmp_path, path, line, says):
    message = refusal(tmp_path, edited({path: line}))
    assert message.startswith(f"params.yaml:{line_of(path)}: {says}")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"split.train": "train: 0.0001"}, "split: train + validation + test must be 1, their sum is 0."),
        (
            {"model.n_heads": "n_heads: 3", "model.d_model": "d_model: 64"},
            "model: d_model (64) must be divisible by n_heads (3)",
        ),
        (
            {"model.n_heads": "n_heads: 4", "model.d_model": "d_model: 12"},
            "model: d_model / n_heads (12 / 4 = 3) must be even",
        ),
    ],
)
def test_values_that_conflict_are_reported_at_their_section(tmp_path, changes, says):
    section = says.split(":")[0]
    message = refusal(tmp_path, edited(changes))
    assert message.startswith(f"params.yaml:{line_of(section)}: {says}")


def test_a_pretrained_encoder_needs_a_name_if_a_run_may_use_one(tmp_path):
    says = f"params.yaml:{line_of('pretrained.path')}: pretrained.path: is none, although model.encoder may be pretrained"
    assert refusal(tmp_path, edited({"model.encoder": "encoder: pretrained"})).startswith(says)
    either = "model.encoder: {type: categorical, choices: [scratch, pretrained]}"
    assert "pretrained.path: is none" in refusal(tmp_path, with_space(either))
    named = with_space(either).splitlines()
    named[line_of("pretrained.path") - 1] = "  path: bert"
    (tmp_path / "params.yaml").write_text("\n".join(named), encoding="utf-8")
    assert load(tmp_path / "params.yaml").encoders == ["scratch", "pretrained"]


FINE_TUNED = {"model.encoder": "encoder: pretrained", "pretrained.path": "path: bert", "pretrained.mode": "mode: fine_tune"}


@pytest.mark.parametrize("mode", ["fine_tune", "lora"])
def test_what_fine_tuning_cannot_do_is_said_at_its_knob(tmp_path, mode):
    changes = {"pretrained.accumulation": "accumulation: 2", "training.devices": "devices: 2"}
    says = (
        f"params.yaml:{line_of('pretrained.accumulation')}: pretrained.accumulation: must be 1 with training.devices above 1"
    )
    assert refusal(tmp_path, edited(FINE_TUNED | {"pretrained.mode": f"mode: {mode}"} | changes)).startswith(says)


RATE = {"training.learning_rate": {"type": "float", "low": 0.001, "high": 0.01}}
WARMUP = {"training.warmup_ratio": {"type": "float", "low": 0.0, "high": 0.3}}
WEIGHTS = {"training.class_weights": {"type": "categorical", "choices": ["none", "balanced"]}}
WIDTH = {"model.d_model": {"type": "categorical", "choices": [64, 32]}}
KIND = {"tokenizer.kind": {"type": "categorical", "choices": ["auto", "word"]}}
POOLING = {"pretrained.pooling": {"type": "categorical", "choices": ["auto", "max"]}}
DECAY = {"pretrained.layer_decay": {"type": "float", "low": 0.5, "high": 1.0}}
RANK = {"pretrained.lora_rank": {"type": "categorical", "choices": [4, 8]}}
SPACE = {**RATE, **WARMUP, **WEIGHTS, **WIDTH, **KIND, **POOLING, **DECAY, **RANK}


@pytest.mark.parametrize(
    ("encoder", "mode", "searched"),
    [
        ("scratch", "frozen", RATE | WARMUP | WEIGHTS | WIDTH | KIND),
        ("pretrained", "frozen", WEIGHTS | KIND | POOLING),
        ("pretrained", "fine_tune", WARMUP | WEIGHTS | KIND | POOLING | DECAY),
        ("pretrained", "lora", WARMUP | WEIGHTS | KIND | POOLING | DECAY | RANK),
    ],
)
def test_only_knobs_that_the_encoder_reads_are_searched(params, encoder, mode, searched):
    chosen = {"model.encoder": encoder, "pretrained.path": "bert", "pretrained.mode": mode, "tune.space": SPACE}
    found = params.override({"training.warmup_ratio": 0.1, **chosen})
    assert found.search.space == {path: knob for path, knob in found.tune.space.items() if path in searched}
    assert found.search.space.keys() == searched.keys()


def test_if_the_encoder_is_searched_its_knobs_are_active_where_it_is_chosen(params):
    either = {"model.encoder": {"type": "categorical", "choices": ["scratch", "pretrained"]}}
    wide = {"model.n_layers": {"type": "categorical", "choices": [1, 2], "when": {"model.d_model": [32]}}}
    space = {**either, **SPACE, **wide}
    found = params.override({"pretrained.path": "bert", "training.warmup_ratio": 0.1, "tune.space": space}).search.space
    assert {path: knob.when for path, knob in found.items()} == {
        "model.encoder": {},
        **{path: {"model.encoder": ["scratch"]} for path in RATE | WARMUP | WIDTH},
        **{path: {} for path in WEIGHTS | KIND},
        **{path: {"model.encoder": ["pretrained"]} for path in POOLING},
        "model.n_layers": {"model.d_model": [32], "model.encoder": ["scratch"]},
    }


@pytest.mark.parametrize("name", ["path", "revision", "mode", "max_length", "inverse_regularisation"])
def test_what_all_trials_share_of_an_encoder_is_not_searched(tmp_path, name):
    knob = f"pretrained.{name}: {{type: categorical, choices: [8, 16]}}"
    assert f"tune.space.pretrained.{name}: no knob of" in refusal(tmp_path, with_space(knob))


@pytest.mark.parametrize(
    ("knob", "says"),
    [
        # The name.
        (
            "model.embedding_dropuot: {type: float, low: 0.0, high: 0.9}",
            ": no knob of model, pretrained, training or tokenizer; did you mean model.emb",
        ),
        (
            "tokenizer.max_length: {type: int, low: 1, high: 9000}",
            ": 1 is not allowed: input should be greater than or",
        ),
        (
            "tokeniser.max_length: {type: int, low: 10, high: 900}",
            ": no knob of model, pretrained, training or tokenizer; did you mean tok",
        ),
        ("ngrams.max_order: {type: int, low: 1, high: 3}", ": no knob of model, pretrained, training or tokenizer; "),
        ("training.max_epochs: {type: int, low: 1, high: 5}", ": is a budget, which is not searched; see tune.max"),
        ("training.threads: {type: int, low: 1, high: 2}", ": is a budget, which is not searched"),
        # A value between allowed ends: 3 does not divide the width of 64.
        ("model.n_heads: {type: int, low: 1, high: 4}", ": 3 is not allowed: d_model (64) must be divisible by"),
        # The type of a range.
        (
            "model.embedding_dropout: {type: flaot, low: 0.0, high: 0.9}",
            ".type: 'flaot' is not allowed: expected 'float', 'int', ",
        ),
        ("model.embedding_dropout: {low: 0.0, high: 0.9}", ".type: missing; expected 'float', 'int' or 'categorical'"),
        # The fields of a range.
        ("model.embedding_dropout: {type: float, low: 0.0, high: 0.9, lg: true}", ".lg: unknown key; did you mean log?"),
        ("model.embedding_dropout: {type: float, high: 0.9}", ".low: missing; add it"),
        (
            "model.embedding_dropout: {type: float, low: nothing, high: 0.9}",
            ".low: 'nothing' is not allowed: input should be a",
        ),
        (
            "model.embedding_dropout: {type: float, low: 0.0, high: .inf}",
            ".high: inf is not allowed: input should be a finite",
        ),
        (
            "model.n_layers: {type: int, low: 1, high: 4, step: 0}",
            ".step: 0 is not allowed: input should be greater than 0",
        ),
        (
            "model.similarity: {type: categorical, choices: []}",
            ".choices: [] is not allowed: list should have at least 1 item",
        ),
        ("model.similarity: {type: categorical, choices: [cosine, [1]]}", ".choices.1: [1] is not allowed"),
        # Its ends.
        ("model.embedding_dropout: {type: float, low: 0.5, high: 0.4}", ": low (0.5) must not exceed high (0.4)"),
        ("model.n_layers: {type: int, low: 4, high: 1}", ": low (4) must not exceed high (1)"),
        ("model.n_layers: {type: int, low: 1, high: 4, step: 2}", ": step (2) does not reach high (4); use high: 3"),
        (
            "model.embedding_dropout: {type: float, low: 0.0, high: 0.9, log: true}",
            ": low (0) must be above 0 on a log scale",
        ),
        # Values that the knob does not allow.
        (
            "model.embedding_dropout: {type: float, low: 0.0, high: 1.4}",
            ": 1.4 is not allowed: input should be less than 1",
        ),
        (
            "model.n_layers: {type: float, low: 1.0, high: 900.0}",
            ": 1.0 is not allowed: input should be a valid integer",
        ),
        ("model.similarity: {type: int, low: 0, high: 3}", ": 0 is not allowed: input should be 'inner_product' or"),
        (
            "model.similarity: {type: float, low: 0.0, high: 3.0}",
            ": 0.0 is not allowed: input should be 'inner_product'",
        ),
        ("model.similarity: {type: categorical, choices: [inner_product, cosin]}", ": 'cosin' is not allowed"),
        ("model.d_model: {type: int, low: 1, high: 1024}", ": 1 is not allowed: d_model "),
        (
            "training.tokens_per_batch: {type: int, low: 0, high: 8192, log: true}",
            ": low (0) must be above 0 on a log scale",
        ),
        (
            "training.tokens_per_batch: {type: int, low: 2, high: 8192, step: 2, log: true}",
            ": step (2) must be 1 on a log scale",
        ),
        # Its conditions.
        (
            "model.window_size: {type: int, low: 0, high: 128, when: {model.n_layers: [2]}}",
            ": its condition (when) names model.n_layers, which is not searched",
        ),
        (
            "model.window_size: {type: int, low: 0, high: 128, when: {model.dropout: [0.1]}}",
            ": its condition (when) names model.dropout, a real interval",
        ),
        (
            "model.window_size: {type: int, low: 0, high: 128, when: {model.window_size: [0]}}",
            ": its conditions (when) form a cycle",
        ),
        # Trial 0, the values in the file.
        ("model.embedding_dropout: {type: float, low: 0.98, high: 0.99}", ": the range lacks 0."),
        ("model.n_layers: {type: int, low: 901, high: 902}", ": the range lacks "),
        ("training.learning_rate: {type: int, low: 1, high: 2}", ": the range lacks 0."),
        ("training.tokens_per_batch: {type: categorical, choices: [512, 1024]}", ": the range lacks 'auto'"),
    ],
)
def test_a_wrong_range_is_reported_with_its_knob_and_line(tmp_path, knob, says):
    name = knob.split(":")[0]
    message = refusal(tmp_path, with_space("model.dropout: {type: float, low: 0.0, high: 0.9}", knob))
    assert message.startswith(f"params.yaml:{line_of('tune.space') + 2}: tune.space.{name}{says}")


def test_a_range_of_numbers_may_be_searched_around_a_derived_one(tmp_path):
    """Trial 0 takes the number of the range that is nearest to the derived one, so any condition on it may hold."""
    batch = "training.tokens_per_batch: {type: int, low: 512, high: 8192, log: true}"
    (tmp_path / "params.yaml").write_text(with_space(batch), encoding="utf-8")
    assert load(tmp_path / "params.yaml").training.tokens_per_batch == "auto"
    for rest in ("choices: [auto, 1024]", "choices: [auto]"):
        chosen = f"training.tokens_per_batch: {{type: categorical, {rest}}}"
        (tmp_path / "params.yaml").write_text(with_space(chosen), encoding="utf-8")
        load(tmp_path / "params.yaml")
    dependent = "model.n_layers: {type: int, low: 2, high: 3, when: {training.tokens_per_batch: [512]}}"
    message = refusal(tmp_path, with_space(batch, dependent))
    assert "tune.space.model.n_layers: the range lacks 1, the value of model.n_layers" in message


def test_a_condition_may_only_require_values_that_its_knob_can_have(tmp_path):
    layers = "model.n_layers: {type: int, low: 1, high: 2}"
    asked = "model.window_size: {type: int, low: 0, high: 128, when: {model.n_layers: [%s]}}"
    for value in ("3", "two"):
        message = refusal(tmp_path, with_space(layers, asked % value))
        assert "tune.space.model.window_size: its condition (when) requires " in message
    (tmp_path / "params.yaml").write_text(with_space(layers, asked % "2"), encoding="utf-8")
    assert load(tmp_path / "params.yaml").tune.space["model.window_size"].when == {"model.n_layers": [2]}


def test_values_of_two_knobs_must_be_allowed_together(tmp_path):
    width = "model.d_model: {type: categorical, choices: [64, 36]}"
    message = refusal(tmp_path, with_space(width, "model.n_heads: {type: categorical, choices: [2, 8]}"))
    assert (
        "tune.space.model.n_heads: 8 is not allowed together with model.d_model: 36: d_model (36) must be divisible by"
        in message
    )
    # A condition that excludes the conflicting pair resolves it; one that leaves only that pair does not.
    apart = "model.n_heads: {type: categorical, choices: [2, 8], when: {model.d_model: [64]}}"
    (tmp_path / "params.yaml").write_text(with_space(width, apart), encoding="utf-8")
    assert len(load(tmp_path / "params.yaml").tune.space) == 2
    together = "model.n_heads: {type: categorical, choices: [2, 8], when: {model.d_model: [36]}}"
    assert "tune.space.model.n_heads: 8 is not allowed" in refusal(tmp_path, with_space(width, together))


def test_the_range_of_a_knob_that_is_inactive_in_trial_0_may_lack_its_value(tmp_path):
    layers = "model.n_layers: {type: int, low: 1, high: 2}"
    width = "model.dim_feedforward: {type: int, low: 500, high: 600, when: {model.n_layers: [%s]}}"
    (tmp_path / "params.yaml").write_text(with_space(layers, width % "2"), encoding="utf-8")
    assert len(load(tmp_path / "params.yaml").tune.space) == 2
    assert "model.dim_feedforward: the range lacks 128" in refusal(tmp_path, with_space(layers, width % "1"))


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("tune.storage", "storage: postgresql://me:secret@host/studies"),
        ("tune.storage", "storage: postgresql://me%3Asecret@host/studies"),
        ("tune.storage", "storage: postgresql://me@host/studies?PASSWORD=secret"),
        ("tune.storage", "storage: postgresql://me@host/studies?sslpassword=secret"),
        ("tune.storage", "storage: me:secret@host/studies"),
        ("tune.address", "address: ray://me:secret@head:10001"),
        ("data.path", "path: http://me:se/cr@secret@host/f.csv"),
        ("data.path", "path: https://host/f.csv?X-Amz-Signature=secret"),
        ("data.path", "path: s3://KEY:secret@bucket/f.csv"),
        ("data.path", "path: [http://me:secret@host/f.csv]"),
        ("data.source", "source: http://me:secret@host/f.csv"),
        ("data.slice_columns", "slice_columns: [shop, 'http://me:secret@host']"),
        ("evaluation.slices", "slices: {long: 'http://me:secret@host'}"),
        ("registry.intended_use", "intended_use: see https://me:secret@host"),
        ("serving.log.folder", "folder: s3://KEY:secret@bucket/log"),
    ],
)
def test_credentials_are_refused_in_every_knob_and_not_repeated(tmp_path, path, line):
    message = refusal(tmp_path, edited({path: line}))
    assert message.startswith(f"params.yaml:{line_of(path)}: {path}")
    assert "secret" not in message


def test_the_storage_of_a_study_is_a_database_with_or_without_a_user(tmp_path):
    assert "tune.storage: not a database" in refusal(tmp_path, edited({"tune.storage": "storage: mysql://host"}))
    (tmp_path / "params.yaml").write_text(edited({"tune.storage": "storage: postgresql://me@host/s"}), encoding="utf-8")
    assert load(tmp_path / "params.yaml").tune.storage == "postgresql://me@host/s"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("great!", "contains '!', which MLflow refuses; use letters, digits"),
        ("c++ (new)", "contains '(' ')' '+', which MLflow refuses"),
        ("a\nb", "contains '\\n', which MLflow refuses"),
        ("a\n", "contains '\\n', which MLflow refuses"),
        ("हिन्दी", "which MLflow refuses"),
        ("a//b", "the name 'a//b' is refused by MLflow; expected at most 200 characters, and no / at its end"),
        ("a/", "the name 'a/' is refused by MLflow"),
        ("a/../b", "the name 'a/../b' is refused by MLflow"),
        ("x" * 201, "expected at most 200 characters"),
    ],
)
def test_the_name_of_a_slice_that_mlflow_refuses_is_refused_at_once(params, name, says):
    with pytest.raises(HeadwayError) as caught:
        params.override({"evaluation.slices": {name: "length > 1"}})
    assert str(caught.value).startswith("override: evaluation.slices: ")
    assert says in str(caught.value)


@given(st.text(st.characters(codec="utf-8") | st.sampled_from("a./ :-_"), min_size=1, max_size=220))
@example("größer als 10 / длинный: 很好")
def test_mlflow_accepts_the_name_of_every_slice_that_is_accepted(params, name):
    try:
        chosen = params.override({"evaluation.slices": {name: "length > 1"}})
    except HeadwayError:
        return
    for key, value in flatten(chosen.model_dump(include={"evaluation"})).items():
        _validate_param(key, str(value))  # MLflow's own check


@pytest.mark.parametrize(
    ("chosen", "knob", "fits"),
    [
        ("n_layers: 3", "{type: int, low: 1, high: 5, step: 2}", True),
        ("n_layers: 4", "{type: int, low: 1, high: 5, step: 2}", False),
        ("n_layers: 4", "{type: categorical, choices: [1, 4]}", True),
        ("n_layers: 4", "{type: categorical, choices: [1, 5]}", False),
        ("n_layers: 5", "{type: int, low: 1, high: 5}", True),
    ],
)
def test_a_range_must_contain_the_value_in_the_file(tmp_path, chosen, knob, fits):
    text = with_space(f"model.n_layers: {knob}").splitlines()
    text[line_of("model.n_layers") - 1] = f"  {chosen}"
    (tmp_path / "params.yaml").write_text("\n".join(text), encoding="utf-8")
    if fits:
        assert list(load(tmp_path / "params.yaml").tune.space) == ["model.n_layers"]
    else:
        assert "model.n_layers: the range lacks 4" in refusal(tmp_path, "\n".join(text))


@pytest.mark.parametrize(
    ("written", "entries"),
    [
        ("{}", {}),
        ('{Positive: positive, pos: positive, n/a: ""}', {"Positive": "positive", "pos": "positive", "n/a": ""}),
        ("{1: one, 2.0: two, 3.5: 3}", {"1": "one", "2": "two", "3.5": "3"}),
        ("{true: yes, false: no}", {"true": "yes", "false": "no"}),
        ("{True: 1, FALSE: false}", {"true": "1", "false": "false"}),
        (
            "{no: negative, yes: y, off: n, y: x}",
            {"no": "negative", "yes": "y", "off": "n", "y": "x"},
        ),  # texts since YAML 1.2
        ('{"1": one, "true": yes, "null": ""}', {"1": "one", "true": "yes", "null": ""}),
    ],
)
def test_a_label_map_has_labels_as_the_data_have_them(tmp_path, params, written, entries):
    (tmp_path / "params.yaml").write_text(edited({"data.label_map": f"label_map: {written}"}), encoding="utf-8")
    found = load(tmp_path / "params.yaml")
    assert found.data.label_map == entries
    assert params.override({"data.label_map": found.data.label_map}).data.label_map == entries
    flat = flatten(found.model_dump())
    assert flat["data.label_map"] == entries
    assert not any(key.startswith("data.label_map.") for key in flat)


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("{1: one, pos: positive}", 'data.label_map: the key 1 is not a text; put quotes around it: "1"'),
        ("{pos: positive, true: yes}", 'the key true is not a text; put quotes around it: "true"'),
        ("{null: x}", 'the key null is not a text; put quotes around it: "null"'),
        ("{2024-01-01: x}", 'the key 2024-01-01 is not a text; put quotes around it: "2024-01-01"'),
        ("{.nan: x}", "is not a text; put quotes around it"),
        ("{n/a: }", "'n/a' becomes None, expected a label, or \"\" to drop the rows with the label 'n/a'"),
        ("{pos: [positive]}", "expected a label, or"),
        ('{"": unknown}', "a key is empty, expected a label"),
        ("[pos]", "data.label_map: ['pos'] is not allowed"),
    ],
)
def test_an_entry_of_a_label_map_that_is_no_label_is_refused_with_what_to_write(tmp_path, written, says):
    message = refusal(tmp_path, edited({"data.label_map": f"label_map: {written}"}))
    assert message.startswith(f"params.yaml:{line_of('data.label_map')}: ")
    assert says in message


def test_an_empty_search_space_is_allowed(tmp_path):
    text = with_space().replace("  space: ", "  space: {} ", 1)
    (tmp_path / "params.yaml").write_text(text, encoding="utf-8")
    assert load(tmp_path / "params.yaml").tune.space == {}


def test_a_key_given_twice_is_refused_with_the_line_of_the_second(tmp_path):
    message = refusal(tmp_path, edited({"seed": "seed: 1\nseed: 2"}))
    assert message.startswith(f"params.yaml:{line_of('seed') + 1}: not valid YAML: found duplicate key")
    assert "seed" in message


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (edited({"split.salt": "salt: head\0way"}), "not valid YAML: unacceptable character #x0000"),
        ("", "expected sections such as 'data:'"),
        ("- seed\n- data\n", "expected sections such as 'data:'"),
        (TEXT.encode() + b"# \xff\xfe\n", "not UTF-8; save it as UTF-8"),
        (TEXT.encode("utf-16"), "not UTF-8; save it as UTF-8"),
        ("#" * 50_000_000, "50,000,000 bytes, at most 100,000 are read"),
        (f"{TEXT}\nseed2: 2001-99-99\n", "not valid YAML: month must be in 1..12"),
    ],
)
def test_a_file_that_cannot_be_a_params_file_is_refused_with_the_reason(tmp_path, text, says):
    message = refusal(tmp_path, text)
    assert "params.yaml: " in message
    assert says in message


def bomb(levels):
    """Lists of nine lists of nine lists …, written with aliases."""
    lines = ["a0: &a0 [x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, levels))]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("!!python/object/apply:os.system ['true']", "the tag !!python/object/apply:os.system is not allowed"),
        ("!!set {a}", "the tag !!set is not allowed"),
        ("!!binary '%'", "the tag !!binary is not allowed"),
        ("!own x", "the tag !own is not allowed"),
        ("1" * 5000, f"{'1' * 79}…: 5,000 characters"),
        ("-0x" + "f" * 5000, f"-0x{'f' * 76}…: 5,003 characters"),
        ("&a [*a]", "*a refers to a value that contains it"),
        ("&a {<<: *a}", "*a refers to a value that contains it"),
        ("[" * 600, "more than 30 levels"),
        ("{a: " * 600, "more than 30 levels"),
        ("[" + "x, " * 9000 + "]", "more than 5,000 values"),
        (f"1\n{bomb(12)}", "more than 5,000 values"),
        ("*nowhere", "not valid YAML: found undefined alias"),
        ("'" + "x" * 5000 + "'", f"seed: '{'x' * 78}… is not allowed"),
        ("[" + "7, " * 900 + "]", f"seed: [{'7, ' * 26}… is not allowed"),
        ("1\n<<<<<<< HEAD\nseed: 2\n=======\n", "an unresolved merge conflict (<<<<<<<)"),
    ],
)
def test_a_value_that_is_no_plain_value_is_refused_before_it_is_built(tmp_path, value, says):
    started = time.process_time()
    message = refusal(tmp_path, edited({"seed": f"seed: {value}"}))
    assert time.process_time() - started < 5  # ten times what it takes
    assert re.match(r"params\.yaml:\d+: ", message)
    assert says in message
    assert len(message) < 400


def test_a_key_is_shown_in_one_short_line(tmp_path):
    assert ": a\\x1b[2J\\nb: unknown key" in refusal(tmp_path, edited({"seed": 'seed: 1\n"a\\x1b[2J\\nb": 1'}))
    assert len(refusal(tmp_path, edited({"seed": f"seed: 1\n? '{'k' * 9000}'\n: 1"}))) < 400
    assert ": می‌خواهم\\x: unknown key" in refusal(tmp_path, edited({"seed": "seed: 1\nمی‌خواهم\\x: 1"}))


@pytest.mark.parametrize(
    "text",
    [
        "\ufeff" + TEXT,
        TEXT.replace("\n", "\r\n"),
        TEXT.replace("seed: 1", "seed: &n 1").replace("workers: 1", "workers: *n"),
    ],
    ids=["byte order mark", "line ends of Windows", "an alias"],
)
def test_unusual_but_valid_files_are_read(tmp_path, params, text):
    (tmp_path / "params.yaml").write_bytes(text.encode())
    assert load(tmp_path / "params.yaml") == params


def test_what_is_no_regular_file_is_refused(tmp_path):
    path = tmp_path / "params.yaml"
    path.mkdir()
    with pytest.raises(HeadwayError, match="a folder, expected a file"):
        load(path)
    path.rmdir()
    os.mkfifo(path)
    with pytest.raises(HeadwayError, match="a device, pipe or socket, expected a file"):
        load(path)


def test_a_file_that_may_not_be_read_is_refused(tmp_path, monkeypatch):
    (tmp_path / "params.yaml").write_text(TEXT)

    def deny(path):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", deny)  # tests may run as root, which may read all files
    with pytest.raises(HeadwayError, match="cannot be read: Permission denied; check its permissions"):
        load(tmp_path / "params.yaml")


@pytest.mark.parametrize(
    "numbers", [range(45), pytest.param(range(45, 1500), marks=pytest.mark.slow)], ids=["a few", "many"]
)
def test_a_damaged_file_is_read_or_refused_in_one_line(tmp_path, numbers):
    """Damaged in its bytes, its lines and its structure; tests/params_mutations.py makes the same file for a number again."""
    path, read = tmp_path / "params.yaml", 0
    for number in numbers:
        path.write_bytes(mutated(number))
        started = time.process_time()
        try:
            load(path)
            read += 1
        except HeadwayError as error:
            message = str(error)
            assert re.fullmatch(r"params\.yaml.{10,900}", message), number
            assert message.isprintable(), number
        assert time.process_time() - started <= 20, number
    assert 0 < read < len(numbers)


def test_a_missing_file_is_reported_with_what_to_do(tmp_path):
    with pytest.raises(HeadwayError, match=r"params\.yaml: no such file; run inside a Headway project"):
        load(tmp_path / "params.yaml")


@pytest.mark.parametrize("key", KEYS)
def test_no_key_may_be_left_out(tmp_path, key):
    tree = YAML(typ="safe").load(TEXT)
    node = tree
    for part in key.split(".")[:-1]:
        node = node[part]
    del node[key.split(".")[-1]]
    YAML(typ="safe").dump(tree, tmp_path / "without.yaml")
    message = refusal(tmp_path, (tmp_path / "without.yaml").read_bytes())
    assert f": {key}: missing; add it" in message


def one_edit(word):
    """Words one edit away: a letter dropped, put in or changed, or two neighbours swapped."""
    letters = st.sampled_from(string.ascii_lowercase + "_")
    places = st.integers(0, len(word) - 1)
    return st.one_of(
        places.map(lambda at: word[:at] + word[at + 1 :]),
        st.builds(lambda at, letter: word[:at] + letter + word[at:], places, letters),
        st.builds(lambda at, letter: word[:at] + letter + word[at + 1 :], places, letters),
        places.map(lambda at: word[:at] + word[at + 1 : at + 2] + word[at] + word[at + 2 :]),
    )


@given(st.sampled_from(KEYS).flatmap(lambda key: st.tuples(st.just(key), one_edit(key.rpartition(".")[2]))))
@example(("model.dropout", "droput"))
def test_a_misspelt_key_is_refused_and_the_correct_one_suggested(tmp_path_factory, misspelt):
    key, wrong = misspelt
    section, _, name = key.rpartition(".")
    assume(wrong not in dict(sections())[tuple(section.split(".")) if section else ()].model_fields)
    lines = TEXT.splitlines()
    at = line_of(key) - 1
    lines[at] = lines[at].replace(f"{name}:", f"{wrong}:", 1)
    message = refusal(tmp_path_factory.mktemp("misspelt"), "\n".join(lines))
    said = f"{section}.{wrong}" if section else wrong
    assert message == f"params.yaml:{at + 1}: {said}: unknown key; did you mean {name}?"


@pytest.mark.parametrize(
    ("former", "present"),
    [
        ("model.d_feedforward", "model.dim_feedforward"),
        ("training.gradient_clip", "training.gradient_clip_val"),
        ("training.warmup_share", "training.warmup_ratio"),
    ],
)
def test_a_renamed_knob_is_an_error_that_gives_its_present_name(tmp_path, params, former, present):
    says = f"{former} was renamed: use {present}"
    assert present in KEYS
    assert former not in KEYS
    line = TEXT.splitlines()[line_of(present) - 1].strip()
    in_section = edited({present: line.replace(present.split(".")[1], former.split(".")[1], 1)})
    assert refusal(tmp_path, in_section) == f"params.yaml:{line_of(present)}: {says}"
    in_space = with_space(f"{former}: {{type: int, low: 1, high: 2}}")
    assert says in refusal(tmp_path, in_space)
    conditional = f"model.n_heads: {{type: categorical, choices: [2], when: {{{former}: [1]}}}}"
    assert says in refusal(tmp_path, with_space(conditional))
    with pytest.raises(HeadwayError, match=re.escape(says)):
        params.override({former: 1})


def test_the_comment_of_a_key_in_the_file_is_its_description():
    for path, kind in sections():
        for name, field in kind.model_fields.items():
            key = ".".join((*path, name))
            described = field.description or " ".join(field.annotation.__doc__.split()).rstrip(".")
            assert TEXT.splitlines()[line_of(key) - 1].partition("  # ")[2] == described, key


def test_the_schema_describes_every_key():
    schema = Params.model_json_schema()
    for name, section in schema["$defs"].items():
        assert section["description"], name
        if name.endswith("Params"):
            assert all(value["description"] for value in section["properties"].values()), name


def test_further_mistakes_are_counted_after_the_first(tmp_path):
    text = edited({"seed": "seed: x", "model.n_layers": "n_layers: 0", "baseline.max_ngram": "max_ngram: 0"})
    assert refusal(tmp_path, text).endswith("(and 2 more)")


def test_an_integer_is_accepted_for_a_real_number(tmp_path):
    (tmp_path / "params.yaml").write_text(edited({"tune.timeout_minutes": "timeout_minutes: 12"}), encoding="utf-8")
    assert load(tmp_path / "params.yaml").tune.timeout_minutes == 12.0


def test_an_override_replaces_the_named_values_and_no_other(params):
    changed = params.override({"model.dim_feedforward": 77, "seed": 5, "tune.trials": 3, "serving.log.keep_days": 7})
    assert (changed.model.dim_feedforward, changed.seed, changed.tune.trials) == (77, 5, 3)
    assert changed.serving.log.keep_days == 7
    as_before = {
        "model.dim_feedforward": params.model.dim_feedforward,
        "seed": params.seed,
        "tune.trials": params.tune.trials,
        "serving.log.keep_days": params.serving.log.keep_days,
    }
    assert changed.override(as_before) == params


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"model.d_modle": 8}, "model.d_modle: no such knob; did you mean model.d_model?"),
        ({"modle.d_model": 8}, "modle.d_model: no such knob; did you mean model.d_model?"),
        ({"model.d_model.x": 8}, "model.d_model.x: no such knob; did you mean model.d_model?"),
        ({"serving.log.folders": ""}, "serving.log.folders: no such knob; did you mean serving.log.folder?"),
        ({"sead": 8}, "sead: no such knob; did you mean seed?"),
        ({"training.patience": 0}, "training.patience: 0 is not allowed"),
        ({"model.n_heads": 3, "model.d_model": 64}, "model: d_model (64) must be divisible by n_heads (3)"),
        ({"tune.space": {"model.dropout": {"type": "float", "low": 0.98, "high": 0.99}}}, "model.dropout: the range lacks"),
    ],
)
def test_an_override_is_checked_like_the_file(params, values, says):
    with pytest.raises(HeadwayError) as caught:
        params.override(values)
    assert says in str(caught.value)


def test_an_override_leaves_the_params_it_started_from_alone(params):
    before = params.model_dump_json()
    params.override({"model.dim_feedforward": 77})
    assert params.model_dump_json() == before


@pytest.mark.parametrize("path", [path for path, _ in sections()], ids=lambda path: ".".join(path) or "all")
def test_params_cannot_be_changed_in_place(params, path):
    node = params
    for part in path:
        node = getattr(node, part)
    name = next(iter(type(node).model_fields))
    with pytest.raises(ValidationError, match="frozen"):
        setattr(node, name, getattr(node, name))


def test_only_the_options_of_a_range_have_defaults(params):
    in_file = set(flatten(YAML(typ="safe").load(TEXT)))
    in_types = set(flatten(params.model_dump()))
    assert in_file <= in_types
    assert all(path.startswith("tune.space.") and path.endswith((".log", ".step", ".when")) for path in in_types - in_file)


def test_params_at_a_point_need_not_lie_in_the_search_space(params: Params) -> None:
    """The space must contain the values of trial 0; another point replaces these values."""
    space = {"model.n_layers": {"type": "categorical", "choices": [1, 2]}}
    found = params.override({"tune.space": space}).at({"model.n_layers": 3})
    assert (found.model.n_layers, found.tune.space) == (3, {})
    with pytest.raises(HeadwayError, match=r"model\.n_layers: the range lacks 3"):
        params.override({"tune.space": space, "model.n_layers": 3})
    with pytest.raises(HeadwayError, match="n_layers"):
        params.at({"model.n_layers": 0})
