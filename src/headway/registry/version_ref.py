"""How decisions refer to a registered version; no registry is needed to read one."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

#: Tag of a version: fingerprint of its model package.
MODEL_TAG = "headway.model"


class ModelVersionRef(BaseModel):
    """A registered version.

    Attributes:
        version: number in the registry. A registered model that was deleted and created again reuses numbers.
        model: SHA-256 fingerprint of the model package, so that a reused number is noticed.
        run: id of the training run; "" if there was none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: str
    model: str
    run: str
