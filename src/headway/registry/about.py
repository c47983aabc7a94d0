"""What the registry knows about a version, as JSON for people and programs that ask a service; MLflow is not needed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from headway.registry.version_ref import DECISION_KIND_TAG, DECISION_TAG, MODEL_TAG, RETIRED_TAG

#: Beginnings of the address of a version's files: those of a logged model, and those that the server passes on.
LOGGED_MODEL, PROXIED = "models:/", "mlflow-artifacts:"
#: Beginning of the names of metrics on the test split. The other metrics are about the training.
METRICS = "test_"


@dataclass(frozen=True)
class VersionFacts:
    """A registered version as MLflow describes it.

    Attributes:
        name: of the registered model.
        number: of the version.
        source: address of its files.
        created: milliseconds since 1970.
        run_id: of the training run; "" if there was none.
        description: Markdown; of a version that was decided on, its first line is the decision's headline.
        tags: by name.
        metrics: of its logged model, the last value of each.
    """

    name: str
    number: str
    source: str
    created: int
    run_id: str
    description: str
    tags: Mapping[str, str]
    metrics: Mapping[str, float] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Differs for another model, also for one with the number of a version that was deleted."""
        return f"{self.number}/{self.tags.get(MODEL_TAG, '')}"

    @property
    def label(self) -> str:
        """How messages name the version."""
        return f"version {self.number} of {self.name}"

    def about(self) -> dict[str, Any]:
        """``registered`` with dates and run, ``decision``, ``metrics``, ``data`` and ``code``; what is unknown is left out."""
        tags = self.tags
        created = datetime.fromtimestamp(self.created / 1000, UTC).isoformat(timespec="seconds") if self.created else ""
        headline = self.description.strip().partition("\n")[0] if DECISION_KIND_TAG in tags else ""
        facts: dict[str, dict[str, Any]] = {
            "registered": {"created_at": created, "run": self.run_id},
            "decision": {
                "kind": tags.get(DECISION_KIND_TAG, ""),
                "headline": headline,
                "record": tags.get(DECISION_TAG, ""),
                "retired": tags.get(RETIRED_TAG, ""),
            },
            "metrics": {name: value for name, value in sorted(self.metrics.items()) if name.startswith(METRICS)},
            "data": {"fingerprint": tags.get("headway.data_fingerprint", "")},
            "code": {
                "git_commit": tags.get("headway.git_commit", ""),
                "dvc_lock": tags.get("headway.dvc_lock", ""),
                "params": tags.get("headway.params", ""),
            },
        }
        known = {
            part: {name: value for name, value in values.items() if value not in ("", None)}
            for part, values in facts.items()
        }
        return {part: values for part, values in known.items() if values}
