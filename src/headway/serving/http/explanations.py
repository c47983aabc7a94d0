"""Explanations for requests: computed by one thread of their own, because one takes as long as hundreds of predictions."""

from __future__ import annotations

import dataclasses
from concurrent.futures import Future
from functools import partial
from typing import Any

import numpy as np
import torch

from headway.errors import HeadwayError
from headway.serving.explain import Explanation, explain
from headway.serving.http.calls import CallThread
from headway.serving.http.refusals import Refusal
from headway.serving.live.model import ServedModel

#: Texts that wait for an explanation or are being explained.
MOST_WAITING = 8
#: Fields without use for a client, which can have millions of numbers.
LEFT_OUT = ("maps",)


class Explainer(CallThread):
    """The thread for explanations.

    Args:
        threads: of PyTorch.
    """

    def __init__(self, threads: int) -> None:
        super().__init__("explanations", MOST_WAITING, partial(torch.set_num_threads, threads))

    def explain(self, model: ServedModel, text: str) -> Future[Explanation]:
        """Have a text explained.

        Raises:
            Refusal: too many texts wait; as the future's exception: captum is missing, or the text cannot be explained.
        """
        return self.submit(partial(_explain, model, text))


def _explain(model: ServedModel, text: str) -> Explanation:
    try:
        return explain(model.package, text)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "captum":
            raise
        raise Refusal(
            501, "explanations_unavailable", "explanations need the package captum; run `pip install captum` on the server"
        ) from None
    except HeadwayError as error:
        raise Refusal(422, "not_explainable", str(error)) from None


def as_json(explanation: Explanation) -> dict[str, Any]:
    """An explanation as JSON: its fields by name, arrays as lists, without the attention maps."""
    found: dict[str, Any] = _plain(explanation)
    return found


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        names = [field.name for field in dataclasses.fields(value) if field.name not in LEFT_OUT]
        return {name: _plain(getattr(value, name)) for name in names}
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value
