"""The JSON of requests and answers, as the service checks it and as ``/openapi.json`` describes it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema, model_validator

from headway.serving.http.batcher import Answer

MOST_LABELS = 10_000
#: A text. A value of another type is no mistake of the whole request: it has a problem instead of a label.
Text = Annotated[Any, WithJsonSchema({"type": ["string", "null"]})]
Id = Annotated[str, Field(min_length=1, max_length=200)]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid")


class PredictRequest(_Request):
    """One or many texts to classify."""

    texts: list[Text] | None = Field(None, min_length=1, description="The texts. Give either texts or text.")
    text: Text = Field(None, description="One text.")
    ids: list[Id] | None = Field(
        None, description="An id for each text, by which its true label may arrive later; by default one is made."
    )
    top_k: int = Field(3, ge=1, description="Number of labels per text, the most probable first.")

    @model_validator(mode="after")
    def _has_texts(self) -> Self:
        if ("text" in self.model_fields_set) == (self.texts is not None):
            raise ValueError("expected either texts, a list, or text")
        if self.ids is not None and len(self.ids) != len(self.values):
            raise ValueError("expected as many ids as texts")
        return self

    @property
    def values(self) -> Sequence[object]:
        """The texts, however they were given."""
        return [self.text] if self.texts is None else self.texts


class ExplainRequest(_Request):
    """A text whose prediction is explained."""

    text: Text


class Label(_Request):
    """The true label of a text that was classified, which is named in one of three ways."""

    label: str = Field(min_length=1, max_length=1_000)
    request_id: Id | None = Field(None, description="The prediction's id.")
    text_hash: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = Field(None, description="SHA-256 of the text.")
    text: str | None = None

    @model_validator(mode="after")
    def _names_one_text(self) -> Self:
        if sum(value is not None for value in (self.request_id, self.text_hash, self.text)) != 1:
            raise ValueError("expected exactly one of request_id, text_hash and text")
        return self


class FeedbackRequest(_Request):
    """True labels that are known by now."""

    labels: list[Label] = Field(min_length=1, max_length=MOST_LABELS)


class Model(BaseModel):
    """The model that answered."""

    name: str
    version: str


class LabelProbability(BaseModel):
    """A label and its calibrated probability."""

    label: str
    probability: float


class Prediction(BaseModel):
    """The prediction for one text; one that cannot be classified has a problem and no label."""

    id: str
    label: str | None
    probability: float | None
    top: list[LabelProbability]
    problem: str | None


class PredictResponse(BaseModel):
    """The predictions for a request's texts, in their order, all by the same model."""

    model: Model
    request_id: str
    predictions: list[Prediction]


class ExplainResponse(BaseModel):
    """A prediction and what each part of the model, each n-gram and each token adds to it."""

    model: Model
    prediction: Prediction
    explanation: dict[str, Any]


class Error(BaseModel):
    """Why a request was not answered."""

    code: str
    message: str


class ErrorResponse(BaseModel):
    """The answer to a request that was refused."""

    error: Error


def predictions(answer: Answer, ids: Sequence[str], top_k: int) -> list[dict[str, Any]]:
    """The JSON of a request's predictions, see :class:`Prediction`."""
    classes = answer.model.package.classes
    return [
        prediction(row, classes, identity, top_k, reason)
        for row, identity, reason in zip(answer.probabilities, ids, answer.reasons, strict=True)
    ]


def prediction(row: np.ndarray, classes: Sequence[str], identity: str, top_k: int, problem: str = "") -> dict[str, Any]:
    """The JSON of one prediction from the probabilities of its classes, (C,)."""
    if problem:
        return {"id": identity, "label": None, "probability": None, "top": [], "problem": problem}
    best = np.argsort(-row, kind="stable")[:top_k].tolist()
    top = [{"label": classes[index], "probability": float(row[index])} for index in best]
    return {"id": identity, **top[0], "top": top, "problem": None}
