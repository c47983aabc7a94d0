"""Low-rank adapters (LoRA) on the linear layers of a pretrained encoder, by the library peft.

    y = (W + α/r · B A) x + b        A: (r, d_in), random at first    B: (d_out, r), zero at first

W and b stay as they are; A and B learn (Hu et al. 2022, "LoRA: Low-Rank Adaptation of Large Language Models"). After the training
the product is added to W, so that the encoder has the layers that it had before. α is twice the rank r, and nothing is dropped.

Every linear layer of the encoder's own layers has an adapter, those of the feed-forward part too.
"""

from __future__ import annotations

import re
from typing import Any

from torch import nn

from headway.errors import NO_PEFT, HeadwayError

#: α as a multiple of the rank.
ALPHA = 2
#: In the names of the adapters' parameters.
ADAPTER = re.compile(r"\.lora_[AB]\.")


def add(model: nn.Module, layer: re.Pattern[str], rank: int) -> None:
    """Give the linear layers whose names have a layer's number an adapter of a rank each. Only these learn then.

    Raises:
        HeadwayError: the library is not installed.
    """
    library = _library()
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Linear) and layer.search(f"{name}.")]
    library.inject_adapter_in_model(library.LoraConfig(r=rank, lora_alpha=ALPHA * rank, target_modules=names), model)


def merge(model: nn.Module) -> None:
    """Add the adapters to the weights, and remove them. A model without adapters stays as it is."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if hasattr(child, "lora_A"):
                layer: Any = child
                layer.merge()
                setattr(parent, name, layer.get_base_layer())


def _library() -> Any:
    """The library peft; HeadwayError if it is not installed."""
    try:
        import peft
    except ImportError:
        raise HeadwayError(NO_PEFT) from None
    return peft
