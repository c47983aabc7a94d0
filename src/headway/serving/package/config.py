"""A package's config.json: read within bounds, checked against its own hash, and typed."""

from __future__ import annotations

import json
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from headway.encoders.config import FAMILIES
from headway.errors import HeadwayError
from headway.files import sha256_of_file, sha256_of_json
from headway.params import ModelParams, present_names
from headway.params_sections import MAX_SUBWORDS, STATIC_FAMILY

#: Written into every package. Format 6, of Headway 0.1.0, has some former names, and neither it nor 7 knows pretrained encoders.
#: Before 9 there were no n-grams of words, before 10 no golden predictions.
FORMAT = 10
READABLE_FORMATS = (6, 7, 8, 9, FORMAT)
WEIGHTS, TOKENIZER, CONFIG = "weights.safetensors", "tokenizer.json", "config.json"
#: Of a pretrained encoder's sub-words; only in packages with one.
ENCODER_TOKENIZER = "encoder_tokenizer.json"
#: Bytes of the largest config.json and tokenizer.json that are read: many times what a million tokens take.
MAX_BYTES = 100_000_000
#: Largest number of anything that the config counts, so that no product of two overflows.
MAX_COUNT = 100_000_000

Count = Annotated[int, Field(ge=0, le=MAX_COUNT)]


class OtherFormat(HeadwayError):
    """A package whose format this version of Headway does not read."""


class OtherAnswers(HeadwayError):
    """A package that gives other probabilities here than when it was saved."""


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class NgramSizes(_Strict):
    """Rows of the n-gram table, and the lengths of the longest n-gram of tokens, and of words if tokens are pieces of words."""

    n_features: Count
    max_order: Annotated[int, Field(ge=1, le=5)]
    max_words: Annotated[int, Field(ge=0, le=3)] = 0


class Golden(_Strict):
    """A golden prediction, see :mod:`headway.serving.package.golden`.

    Attributes:
        text: what is classified, ``repeats`` times in a row as one text.
        repeats: more than 1 for a text that is longer than the model reads.
        classes: indices of the most probable classes, ascending.
        probabilities: of these classes.
    """

    text: Annotated[str, Field(min_length=1, max_length=10_000)]
    repeats: Annotated[int, Field(ge=1, le=10_000)]
    classes: Annotated[list[Count], Field(min_length=1, max_length=10)]
    probabilities: Annotated[list[Annotated[float, Field(ge=0, le=1)]], Field(min_length=1, max_length=10)]


class Encoder(_Strict):
    """A pretrained encoder.

    Attributes:
        config: as in the encoder's own config.json; its sizes are checked against the weights.
        pooling: how the features of a text are made from those of its sub-words.
        max_length: sub-words kept of a longer text.
        strip_html: whether markup is removed first.
        origin: name, source, revision, licence and hashes of the files that it was made from.
    """

    config: dict[str, Any]
    pooling: Literal["layers", "mean", "first", "max"]
    max_length: Annotated[int, Field(ge=1, le=MAX_SUBWORDS)]
    strip_html: bool
    origin: dict[str, Any]

    @field_validator("config")
    @classmethod
    def _sizes_are_possible(cls, config: dict[str, Any]) -> dict[str, Any]:
        if "auto_map" in config:
            raise ValueError("auto_map asks for code, which is never run")
        if config.get("model_type") not in (supported := (*FAMILIES, STATIC_FAMILY)):
            raise ValueError(f"model_type is {str(config.get('model_type'))[:40]!r}, expected {', '.join(supported)}")
        for name, value in config.items():
            if isinstance(value, int | float) and not -MAX_COUNT <= value <= MAX_COUNT:
                raise ValueError(f"{name[:40]} is {value:.3g}, expected at most {MAX_COUNT:,}")
        return config


class Config(_Strict):
    """What config.json says about the other files.

    Attributes:
        format: of the package.
        classes: label names, in the order of the model's outputs.
        max_length: tokens kept of a longer text.
        vocabulary_size: rows of the embedding table.
        ngrams: sizes of the linear part, None for attention alone.
        model: sizes of the attention part, None for a pretrained encoder.
        pretrained: the pretrained encoder that is the attention part, None for one that was trained from scratch.
        golden: golden predictions; none before format 10.
        sha256: hashes of the files by name.
    """

    format: Literal[6, 7, 8, 9, 10]
    classes: Annotated[list[str], Field(min_length=2, max_length=1_000_000)]
    max_length: Annotated[int, Field(ge=1, le=MAX_COUNT)]
    vocabulary_size: Annotated[int, Field(ge=2, le=MAX_COUNT)]
    ngrams: NgramSizes | None
    model: ModelParams | None
    pretrained: Encoder | None = None
    golden: Annotated[list[Golden], Field(max_length=10)] = []
    sha256: dict[str, str]

    @field_validator("classes")
    @classmethod
    def _names_are_distinct(cls, names: list[str]) -> list[str]:
        if len(set(names)) < len(names):
            raise ValueError("two classes have the same name")
        return names

    @field_validator("model")
    @classmethod
    def _sizes_are_possible(cls, model: ModelParams | None) -> ModelParams | None:
        for name, value in model.model_dump().items() if model else ():
            if isinstance(value, int) and value > MAX_COUNT:
                raise ValueError(f"{name} is {value:.3g}, expected at most {MAX_COUNT:,}")
        return model

    @model_validator(mode="after")
    def _has_one_attention_part(self) -> Self:
        if (self.model is None) == (self.pretrained is None):
            raise ValueError("expected either model or pretrained")
        return self

    @model_validator(mode="after")
    def _golden_predictions_fit(self) -> Self:
        for number, golden in enumerate(self.golden, 1):
            if len(golden.classes) != len(golden.probabilities) or max(golden.classes) >= len(self.classes):
                raise ValueError(f"golden prediction {number} does not fit the classes")
        return self

    @property
    def files(self) -> tuple[str, ...]:
        """Names of the files besides config.json."""
        return (WEIGHTS, TOKENIZER, ENCODER_TOKENIZER) if self.pretrained else (WEIGHTS, TOKENIZER)


def read_json(path: Path) -> Any:
    """The content of a JSON file of a package.

    Raises:
        HeadwayError: it cannot be opened, is too large, nested too deeply, not JSON, or has strings that are not Unicode.
    """
    require_file(path, MAX_BYTES)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise unreadable(path, error) from None
    except ValueError:
        raise HeadwayError(f"{path}: damaged (not JSON)") from None
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
        json.dumps(value, ensure_ascii=False).encode()  # fails for half of a surrogate pair
    except (ValueError, RecursionError):
        raise HeadwayError(f"{path}: damaged (not JSON)") from None
    return value


def read_config(folder: Path) -> Config:
    """A package's config.

    Raises:
        OtherFormat: the package has a format that this version does not read.
        HeadwayError: config.json is missing, damaged or altered, or a value in it is not allowed.
    """
    path = folder / CONFIG
    content = read_json(path)
    if not isinstance(content, dict):
        raise HeadwayError(f"{path}: damaged (expected an object, found {type(content).__name__})")
    if type(content.get("format")) is not int or content["format"] not in READABLE_FORMATS:
        readable = f"{', '.join(map(str, READABLE_FORMATS[:-1]))} and {READABLE_FORMATS[-1]}"
        raise OtherFormat(f"{path}: format {str(content.get('format'))[:20]}, this Headway reads formats {readable}")
    hashes = content.get("sha256")
    own = sha256_of_json({name: value for name, value in content.items() if name != "sha256"})
    names = {CONFIG, WEIGHTS, TOKENIZER, *([ENCODER_TOKENIZER] if content.get("pretrained") else [])}
    if not isinstance(hashes, dict) or hashes.keys() != names or hashes[CONFIG] != own:
        raise HeadwayError(f"{path}: SHA-256 differs from the one saved in it; the model package was altered")
    try:
        if isinstance(content.get("model"), Mapping):
            former = {"encoder": "scratch"} if content["format"] < 9 else {}
            content["model"] = ModelParams.model_validate(former | present_names("model", content["model"]))
        return Config.model_validate(content)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part)[:40] for part in problem["loc"])
        raise HeadwayError(f"{path}: cannot be loaded as a model package: {where}: {problem['msg'][:200]}") from None


def require_file(path: Path, max_bytes: int | None = None) -> None:
    """Raise a HeadwayError unless a file of a package exists, is a regular file and is not larger than ``max_bytes``."""
    try:
        found = path.stat()
    except OSError as error:
        raise unreadable(path, error) from None
    if not stat.S_ISREG(found.st_mode):
        raise HeadwayError(f"{path}: not a regular file; the model package is damaged")
    if max_bytes is not None and found.st_size > max_bytes:
        raise HeadwayError(
            f"{path}: {found.st_size:,} bytes, more than any model package needs; expected at most {max_bytes:,}"
        )


def unreadable(path: Path, error: OSError) -> HeadwayError:
    """The error for a file of a package that cannot be opened: missing, no permission, a folder, …"""
    if isinstance(error, FileNotFoundError):
        if path.name == CONFIG:
            return HeadwayError(f"{path.parent}: not a model package ({CONFIG} is missing)")
        return HeadwayError(f"{path}: missing; the model package is incomplete")
    if isinstance(error, NotADirectoryError):
        return HeadwayError(f"{path.parent}: not a model package, which is a folder")
    return HeadwayError(f"{path}: cannot be read: {error.strerror or type(error).__name__}")


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def fingerprint(folder: Path) -> str:
    """Hex SHA-256 of a package's config.json, which holds the hashes of the other files; HeadwayError if it is damaged."""
    read_config(folder)
    return sha256_of_file(folder / CONFIG)
