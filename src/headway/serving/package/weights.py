"""A package's weights: written, and read only after their names, shapes and types are known to be those that the config needs.

The classifier is built without memory for its weights. These are then compared with the header of the file, which says what
the file holds, so that sizes in the config alone allocate nothing.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor
from torch.overrides import TorchFunctionMode

from headway.encoders import longest_text
from headway.errors import HeadwayError, first_line
from headway.model import pretrained
from headway.model.classifier import AttentionClassifier
from headway.model.joint import JointClassifier
from headway.model.ngrams import NgramClassifier
from headway.model.pretrained import PretrainedClassifier
from headway.model.static import StaticEncoder
from headway.params_sections import STATIC_FAMILY
from headway.serving.package.config import CONFIG, Config, Encoder, unreadable

#: Names of types in the header of a file.
TYPES = {torch.float32: "F32", torch.int64: "I64"}
#: Numbers of groups and of layers in each, in the configuration of ALBERT, whose other layers share these weights.
ALBERT_LAYERS = ("num_hidden_groups", "inner_group_num")
#: Most numbers in the tensors that a pretrained encoder computes when it is built, such as the positions 0, 1, 2, …
MAX_COMPUTED = 10_000_000


def write(path: Path, classifier: JointClassifier) -> None:
    """Write the weights with the permissions of any new file; safetensors itself would let nobody but the owner read them."""
    path.write_bytes(save({name: value.contiguous() for name, value in classifier.state_dict().items()}))


def read(path: Path, config: Config) -> JointClassifier:
    """The classifier with the sizes of the config and the weights of the file; HeadwayError if they do not fit."""
    try:
        with safe_open(path, framework="pt") as file:
            names = {_present_name(name, config): name for name in file.keys()}  # noqa: SIM118 - it is not a mapping
            if (layers := _layers(config)) > len(
                names
            ):  # as many as layers are built, even without memory for their weights
                raise _misfit(path, f"it has {len(names):,} tensors, too few for {layers:,} layers")
            with torch.device("meta"), _WithoutInitialValues():
                classifier = _build(path, config)
            expected = classifier.state_dict()
            if different := sorted(expected.keys() ^ names.keys()):
                raise _misfit(path, f"{'no' if different[0] in expected else 'an unexpected'} tensor {different[0][:80]!r}")
            for name, tensor in expected.items():
                _require_same(path, name, tensor, file.get_slice(names[name]))
            # Copies, so that no result depends on where in the file a tensor begins.
            weights = {name: file.get_tensor(names[name]).clone() for name in expected}
    except OSError as error:
        raise unreadable(path, error) from None
    except SafetensorError as error:
        raise _misfit(path, first_line(error)) from None
    for name, tensor in weights.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise _misfit(path, f"the tensor {name!r} has values that are not finite")
    if (weights["weights"] < 0).any():
        raise _misfit(path, f"the weights of the model's parts are {weights['weights'].tolist()}, expected numbers ≥ 0")
    if classifier.ngrams is not None and (weights["ngrams.keys"].diff() <= 0).any():
        raise _misfit(path, "the n-grams are not in ascending order")
    if config.pretrained:  # its sizes are now known to be those of the file; some of its tensors are computed, not saved
        if (computed := sum(b.numel() for name, b in classifier.named_buffers() if name not in expected)) > MAX_COMPUTED:
            raise _misfit(path.parent / CONFIG, f"the encoder needs {computed:,} numbers besides its weights")
        with _WithoutInitialValues():
            classifier = _build(path, config)
    classifier.load_state_dict(weights, assign=True)
    if isinstance(encoder := getattr(classifier.attention, "encoder", None), StaticEncoder):
        try:
            encoder.require_rows()
        except HeadwayError as error:
            raise _misfit(path, str(error)) from None
    return classifier


class _WithoutInitialValues(TorchFunctionMode):
    """Skips the random initial values of layers; drawing them without memory would import PyTorch's compiler, for seconds."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__module__", "") == "torch.nn.init":
            return kwargs["tensor"]
        return func(*args, **(kwargs or {}))


def _build(path: Path, config: Config) -> JointClassifier:
    n_classes, sizes = len(config.classes), config.ngrams
    ngrams = NgramClassifier(sizes.n_features, n_classes, sizes.max_order, sizes.max_words) if sizes else None
    if config.model is not None:
        return JointClassifier(ngrams, AttentionClassifier(config.model, config.vocabulary_size, n_classes))
    assert config.pretrained is not None, "the config has one or the other"
    return JointClassifier(ngrams, _build_pretrained(path.parent / CONFIG, config.pretrained, n_classes))


def _build_pretrained(path: Path, config: Encoder, n_classes: int) -> PretrainedClassifier:
    if config.config.get("model_type") != STATIC_FAMILY:
        pretrained.require_transformers()
    try:
        encoder: Any = pretrained.build(config.config)
    except HeadwayError as error:
        raise _misfit(path, str(error)) from None
    limit = longest_text(encoder.config.to_dict())
    if limit is not None and config.max_length > limit:
        raise _misfit(
            path, f"pretrained.max_length is {config.max_length:,}, but the encoder reads {limit:,} sub-words at most"
        )
    return PretrainedClassifier(encoder, config.pooling, config.max_length, n_classes)


def _layers(config: Config) -> int:
    """Number of the attention part's layers that the config asks for."""
    if config.model is not None:
        return config.model.n_layers
    sizes = config.pretrained.config if config.pretrained else {}
    groups = math.prod(value for name in ALBERT_LAYERS if isinstance(value := sizes.get(name), int))
    return max([0, groups, *(value for name, value in sizes.items() if "layers" in name and isinstance(value, int))])


def _present_name(name: str, config: Config) -> str:
    """The name today of a tensor in a package of format 6."""
    return "weights" if config.format == 6 and name == "mix" else name


def _require_same(path: Path, name: str, expected: Tensor, found: Any) -> None:
    shape, kind = tuple(found.get_shape()), found.get_dtype()
    if shape != tuple(expected.shape):
        raise _misfit(path, f"the tensor {name!r} has shape {shape}, the config needs {tuple(expected.shape)}")
    if kind != TYPES[expected.dtype]:
        raise _misfit(path, f"the tensor {name!r} has type {kind}, expected {TYPES[expected.dtype]}")


def _misfit(path: Path, reason: str) -> HeadwayError:
    return HeadwayError(f"{path}: cannot be loaded as a model package: {reason}")
