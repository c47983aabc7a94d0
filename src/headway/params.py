"""params.yaml as types: the whole of it, and how it is read and changed. Its sections are in :mod:`headway.params_sections`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from headway import yaml_files
from headway.errors import HeadwayError
from headway.params_errors import RENAMED, all_problems, nearest
from headway.params_sections import (
    TIME_COLUMN,
    BaselineParams,
    DataParams,
    EvaluationParams,
    GateParams,
    LogParams,
    ModelParams,
    MonitorParams,
    NgramParams,
    PretrainedParams,
    RegistryParams,
    RetrainParams,
    ServingParams,
    SplitParams,
    TokenizerParams,
    TrainingParams,
    TuneParams,
)
from headway.ranges import Choices, Section, SpaceError, Value, check_space

#: Includes names that are defined in other modules and imported from here.
__all__ = [
    "RENAMED",
    "TIME_COLUMN",
    "BaselineParams",
    "DataParams",
    "EvaluationParams",
    "GateParams",
    "LogParams",
    "ModelParams",
    "MonitorParams",
    "NgramParams",
    "Params",
    "PretrainedParams",
    "RetrainParams",
    "Section",
    "ServingParams",
    "SplitParams",
    "TokenizerParams",
    "TrainingParams",
    "TuneParams",
    "nearest",
]

FILE_NAME = "params.yaml"
#: ``pretrained.path`` without a pretrained encoder.
NO_ENCODER = "none"


class Params(Section):
    """The whole of params.yaml."""

    seed: Annotated[int, Field(ge=0, lt=2**31)] = Field(
        description="Seed of initial weights, batch order, dropout and the search's proposals"
    )
    data: DataParams
    split: SplitParams
    tokenizer: TokenizerParams
    baseline: BaselineParams
    ngrams: NgramParams
    model: ModelParams
    pretrained: PretrainedParams
    training: TrainingParams
    tune: TuneParams
    evaluation: EvaluationParams
    gate: GateParams
    registry: RegistryParams
    serving: ServingParams
    monitor: MonitorParams
    retrain: RetrainParams

    @model_validator(mode="after")
    def _space_is_searchable(self) -> Self:
        for path, knob in self.tune.space.items():
            for former in (name for name in (path, *knob.when) if name in RENAMED):
                raise _space_error(path, f"{former} was renamed: use {RENAMED[former]}")
            if path in BUDGET:
                raise _space_error(path, "is a budget, which is not searched; see tune.max_epochs and tune.trials")
            if path not in TUNABLE:
                raise _space_error(path, f"no knob of model, pretrained, training or tokenizer; {nearest(path, TUNABLE)}")
        try:
            check_space(self.tune.space, self.model_dump(include=set(SECTIONS)), SECTIONS)
        except SpaceError as error:
            raise _space_error(error.knob, str(error)) from None
        return self

    @model_validator(mode="after")
    def _pretrained_encoder_has_a_name(self) -> Self:
        if "pretrained" in self.encoders and self.pretrained.path == NO_ENCODER:
            message = (
                "is none, although model.encoder may be pretrained; expected a folder in data/encoders (`headway encoders`)"
            )
            raise _error_at(("pretrained", "path"), message)
        return self

    @model_validator(mode="after")
    def _fine_tuning_is_possible(self) -> Self:
        learns = "pretrained" in self.encoders and self.pretrained.learns
        if learns and self.pretrained.accumulation > 1 and self.training.devices > 1:
            message = "must be 1 with training.devices above 1, which split batches too"
            raise _error_at(("pretrained", "accumulation"), message)
        return self

    @model_validator(mode="after")
    def _time_column_decides_alone(self) -> Self:
        column, data = self.split.time_column, self.data
        if not column:
            return self
        named = {"file": ("test_files", "split_column"), "hub": ("hub_test_split",), "package": ()}[data.source]
        message = ""
        if predefined := [f"data.{name}" for name in named if getattr(data, name)]:
            message = f"the latest rows are the test split, but {predefined[0]} names another; empty one of the two"
        elif column in (data.text_column, data.label_column):
            message = f"{column!r} is the column of the texts or the labels; name the column with the rows' times"
        elif TIME_COLUMN in data.slice_columns:
            message = f"the times are kept in a column {TIME_COLUMN!r}; remove {TIME_COLUMN!r} from data.slice_columns"
        if message:
            raise _error_at(("split", "time_column"), message)
        return self

    @property
    def encoders(self) -> list[Value]:
        """The values of ``model.encoder`` that a run may use: of the search if it chooses, else of the section."""
        searched = self.tune.space.get("model.encoder")
        return list(searched.choices) if isinstance(searched, Choices) else [self.model.encoder]

    @property
    def search(self) -> TuneParams:
        """The section ``tune``, whose space lacks the knobs that no encoder of this run reads.

        If the search chooses the encoder, the knobs of either encoder are searched where that one is chosen.
        """
        space = {}
        for path, knob in self.tune.space.items():
            readers = [encoder for encoder in self.encoders if self._is_read(path, encoder)]
            if readers == self.encoders:
                space[path] = knob
            elif readers:
                space[path] = knob.model_copy(update={"when": {**knob.when, "model.encoder": readers}})
        return self.tune.model_copy(update={"space": space})

    def _is_read(self, path: str, encoder: Value) -> bool:
        """Whether a knob of the search means anything with an encoder."""
        section, _, name = path.partition(".")
        if section == "tokenizer" or path in ("model.encoder", "training.class_weights"):
            return True
        if encoder == "scratch":
            return section != "pretrained"
        learns = self.pretrained.learns
        if path == "pretrained.lora_rank":
            return self.pretrained.mode == "lora"
        if section == "pretrained":
            return learns or name not in LEARNING
        return learns and section == "training" and name != "learning_rate"  # it has one of its own

    def override(self, values: Mapping[str, Any]) -> Params:
        """These params with some values replaced, checked again.

        Args:
            values: by dotted path, as in ``{"model.d_model": 128}``.

        Raises:
            HeadwayError: an unknown path, or a value that is not allowed.
        """
        tree = self.model_dump()
        for path, value in values.items():
            if path in RENAMED:
                raise HeadwayError(f"{path} was renamed: use {RENAMED[path]}")
            *sections, name = path.split(".")
            node: Any = tree
            for section in sections:
                node = node.get(section) if isinstance(node, dict) else None
            if not isinstance(node, dict) or name not in node:
                raise HeadwayError(f"{path}: no such knob; {nearest(path, list(flatten(tree)))}")
            node[name] = value
        return validate(tree, source="override")

    def at(self, point: Mapping[str, Any]) -> Params:
        """These params with the values of a trial, and without the search space, which must contain the values of trial 0.

        Raises:
            HeadwayError: see :meth:`override`.
        """
        return self.override({**point, "tune.space": {}})


#: Sections whose knobs can be searched.
SECTIONS: dict[str, type[Section]] = {
    "model": ModelParams,
    "pretrained": PretrainedParams,
    "training": TrainingParams,
    "tokenizer": TokenizerParams,
}
#: Knobs of these sections that set what a trial costs. They are not searched: a larger budget improves nearly every trial.
BUDGET = tuple(
    f"training.{name}"
    for name in ("max_epochs", "patience", "precision", "accelerator", "devices", "threads", "strategy", "address")
)
#: Knobs of the section ``training`` that say where the training runs, which does not change its result.
PLACE_OF_TRAINING = {"strategy", "address"}
#: Knobs of a pretrained encoder that all trials share: the encoder and the sub-words are prepared once, before the first.
FIXED = tuple(
    f"pretrained.{name}"
    for name in (
        "path",
        "revision",
        "mode",
        "max_length",
        "inverse_regularisation",
        "accumulation",
        "gradient_checkpointing",
    )
)
TUNABLE = [
    path
    for section, kind in SECTIONS.items()
    for name in kind.model_fields
    if (path := f"{section}.{name}") not in BUDGET + FIXED
]


#: Knobs of a pretrained encoder that mean nothing if it is frozen.
LEARNING = ("learning_rate", "layer_decay", "layers")


def _space_error(knob: str, message: str) -> PydanticCustomError:
    """An error at a knob of the search space, found when all sections are known."""
    return _error_at(("tune", "space", knob), message)


def _error_at(path: tuple[str, ...], message: str) -> PydanticCustomError:
    """An error at a knob, found when all sections are known."""
    return PydanticCustomError("located", "{message}", {"message": message, "loc": path})


def present_names(section: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Values of a section as written by an earlier version, under the knobs' present names."""
    return {RENAMED.get(f"{section}.{name}", name).removeprefix(f"{section}."): value for name, value in values.items()}


#: A mapping whose keys are not names: MLflow refuses many of them in the name of a param.
WHOLE = "data.label_map"


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """All values in a nested mapping, by dotted path. ``data.label_map`` is one value: its keys are labels."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        path = f"{prefix}{key}"
        flat.update(flatten(value, f"{path}.") if isinstance(value, Mapping) and value and path != WHOLE else {path: value})
    return flat


def load(path: Path) -> Params:
    """Read and check a params file. The same content is parsed once per process.

    Raises:
        HeadwayError: the file is missing, is not YAML, or has a key or value that is not allowed; the message names the file,
            the line, the key, its value and what is allowed.
    """
    try:
        text = yaml_files.read_text(path)
    except FileNotFoundError:
        raise HeadwayError(f"{path}: no such file; run inside a Headway project, the folder with {FILE_NAME}") from None
    return _parse(text, path.name)


@lru_cache(maxsize=4)
def _parse(text: str, name: str) -> Params:
    """Parse the text of a params file. Keyed by content, not by modification time, so that a changed file is never missed."""
    return validate(_tree(text, name), name, lambda: yaml_files.numbered(text))


def _tree(text: str, name: str) -> Mapping[str, Any]:
    """The nested mapping in the text of a params file."""
    tree = yaml_files.parse(text, name)
    if not isinstance(tree, Mapping):
        raise HeadwayError(f"{name}: expected sections such as 'data:' and 'model:', found {type(tree).__name__}")
    return tree


def problems(path: Path) -> list[str]:
    """Every mistake in a params file, one line each; only errors that can be fixed by editing keys or values.

    Raises:
        HeadwayError: the file cannot be read, or is no YAML.
    """
    try:
        text = yaml_files.read_text(path)
    except FileNotFoundError:
        raise HeadwayError(f"{path}: no such file; restore it with `git checkout {FILE_NAME}`") from None
    try:
        Params.model_validate(_tree(text, path.name))
    except ValidationError as error:
        return all_problems(error, Params, yaml_files.numbered(text), path.name)
    return []


def validate(tree: Mapping[str, Any], source: str, numbered: Callable[[], Mapping[str, Any]] | None = None) -> Params:
    """Check a nested mapping of values, as read from a file or as dumped; the message names its source.

    ``numbered`` returns the same with the line numbers of a file, for the message.

    Raises:
        HeadwayError: as :func:`load` for keys and values.
    """
    try:
        return Params.model_validate(tree)
    except ValidationError as error:
        lines = all_problems(error, Params, numbered() if numbered else tree, source)
        more = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
        raise HeadwayError(lines[0] + more) from None
