"""params.yaml as types: every knob of the pipeline, its range, and the checks between knobs.

Nothing has a default here: params.yaml is the only place where a value stands. What a knob means is written
beside it in that file; here stands what it may be.
"""

from __future__ import annotations

import codecs
import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, ValidationError, field_validator, model_validator
from pydantic_core import PydanticCustomError

from headway.errors import HeadwayError, first_line
from headway.ranges import Choices, FloatRange, IntRange, Knob, Section, SpaceError, check_space, describe

FILE_NAME = "params.yaml"
#: Former names of knobs, with the names that took their place. A former name is an error that gives the present one.
RENAMED = {
    "model.d_feedforward": "model.dim_feedforward",
    "training.gradient_clip": "training.gradient_clip_val",
    "training.warmup_share": "training.warmup_ratio",
}

Share = Annotated[float, Field(gt=0, lt=1)]
Probability = Annotated[float, Field(ge=0, lt=1)]
Margin = Annotated[float, Field(ge=0, lt=1)]


Name = Annotated[str, Field(min_length=1)]
#: Columns that the data stages make, and what a slice can ask about besides.
OWN_COLUMNS = ("row", "text", "label", "test", "problem", "id", "label_id", "length", "script")


class DataParams(Section):
    """Where the labelled texts come from."""

    source: Literal["package", "file", "hub"]
    subset: Literal["imdb", "rotten_tomatoes"]
    path: Name
    files: Name
    test_files: str
    unlabelled_files: str
    hub_name: str
    hub_revision: str
    hub_split: Name
    hub_test_split: str
    hub_unlabelled_split: str
    text_column: Name
    label_column: Name
    slice_columns: list[Name]
    encoding: Name
    quoting: Literal["auto", "none"]
    max_rows: Annotated[int, Field(ge=0)]
    max_characters: PositiveInt
    max_bad_share: Annotated[float, Field(ge=0, le=1)]

    @model_validator(mode="after")
    def _columns_differ(self) -> Self:
        if self.text_column == self.label_column:
            raise ValueError(f"text_column and label_column are both {self.text_column!r}; a text cannot be its own label")
        return self

    @model_validator(mode="after")
    def _slice_columns_are_others(self) -> Self:
        for name in self.slice_columns:
            if name in (self.text_column, self.label_column) or self.slice_columns.count(name) > 1:
                raise ValueError(f"slice_columns: {name!r} is read already; name each other column once")
            if name in OWN_COLUMNS:
                raise ValueError(
                    f"slice_columns: {name!r} is what Headway calls a column of its own; rename yours in the data"
                )
        return self

    @model_validator(mode="after")
    def _encoding_is_known(self) -> Self:
        if self.encoding != "auto":
            try:
                codecs.lookup(self.encoding)
            except LookupError:
                raise ValueError(
                    f"encoding: no such encoding {self.encoding!r}; expected auto, or a name such as utf-8, utf-16 or gb18030"
                ) from None
        return self

    @model_validator(mode="after")
    def _hub_is_pinned(self) -> Self:
        if self.source == "hub":
            if not self.hub_name:
                raise ValueError("hub_name is empty; give the data set's name on the Hub, as stanfordnlp/imdb")
            if not re.fullmatch(r"[0-9a-f]{40}", self.hub_revision):
                raise ValueError(
                    f"hub_revision is {self.hub_revision!r}; give the 40-digit commit hash that the data set's page shows "
                    "under Files, History: a branch's name would let the data change unseen"
                )
        return self


class SplitParams(Section):
    """Shares of the rows, and the word that seeds the hash."""

    train: Share
    validation: Share
    test: Share
    salt: str
    near_duplicates: Annotated[float, Field(ge=0, le=1)]
    first_rows_in_training: PositiveInt

    @model_validator(mode="after")
    def _shares_sum_to_one(self) -> Self:
        total = self.train + self.validation + self.test
        if abs(total - 1) > 1e-9:
            raise ValueError(f"train + validation + test must be 1, their sum is {total:g}")
        return self


class TokenizerParams(Section):
    """How text becomes token ids."""

    kind: Literal["auto", "word", "bpe", "unigram"]
    vocabulary_size: Annotated[int, Field(ge=300)]
    min_frequency: PositiveInt
    unicode: Literal["nfkc", "nfc", "none"]
    lowercase: bool
    strip_accents: bool
    strip_html: bool
    max_length: Annotated[int, Field(ge=2)]
    word_vectors: Annotated[str, Field(pattern=r"^[^/\\]*$")]


class BaselineParams(Section):
    """TF-IDF and logistic regression."""

    max_ngram: Annotated[int, Field(ge=1, le=5)]
    min_document_frequency: PositiveInt
    inverse_regularisation: PositiveFloat


class NgramParams(Section):
    """The classifier's linear part."""

    max_order: Annotated[int, Field(ge=0, le=5)]
    min_document_frequency: PositiveInt
    max_features: PositiveInt
    inverse_regularisation: Annotated[list[PositiveFloat], Field(min_length=1)]


class ModelParams(Section):
    """Sizes and regularisation of the classifier's self-attention part."""

    max_length: Annotated[int, Field(ge=2)]
    d_model: PositiveInt
    n_heads: PositiveInt
    n_layers: PositiveInt
    dim_feedforward: PositiveInt
    similarity: Literal["inner_product", "cosine"]
    window_size: Annotated[int, Field(ge=0)]
    bigram_buckets: Annotated[int, Field(ge=0)]
    bigram_dropout: Probability
    embedding_dropout: Probability
    dropout: Probability

    @model_validator(mode="after")
    def _heads_divide_width(self) -> Self:
        if self.d_model % self.n_heads:
            raise ValueError(f"d_model ({self.d_model}) must be divisible by n_heads ({self.n_heads})")
        if (self.d_model // self.n_heads) % 2:
            raise ValueError(
                f"d_model / n_heads ({self.d_model} / {self.n_heads} = {self.d_model // self.n_heads}) must be even: "
                "rotary positions turn pairs of features"
            )
        return self


class TrainingParams(Section):
    """How the classifier is optimised."""

    max_epochs: PositiveInt
    patience: PositiveInt
    tokens_per_batch: PositiveInt
    learning_rate: PositiveFloat
    warmup_ratio: Probability
    gradient_clip_val: PositiveFloat
    class_weights: Literal["none", "balanced"]
    precision: Literal["float32", "bfloat16"]
    accelerator: Literal["auto", "cpu", "gpu"]
    devices: PositiveInt
    threads: PositiveInt


class TuneParams(Section):
    """The hyperparameter study: its budget and its space."""

    trials: PositiveInt
    timeout_minutes: PositiveFloat
    target: Annotated[float, Field(ge=0)]
    objective: Literal["macro_f1", "accuracy", "negative_log_likelihood"]
    second_objective: Literal["none", "latency", "size"]
    second_margin: Annotated[float, Field(ge=0)]
    train_share: Annotated[float, Field(gt=0, le=1)]
    max_epochs: PositiveInt
    pruning: bool
    executor: Literal["serial", "processes", "ray"]
    workers: PositiveInt
    address: str
    storage: str
    space: dict[str, Knob]

    @field_validator("storage")
    @classmethod
    def _storage_is_a_database_without_its_password(cls, url: str) -> str:
        if re.search(r"://.*:[^@]*@|[?&]password=", url):
            raise ValueError("holds a password, which has no place in a file under git; set PGPASSWORD or use ~/.pgpass")
        if url and not re.match(r"postgresql(\+\w+)?://.", url):
            raise ValueError(f"{url!r} is not allowed: expected as in postgresql://user@host/database")
        return url


class EvaluationParams(Section):
    """How test metrics are given an interval, and on which parts of the split they are taken too."""

    bootstrap_samples: Annotated[int, Field(ge=100)]
    confidence: Share
    min_slice_rows: PositiveInt
    slices: dict[Name, Name]


class GateParams(Section):
    """The policy a candidate must satisfy to become champion."""

    policy: Literal["superior", "non_inferior"]
    champion_margin: Margin
    baseline_margin: Margin
    minimum_gain: Margin
    macro_f1_margin: Margin
    nll_margin: Annotated[float, Field(ge=0)]
    calibration_margin: Margin
    slice_margin: Margin
    min_slice_rows: PositiveInt
    min_test_rows: PositiveInt
    detectable_gain: Margin
    max_latency_ms: Annotated[float, Field(ge=0)]
    max_latency_ratio: Annotated[float, Field(ge=0)]
    max_size_mb: Annotated[float, Field(ge=0)]
    max_size_ratio: Annotated[float, Field(ge=0)]
    confidence: Share
    bootstrap_samples: Annotated[int, Field(ge=100)]


class RegistryParams(Section):
    """Names under which MLflow keeps the experiment and the model, and what its card says it is for."""

    experiment: Name
    model_name: Annotated[str, Field(pattern=r"^\w[\w .-]*$")]
    intended_use: str


class Params(Section):
    """The whole of params.yaml."""

    seed: Annotated[int, Field(ge=0, lt=2**31)]
    data: DataParams
    split: SplitParams
    tokenizer: TokenizerParams
    baseline: BaselineParams
    ngrams: NgramParams
    model: ModelParams
    training: TrainingParams
    tune: TuneParams
    evaluation: EvaluationParams
    gate: GateParams
    registry: RegistryParams

    @model_validator(mode="after")
    def _space_names_real_knobs(self) -> Self:
        for path, knob in self.tune.space.items():
            for former in (name for name in (path, *knob.when) if name in RENAMED):
                raise _space_error(path, f"{former} was renamed: use {RENAMED[former]}")
            if path in BUDGET:
                raise _space_error(path, "is a budget, which the search does not turn; see tune.max_epochs and tune.trials")
            if path not in TUNABLE:
                raise _space_error(path, f"no knob of model, training or tokenizer; {nearest(path, TUNABLE)}")
        try:
            check_space(self.tune.space, self.model_dump(include=set(SECTIONS)), SECTIONS)
        except SpaceError as error:
            raise _space_error(error.knob, str(error)) from None
        return self

    def override(self, values: Mapping[str, Any]) -> Params:
        """These params with knobs replaced, checked again.

        Args:
            values: dotted path to value, as in ``{"model.d_model": 128}``.

        Raises:
            HeadwayError: a path that names no knob, or a value out of range.
        """
        tree = self.model_dump()
        for path, value in values.items():
            if path in RENAMED:
                raise HeadwayError(f"{path} was renamed: use {RENAMED[path]}")
            section, _, name = path.rpartition(".")
            node = tree.get(section) if section else tree
            if not isinstance(node, dict) or name not in node:
                raise HeadwayError(f"{path}: no such knob; {nearest(path, list(flatten(tree)))}")
            node[name] = value
        return validate(tree, source="override")

    def at(self, point: Mapping[str, Any]) -> Params:
        """These params at a point of their space, which a trial or the training has; without the space, which is about trial 0.

        Raises:
            HeadwayError: see :meth:`override`.
        """
        return self.override({**point, "tune.space": {}})


SECTIONS: dict[str, type[Section]] = {"model": ModelParams, "training": TrainingParams, "tokenizer": TokenizerParams}
#: What a trial may cost: with more of it, nearly every trial would do better.
BUDGET = tuple(f"training.{name}" for name in ("max_epochs", "patience", "precision", "accelerator", "devices", "threads"))
TUNABLE = [
    path for section, kind in SECTIONS.items() for name in kind.model_fields if (path := f"{section}.{name}") not in BUDGET
]


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """All values in a nested mapping, by dotted path."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        path = f"{prefix}{key}"
        flat.update(flatten(value, f"{path}.") if isinstance(value, Mapping) and value else {path: value})
    return flat


def nearest(word: str, known: list[str]) -> str:
    """A hint that names the closest known word, or all of them when none is close."""
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f"did you mean {close[0]}?" if close else f"known: {', '.join(known)}"


def load(path: Path) -> Params:
    """Read and check a params file.

    Raises:
        HeadwayError: the file is missing, is not YAML, or holds a key or value that is not allowed; the message
            names the file, the line, the key path, what was given and what is allowed.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise HeadwayError(f"{path}: no such file; run inside a Headway project, where {FILE_NAME} lies") from None
    except UnicodeDecodeError:
        raise HeadwayError(f"{path}: not UTF-8; save it as UTF-8") from None
    try:
        tree = YAML(typ="rt").load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark
        line = f":{mark.line + 1}" if mark else ""
        raise HeadwayError(f"{path.name}{line}: not valid YAML: {error.problem}") from None
    except YAMLError as error:
        raise HeadwayError(f"{path.name}: not valid YAML: {first_line(error)}") from None
    if not isinstance(tree, Mapping):
        raise HeadwayError(f"{path.name}: expected sections such as 'data:' and 'model:', found {type(tree).__name__}")
    return validate(tree, source=path.name)


def validate(tree: Mapping[str, Any], source: str) -> Params:
    """Check a nested mapping of values; see :func:`load` for what is raised."""
    try:
        return Params.model_validate(_plain_types(tree))
    except ValidationError as error:
        problems = error.errors()
        misspelt = {problem["loc"][:-1] for problem in problems if problem["type"] == "extra_forbidden"}
        # A key that is missing beside an unknown one is, most likely, that one.
        problems = [problem for problem in problems if problem["type"] != "missing" or problem["loc"][:-1] not in misspelt]
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise HeadwayError(_one_line(problems[0], tree, source) + more) from None


def _plain_types(node: Any) -> Any:
    """YAML's round-trip containers and numbers as Python's own."""
    if isinstance(node, Mapping):
        return {str(key): _plain_types(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_plain_types(value) for value in node]
    for plain in (bool, int, float, str):
        if isinstance(node, plain):
            return plain(node)
    return node


def _space_error(knob: str, message: str) -> PydanticCustomError:
    """A problem of one knob's range that shows only beside the other sections."""
    return PydanticCustomError("space", "{message}", {"message": message, "loc": ("tune", "space", knob)})


def _one_line(problem: Any, tree: Mapping[str, Any], source: str) -> str:
    """A pydantic problem as ``file:line: key: what, allowed, nearest key``."""
    context = problem.get("ctx", {})
    path = _path_in_file(context.get("loc", problem["loc"]))
    line = _line_of(tree, path)
    where = f"{source}:{line}" if line else source
    key = ".".join(map(str, path))
    match problem["type"]:
        case "extra_forbidden" if key in RENAMED:
            return f"{where}: {key} was renamed: use {RENAMED[key]}"
        case "extra_forbidden":
            absent = [name for name in _fields_at(path[:-1]) if name not in _node_at(tree, path[:-1])]
            return f"{where}: {key}: unknown key; {nearest(str(path[-1]), absent or _fields_at(path[:-1]))}"
        case "missing":
            return f"{where}: {key}: missing; add it (headway params --schema tells what it may be)"
        case "model_type":
            return (
                f"{where}: {key}: {problem['input']!r} is not allowed: expected a section of {', '.join(_fields_at(path))}"
            )
        case "union_tag_invalid":
            return f"{where}: {key}.type: {context['tag']!r} is not allowed: expected {context['expected_tags']}"
        case "union_tag_not_found":
            return f"{where}: {key}.type: missing; expected 'float', 'int' or 'categorical'"
        case "value_error" | "space":
            return f"{where}: {key}: {describe(problem)}"
        case _:
            return f"{where}: {key}: {problem['input']!r} is not allowed: {describe(problem)}"


def _path_in_file(loc: tuple[Any, ...]) -> list[Any]:
    """Where a problem stands in the file. Pydantic also names the kind of a range and of a choice, which are no keys."""
    if loc[:2] != ("tune", "space"):
        return list(loc)
    return [*loc[:3], *loc[4:6]]


def _fields_at(path: list[Any]) -> list[str]:
    """Names of the fields that the section at this path has."""
    kind: Any = Params
    for part in path:
        field = kind.model_fields.get(part) if hasattr(kind, "model_fields") else None
        if field is None:
            return sorted({name for knob in (FloatRange, IntRange, Choices) for name in knob.model_fields})
        kind = field.annotation
    return list(kind.model_fields)


def _node_at(tree: Any, path: list[Any]) -> Any:
    for part in path:
        tree = tree[part]
    return tree


def _line_of(tree: Any, path: list[Any]) -> int | None:
    """The 1-based line on which the innermost existing part of a path stands; None without line information."""
    line = None
    node: Any = tree
    for part in path:
        positions = getattr(node, "lc", None)
        if positions is None:
            break
        try:
            line = (positions.key(part) if isinstance(node, Mapping) else positions.item(part))[0] + 1
            node = node[part]
        except (KeyError, TypeError, AttributeError, IndexError):
            break
    return line
