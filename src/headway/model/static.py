"""A static encoder: one vector per sub-word, the same in every text, as the model2vec library distils and saves them.

    y_t = w[t] E[m[t]]          E: vectors, (R, d); m: row of each sub-word, (V,); w: weight of each sub-word, (V,)
    y_t = y_t / ‖mean_s y_s‖    if the configuration says normalize

Without m, row t belongs to sub-word t; without w, all weights are 1. The mean of the y_t is what model2vec's ``encode`` returns.
Word vectors such as GloVe's are the case without m, w and normalize. The module has the interface of transformers' encoders that
:mod:`headway.model.pretrained` uses, and needs no library but PyTorch.

Shapes: B texts, T sub-words, V sub-words in the vocabulary, R vectors, d features.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from headway.errors import HeadwayError
from headway.params_sections import STATIC_FAMILY

#: Length below which a mean vector is not scaled further.
SHORTEST = 1e-12


@dataclass(frozen=True)
class StaticConfig:
    """Sizes of a static encoder.

    Attributes:
        hidden_size: d.
        vocab_size: V.
        vectors: R.
        mapped: whether there is m.
        weighted: whether there is w.
        normalize: whether outputs are scaled so that their mean has length 1.
    """

    hidden_size: int
    vocab_size: int
    vectors: int
    mapped: bool
    weighted: bool
    normalize: bool
    model_type: str = STATIC_FAMILY

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Self:
        """The sizes in the configuration of :class:`headway.encoders.EncoderFiles`; HeadwayError if one is missing."""
        numbers: dict[str, Any] = {name: config.get(name) for name in ("hidden_size", "vocab_size", "vectors")}
        flags: dict[str, Any] = {name: config.get(name, False) for name in ("mapped", "weighted", "normalize")}
        for name, value in numbers.items():
            if type(value) is not int or value < 1:
                raise HeadwayError(
                    f"the encoder's configuration cannot be used: {name} is {value!r:.40}, expected 1 or more"
                )
        for name, flag in flags.items():
            if type(flag) is not bool:
                raise HeadwayError(
                    f"the encoder's configuration cannot be used: {name} is {flag!r:.40}, expected true or false"
                )
        return cls(**numbers, **flags)

    def to_dict(self) -> dict[str, Any]:
        """The sizes by name."""
        return asdict(self)


class Output(NamedTuple):
    """What a static encoder returns: ``last_hidden_state`` is (B, T, d)."""

    last_hidden_state: Tensor


class StaticEncoder(nn.Module):
    """Looks up the vectors of sub-words. It has no layers, so that embedded texts are encoded texts."""

    supports_gradient_checkpointing = False
    mapping: Tensor | None
    weights: Tensor | None

    def __init__(self, config: StaticConfig) -> None:
        super().__init__()
        self.config = config
        # from_pretrained draws no random values, which the weights would replace.
        self.embeddings = nn.Embedding.from_pretrained(torch.empty(config.vectors, config.hidden_size), freeze=False)
        self.register_buffer("mapping", torch.zeros(config.vocab_size, dtype=torch.int64) if config.mapped else None)
        self.register_buffer("weights", torch.ones(config.vocab_size) if config.weighted else None)

    def forward(
        self, input_ids: Tensor | None = None, attention_mask: Tensor | None = None, inputs_embeds: Tensor | None = None
    ) -> Output:
        """The vectors, (B, T, d), of padded sub-words, int64, (B, T), of which the mask, (B, T), marks the real ones."""
        if inputs_embeds is not None:
            return Output(inputs_embeds)
        assert input_ids is not None
        encoded: Tensor = self.embeddings(input_ids if self.mapping is None else self.mapping[input_ids])  # (B, T, d)
        if self.weights is not None:
            encoded = encoded * self.weights[input_ids][:, :, None]
        if self.config.normalize:
            assert attention_mask is not None
            real = attention_mask.float()[:, :, None]  # (B, T, 1)
            mean = (encoded * real).sum(dim=1, keepdim=True) / real.sum(dim=1, keepdim=True)  # (B, 1, d)
            encoded = encoded / mean.norm(dim=2, keepdim=True).clamp(min=SHORTEST)
        return Output(encoded)

    def require_rows(self) -> None:
        """Raise a HeadwayError unless each sub-word has a row of the table."""
        if self.mapping is not None and not ((self.mapping >= 0) & (self.mapping < self.config.vectors)).all():
            raise HeadwayError(f"mapping leads to rows outside the table of {self.config.vectors:,} vectors")


def build(config: Mapping[str, Any]) -> StaticEncoder:
    """A static encoder without weights, in evaluation mode; HeadwayError if the configuration has no possible sizes."""
    return StaticEncoder(StaticConfig.of(config)).eval()


def load(folder: Path, config: Mapping[str, Any]) -> StaticEncoder:
    """A static encoder with its weights from a folder that was checked, in evaluation mode.

    Args:
        config: content of config.json.

    Raises:
        HeadwayError: a weight is not a finite number, or a sub-word has no vector.
    """
    tensors = load_file(folder / "model.safetensors")
    vectors = tensors["embeddings"].float()
    mapping, weights = tensors.get("mapping"), tensors.get("weights")
    sizes = StaticConfig(
        hidden_size=vectors.shape[1],
        vocab_size=len(vectors) if mapping is None else len(mapping),
        vectors=len(vectors),
        mapped=mapping is not None,
        weighted=weights is not None,
        normalize=config.get("normalize", False),
    )
    state = {"embeddings.weight": vectors}
    if mapping is not None:
        state["mapping"] = mapping.long()
    if weights is not None:
        state["weights"] = weights.float()
    for name, tensor in state.items():
        if not tensor.isfinite().all():
            raise HeadwayError(f"{folder}: the weights {name!r} are not finite numbers; add the encoder again")
    encoder = StaticEncoder(sizes)
    encoder.load_state_dict(state, assign=True)
    try:
        encoder.require_rows()
    except HeadwayError as error:
        raise HeadwayError(f"{folder}: {error}; add the encoder again") from None
    return encoder.eval()
