"""A pretrained transformer as the attention part: sub-words → encoder → pooling → one logit per class.

    y_l1 … y_lT = encoder(t_1 … t_T)       hidden states of layer l of 0 … L; t includes the encoder's special tokens
    p           = mean_t y_Lt  or  y_L1  or  max_t y_Lt  or  (mean_t y_0t, …, mean_t y_Lt), the means of all layers side by side
    logits      = W p + b

The last layer is made for the task that the encoder was pretrained on, and lower ones keep what it drops (Tenney et al. 2019,
"BERT Rediscovers the Classical NLP Pipeline"). A linear layer on all of them finds more than one on the last alone. Of an
encoder with many layers, a few are taken, see :func:`layers_of`.

The encoder is one of the transformers library's own classes, built from a configuration that only holds numbers and names, or a
static one of :mod:`headway.model.static`: no code comes with an encoder. If the encoder stays as it is (``pretrained.mode:
frozen``), p is computed once for each text, and W and b are fitted by logistic regression on standardised features; see
:mod:`headway.model.regularisation`. The scale is then multiplied into W.

Sub-word ids are the encoder's own plus 1, so that 0 is padding for every encoder.

Shapes: B texts, T sub-words, N training and V validation texts, K layers that are taken, P = K + 2 pooled vectors, d features of
a layer, D of all that are taken, C classes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from headway.errors import NO_TRANSFORMERS, HeadwayError, first_line
from headway.model import logistic, static
from headway.model.regularisation import Fit, HeldOut, balancing, bias_of, fits
from headway.model.static import StaticEncoder
from headway.params_sections import STATIC_FAMILY

#: Ways of pooling.
POOLINGS = ("layers", "mean", "first", "max")
#: Layers that are taken, at most.
MAX_LAYERS = 7
#: Settings of a configuration that name code, places, labels, other outputs or another way of computing the same numbers. For a
#: number of labels, the library makes that many names.
NOT_SIZES = {
    "architectures",
    "attn_implementation",
    "auto_map",
    "dtype",
    "id2label",
    "label2id",
    "model_type",
    "num_labels",
    "output_attentions",
    "output_hidden_states",
    "quantization_config",
    "return_dict",
    "torch_dtype",
    "transformers_version",
}
#: Names of the dropout of attention weights in the configurations of the families.
ATTENTION_DROPOUT = ("attention_dropout", "attention_probs_dropout_prob")
#: Families for which the library has no fused attention kernel.
EAGER_FAMILIES = {"deberta-v2", "mpnet"}


class PretrainedClassifier(nn.Module):
    """A pretrained encoder with a linear layer on its pooled output."""

    def __init__(self, encoder: nn.Module, pooling: str, max_length: int, n_classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.pooling = pooling
        self.max_length = max_length
        config: Any = encoder.config
        n_layers = len(layers_of(encoder)) if pooling == "layers" else 1
        self.output = nn.Linear(n_layers * config.hidden_size, n_classes)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits, (B, C), of padded sub-words, int64, (B, T)."""
        return self._logits(hidden_states(self.encoder, tokens, self.pooling == "layers"), tokens != 0)

    def classify(self, x: Tensor, attention_mask: Tensor) -> Tensor:
        """Logits, (B, C), of embedded texts, (B, T, d), to which the encoder adds its position embeddings."""
        encoded = _encode(self.encoder, self.pooling == "layers", inputs_embeds=x, attention_mask=attention_mask)
        return self._logits(encoded, attention_mask)

    def embed(self, tokens: Tensor) -> Tensor:
        """Embeddings of sub-words without their positions, (B, T, d): of a static encoder its output, since nothing follows."""
        if isinstance(self.encoder, StaticEncoder):
            return hidden_states(self.encoder, tokens)[-1]
        embeddings: Any = self.encoder.get_input_embeddings()  # type: ignore[operator]  # of transformers' models
        embedded: Tensor = embeddings((tokens - 1).clamp(min=0))
        return embedded

    def _logits(self, encoded: Sequence[Tensor], mask: Tensor) -> Tensor:
        pooled = [pool(layer, mask, self.pooling) for layer in encoded]
        logits: Tensor = self.output(torch.cat(pooled, dim=1))
        return logits

    @property
    def vocab_size(self) -> int:
        """Number of sub-words that the encoder has embeddings of."""
        config: Any = self.encoder.config
        return int(config.vocab_size)

    def set_head(self, head: Head) -> None:
        """Take over fitted weights."""
        with torch.no_grad():
            self.output.weight.copy_(head.weight.T)
            self.output.bias.copy_(head.bias)


def layers_of(encoder: nn.Module) -> list[int]:
    """The layers that are taken, ascending: the embeddings (0), the last one, and others between them at even distances."""
    config: Any = encoder.config
    last = max(0, int(getattr(config, "num_hidden_layers", 0)))
    return sorted({round(place) for place in np.linspace(0, last, min(last + 1, MAX_LAYERS)).tolist()})


def hidden_states(encoder: nn.Module, tokens: Tensor, all_layers: bool = False) -> list[Tensor]:
    """Outputs for padded sub-words, int64, (B, T), each (B, T, d): of the last layer, or of all that :func:`layers_of` names."""
    mask = tokens != 0
    padding = getattr(encoder.config, "pad_token_id", None) or 0
    return _encode(encoder, all_layers, input_ids=torch.where(mask, tokens - 1, padding), attention_mask=mask)


def _encode(encoder: nn.Module, all_layers: bool, **inputs: Tensor) -> list[Tensor]:
    """The same for other inputs of the library's encoders."""
    layers = layers_of(encoder) if all_layers else []
    if len(layers) < 2:
        return [encoder(**inputs).last_hidden_state]
    output = encoder(**inputs, output_hidden_states=True)
    # The last one of the list may lack the encoder's final normalisation.
    return [*(output.hidden_states[layer] for layer in layers[:-1]), output.last_hidden_state]


def pool(encoded: Tensor, mask: Tensor, pooling: str) -> Tensor:
    """One vector per text, (B, d), of a layer's hidden states, (B, T, d), where the mask, (B, T), is True."""
    if pooling == "first":
        return encoded[:, 0]
    if pooling == "max":
        return encoded.masked_fill(~mask[:, :, None], -torch.inf).amax(dim=1)
    real = mask.to(encoded.dtype)[:, :, None]  # (B, T, 1)
    return (encoded * real).sum(dim=1) / real.sum(dim=1)


def features(encoder: nn.Module, tokens: Tensor) -> Tensor:
    """What any way of pooling needs, for padded sub-words, int64, (B, T): float32, (B, P, d).

    The means of the layers come first, then the first sub-word and the maxima of the last layer. The encoder may have weights of
    less precision.
    """
    encoded, mask = [layer.float() for layer in hidden_states(encoder, tokens, all_layers=True)], tokens != 0
    last = [pool(encoded[-1], mask, pooling) for pooling in ("first", "max")]
    return torch.stack([*(pool(layer, mask, "mean") for layer in encoded), *last], dim=1)


def select(found: np.ndarray, pooling: str) -> Tensor:
    """A copy of the features that a way of pooling gives, float32, (N, d) or (N, D), of those that :func:`features` computed."""
    n_layers = found.shape[1] - 2
    chosen = {
        "layers": slice(0, n_layers),
        "mean": slice(n_layers - 1, n_layers),
        "first": slice(n_layers, n_layers + 1),
        "max": slice(n_layers + 1, n_layers + 2),
    }[pooling]
    return torch.from_numpy(np.array(found[:, chosen]).reshape(len(found), -1))


class Head(NamedTuple):
    """The linear layer on pooled features.

    Attributes:
        weight: float32, (d, C).
        bias: float32, (C,).
        inverse_regularisation: C of the fit, chosen on validation texts; None if the training texts have one class only.
        fits: all fits, in ascending order of C: its value, and the validation loss in nats per text.
    """

    weight: Tensor
    bias: Tensor
    inverse_regularisation: float | None
    fits: tuple[tuple[float, float], ...]

    def __call__(self, x: Tensor) -> Tensor:
        """Logits, (B, C), of pooled features, (B, d)."""
        return x @ self.weight + self.bias


def fit_head(
    train: tuple[Tensor, np.ndarray],
    validation: tuple[Tensor, np.ndarray],
    n_classes: int,
    strengths: Sequence[float],
    balanced: bool = False,
) -> Head:
    """Fit the linear layer to pooled features.

    Args:
        train, validation: pooled features, float32, (N, d) and (V, d), with labels, (N,) and (V,).
        n_classes: C. A class without training texts gets a low bias.
        strengths: values of the inverse regularisation, tried in ascending order until the validation loss rises.
        balanced: whether to weight classes inversely to their rows in the fit; the choice of the strength does not.
    """
    (x, labels), (held_out, truth) = train, validation
    bias = bias_of(np.bincount(labels, minlength=n_classes))
    classes, own = np.unique(labels, return_inverse=True)  # own: labels among the classes that have texts
    if len(classes) < 2:
        return Head(torch.zeros(x.shape[1], n_classes), bias, None, ())
    centre, spread = x.mean(dim=0), x.std(dim=0)
    scale = 1 / torch.where(spread > 0, spread, 1.0)
    problem = logistic.Problem((x - centre) * scale, own, len(classes), balancing(own) if balanced else None)
    rows = HeldOut(held_out - centre, torch.from_numpy(np.asarray(truth, dtype=np.int64)), classes, bias)
    tried: list[Fit] = list(fits(problem, scale, sorted(strengths), rows))
    best = min(tried, key=lambda fit: fit.loss)
    path = tuple((fit.strength, fit.loss) for fit in tried)
    return Head(best.weight, best.bias - centre @ best.weight, best.strength, path)


def build(config: Mapping[str, Any]) -> nn.Module:
    """An encoder with the sizes of a configuration and without weights, in evaluation mode.

    Raises:
        HeadwayError: the transformers library is not installed, or refuses the configuration. Static encoders do not need it.
    """
    if config.get("model_type") == STATIC_FAMILY:
        return static.build(config)
    models = require_transformers()
    sizes = {name: value for name, value in config.items() if name not in NOT_SIZES and not name.startswith("_")}
    try:
        made = models.AutoConfig.for_model(str(config.get("model_type")), **sizes)
        encoder = models.AutoModel.from_config(made, attn_implementation=_attention(made), dtype=torch.float32)
    except Exception as error:  # noqa: BLE001 - the library raises whatever a wrong value leads to
        reason = " ".join(str(error).split())[:200]
        raise HeadwayError(f"the encoder's configuration cannot be used: {reason}") from None
    return _without_pooler(encoder).eval()


def load(folder: Path, attention_dropout: float | None = None) -> nn.Module:
    """An encoder with its weights from a folder that was checked, in evaluation mode; nothing is fetched.

    Args:
        attention_dropout: share of attention weights that training drops, instead of that of the configuration.

    Raises:
        HeadwayError: the transformers library is not installed, or the weights do not fit the configuration or are not finite.
    """
    if (own := json.loads((folder / "config.json").read_bytes())).get("model_type") == STATIC_FAMILY:
        return static.load(folder, own)
    models = require_transformers()
    try:
        config = models.AutoConfig.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
        for name in ATTENTION_DROPOUT:
            if attention_dropout is not None and hasattr(config, name):
                setattr(config, name, attention_dropout)
        encoder, report = models.AutoModel.from_pretrained(
            str(folder),
            config=config,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            attn_implementation=_attention(config),
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are refused below, with their names
        )
    except Exception as error:  # noqa: BLE001 - the library raises whatever a damaged file leads to
        raise HeadwayError(f"{folder}: cannot be loaded as an encoder: {first_line(error)}") from None
    # Of another shape: the name, and both shapes.
    different = sorted({*report["missing_keys"], *(name for name, *_ in report["mismatched_keys"])})
    if different := [name for name in different if not name.startswith("pooler.")]:
        raise HeadwayError(f"{folder}: the weights do not fit config.json (at {different[0][:80]!r}); add the encoder again")
    encoder = _without_pooler(encoder)
    for name, tensor in encoder.state_dict().items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise HeadwayError(f"{folder}: the weights {name[:80]!r} are not finite numbers; add the encoder again")
    return encoder.eval()


def require_transformers() -> Any:
    """The transformers library; HeadwayError if it is not installed."""
    try:
        import transformers
    except ImportError:
        raise HeadwayError(NO_TRANSFORMERS) from None
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    return transformers


def _attention(config: Any) -> str:
    """The library's name of the fastest attention that a family has on any device."""
    return "eager" if config.model_type in EAGER_FAMILIES else "sdpa"


def _without_pooler(encoder: Any) -> nn.Module:
    """The encoder without the layer that some families add for their own pretraining task."""
    if getattr(encoder, "pooler", None) is not None:
        encoder.pooler = None
    return encoder  # type: ignore[no-any-return]
