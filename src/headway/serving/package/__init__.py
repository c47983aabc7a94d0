"""The model package: a folder with a trained classifier. Loading it executes no code from it.

weights.safetensors      parameters of the classifier
tokenizer.json           tokenizer, from text to ids
encoder_tokenizer.json   the same for a pretrained encoder, if the attention part is one
config.json              sizes, truncation, label names, golden predictions, and the SHA-256 of all files

A package with a pretrained encoder that is not static needs the transformers library to be loaded; others do not import it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headway.serving.package.config import CONFIG, TOKENIZER, WEIGHTS, OtherAnswers, OtherFormat, fingerprint

if TYPE_CHECKING:
    from headway.serving.package.golden import replay
    from headway.serving.package.model_package import ModelPackage, SavedEncoder, require_text, save

__all__ = [
    "CONFIG",
    "TOKENIZER",
    "WEIGHTS",
    "ModelPackage",
    "OtherAnswers",
    "OtherFormat",
    "SavedEncoder",
    "fingerprint",
    "replay",
    "require_text",
    "save",
]


def __getattr__(name: str) -> Any:
    """What needs PyTorch is imported when it is first used, so that reading the registry's records does not import it."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from headway.serving.package import golden, model_package

    return getattr(golden if name == "replay" else model_package, name)
