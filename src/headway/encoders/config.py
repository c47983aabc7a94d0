"""What an encoder's config.json and the headers of its weights say, read as data and checked before anything is loaded."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from headway.errors import HeadwayError, first_line
from headway.params_sections import STATIC_FAMILY
from headway.phrases import listed

#: Values of ``model_type`` in config.json that are supported: encoders that transformers has its own classes for.
FAMILIES = (
    "albert",
    "bert",
    "camembert",
    "deberta-v2",
    "distilbert",
    "electra",
    "modernbert",
    "mpnet",
    "roberta",
    "xlm-roberta",
)
CONFIG = "config.json"
#: Settings of config.json with which transformers would load other files, or other numbers.
LEAD_ELSEWHERE = {"configuration_files", "quantization_config", "transformers_weights"}
ADAPTER = "adapter_config.json"
#: Tensors of a static encoder: the number of their dimensions, and their types in the header.
STATIC_TENSORS = {
    "embeddings": (2, ("F64", "F32", "F16", "BF16", "I8")),
    "mapping": (1, ("I64", "I32")),
    "weights": (1, ("F64", "F32", "F16", "BF16")),
}


def read_config(folder: Path) -> dict[str, Any]:
    """Content of config.json; HeadwayError if the encoder needs code of its own, or is of a family that is not supported."""
    path = folder / CONFIG
    config = read_object(path, "copy it from where the weights came from, or add the encoder again")
    supported = f"{', '.join(FAMILIES)}, or {STATIC_FAMILY} for static embeddings"
    if "auto_map" in config:
        raise HeadwayError(
            f"{path}: auto_map says that the encoder needs code of its own, which Headway never runs; use an encoder of a family "
            f"without such code: {supported}"
        )
    if elsewhere := sorted(LEAD_ELSEWHERE & config.keys()):
        raise HeadwayError(
            f"{path}: {elsewhere[0]} asks for other weights or settings than those of this folder's files; remove it, or use an "
            "encoder without it"
        )
    if (folder / ADAPTER).exists():
        raise HeadwayError(f"{folder / ADAPTER}: adapters are not supported; merge it into the weights, and remove it")
    family = config.get("model_type")
    if family not in (*FAMILIES, STATIC_FAMILY):
        found = f"model_type is {family!r:.60}" if "model_type" in config else "model_type is missing"
        raise HeadwayError(f"{path}: {found}; expected one of {supported}")
    return config


def tensors(weights: Path) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Type and shape of the tensors by name, from the header of a safetensors file; the values are not read."""
    try:
        with safe_open(weights, framework="np") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 - it is not a mapping
            found = {name: (str(part.get_dtype()), tuple(part.get_shape())) for name, part in slices.items()}
    except SafetensorError as error:
        raise damaged(weights, first_line(error)) from None
    if not found:
        raise damaged(weights, "no tensors")
    return found


def static_sizes(
    folder: Path, config: Mapping[str, Any], headers: Sequence[Mapping[str, tuple[str, tuple[int, ...]]]]
) -> dict[str, Any]:
    """The sizes of :class:`headway.model.static.StaticConfig`, from the header of a static encoder's only file of weights.

    Raises:
        HeadwayError: there are other tensors than those that model2vec saves, or their shapes do not fit each other.
    """
    names = {name for header in headers for name in header}
    if len(headers) != 1 or "embeddings" not in names or not names <= STATIC_TENSORS.keys():
        expected = "a tensor embeddings in one file, with mapping and weights at most"
        raise HeadwayError(
            f"{folder}: a static encoder has {expected}; found {listed([name[:60] for name in sorted(names)], 3)}"
        )
    normalize = config.get("normalize", False)
    if not isinstance(normalize, bool):
        raise HeadwayError(f"{folder / CONFIG}: normalize is {normalize!r:.40}, expected true or false")
    for name, (kind, shape) in headers[0].items():
        dimensions, kinds = STATIC_TENSORS[name]
        if kind not in kinds or len(shape) != dimensions or 0 in shape:
            raise HeadwayError(f"{folder}: the tensor {name} has type {kind} and shape {shape}, which no static encoder has")
    shapes = {name: shape for name, (_, shape) in headers[0].items()}
    vectors, width = shapes["embeddings"]
    (vocabulary,) = shapes.get("mapping", (vectors,))
    if shapes.get("weights", (vocabulary,)) != (vocabulary,):
        raise HeadwayError(f"{folder}: {shapes['weights'][0]:,} weights for {vocabulary:,} sub-words; add the encoder again")
    return {
        "hidden_size": width,
        "vocab_size": vocabulary,
        "vectors": vectors,
        "mapped": "mapping" in shapes,
        "weighted": "weights" in shapes,
        "normalize": normalize,
    }


def read_object(path: Path, remedy: str) -> dict[str, Any]:
    """A JSON object; HeadwayError with what to do if the file is missing, or damaged."""
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise HeadwayError(f"{path}: missing; {remedy}") from None
    except (ValueError, RecursionError):
        raise damaged(path, "not JSON") from None
    if not isinstance(value, dict):
        raise damaged(path, "not a JSON object")
    return value


def damaged(path: Path, why: str) -> HeadwayError:
    """The error for a file that is not what it should be."""
    return HeadwayError(f"{path}: damaged ({why}); remove the folder and add the encoder again")
