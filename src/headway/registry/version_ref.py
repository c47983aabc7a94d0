"""How decisions refer to a registered version, and the tags of one; no registry is needed to read them."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

#: Tag of a version: fingerprint of its model package.
MODEL_TAG = "headway.model"
#: Tag of a version: what was last found about it at work.
MONITORING_TAG = "headway.monitoring"
#: Tags of a version: address of its last decision, kind of that decision, and when and why it was retired. A pipeline's run has
#: the first two as well, with the id of the decision instead of an address.
DECISION_TAG, DECISION_KIND_TAG, RETIRED_TAG = "headway.decision", "headway.decision_kind", "headway.retired"
#: Tags of the registered model: the run that keeps the log of decisions, and the last one that was carried out, as "number id".
RUN_TAG, CARRIED_OUT_TAG = "headway.history", "headway.history_carried_out"
#: Tags of what a version was made from, see :class:`headway.lineage.Lineage`.
LINEAGE_TAGS = ("headway.git_commit", "headway.dvc_lock", "headway.data_fingerprint", "headway.params")


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
