"""What every request about the champion works on."""

from __future__ import annotations

from dataclasses import dataclass

from headway.layout import Layout
from headway.lineage import execution_key, results_fingerprint, trace
from headway.params import Params
from headway.registry.registry import Registry

#: Keys of ``Decision.project`` beside the lineage.
RESULTS, EXECUTION = "headway.results", "headway.execution"


@dataclass(frozen=True)
class Project:
    """A project's params and files, and the registered model that params.yaml names."""

    params: Params
    layout: Layout
    registry: Registry

    def lineage(self) -> dict[str, str]:
        """Lineage of the project now, with the key that finds its pipeline's MLflow run."""
        return {
            **trace(self.params, self.layout).as_tags(),
            RESULTS: results_fingerprint(self.layout),
            EXECUTION: execution_key(self.params, self.layout),
        }
