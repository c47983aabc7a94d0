"""An MLflow store to copy: its database takes seconds to make and a model seconds to log, so both are made once a session."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from mlflow.entities.model_registry import ModelVersion

from headway.files import fresh_folder
from headway.layout import Layout
from headway.model.classifier import AttentionClassifier
from headway.model.joint import JointClassifier
from headway.params import Params
from headway.promotion import champion, history, scoring
from headway.promotion.champion import RegistryState, reconcile, ref_of
from headway.promotion.decision import (
    PROMOTION,
    REFUSAL,
    Decision,
    ModelVersionRef,
    Requester,
    current_requester,
    new_decision,
)
from headway.registry import packages
from headway.registry.registry import CHALLENGER, MODEL_TAG, Registry
from headway.serving import package
from headway.tracking import Tracker
from tests.conftest import Slice

REQUESTER = current_requester("a test")
CHECK = {
    "name": "no_worse_than_baseline",
    "passed": True,
    "value": 0.0167,
    "low": 0.0077,
    "high": 0.0256,
    "threshold": -0.03,
    "explanation": "accuracy +1.67 points against the linear baseline",
}
SCORES = {"rows": 2458, "accuracy": 0.9105, "accuracy_low": 0.8991, "accuracy_high": 0.9215, "macro_f1": 0.91}
LINEAGE = {"headway.git_commit": "a" * 40, "headway.dvc_lock": "b" * 64, "headway.data_fingerprint": "c" * 64}
ROWS = {"sha256": "d" * 64, "rows": 2458}


@dataclass(frozen=True)
class Stock:
    """A project whose MLflow holds a training run and three logged models; their packages, and where MLflow has them."""

    params: Params
    layout: Layout
    run: str
    folders: tuple[Path, ...]
    sources: tuple[str, ...]

    def tracker(self, root: Path) -> Tracker:
        """Of a project with a copy of the database; the artifacts are shared through a link."""
        layout = Layout(root)
        layout.tracking.mkdir(parents=True)
        shutil.copyfile(self.layout.tracking_database, layout.tracking_database)
        layout.artifacts.symlink_to(self.layout.artifacts)
        for name in ("params.yaml", "dvc.yaml"):
            shutil.copyfile(self.layout.root / name, root / name)
        return Tracker(self.params, layout)


@pytest.fixture(scope="session")
def stock(reviews: Slice, tmp_path_factory: pytest.TempPathFactory) -> Stock:
    root = tmp_path_factory.mktemp("stock")
    layout = Layout(Path(shutil.copytree(reviews.layout.root, root / "project")))
    small: Params = reviews.params.override({"model.d_model": 8, "model.dim_feedforward": 8, "model.bigram_buckets": 64})
    tracker = Tracker(small, layout)
    with tracker.nested("training", "train", "a key") as run:
        pass
    folders = []
    for seed in range(3):
        torch.manual_seed(seed)
        classifier = AttentionClassifier(small.model, 2000, 2)
        torch.nn.init.normal_(classifier.output.weight)
        with fresh_folder(root / f"package {seed}") as folder:
            package.save(
                folder,
                JointClassifier(None, classifier),
                layout.encoded / "tokenizer.json",
                64,
                2000,
                ["negative", "positive"],
            )
        folders.append(root / f"package {seed}")
    registry = Registry(tracker)
    with packages.module_functions_use(registry.tracker.uri):
        sources = tuple(packages.log(folder, run.id, {}) for folder in folders)
    return Stock(small, layout, run.id, tuple(folders), sources)


@dataclass(frozen=True)
class House:
    """A registry of the test's own, and shortcuts to use it."""

    stock: Stock
    registry: Registry

    def another(self) -> House:
        """The same registry as another process sees it."""
        return replace(self, registry=Registry(Tracker(self.stock.params, self.registry.tracker.layout)))

    def version(self, which: int) -> ModelVersion:
        """A new version that holds one of the stock's models."""
        self.registry.log.create()
        tags = {MODEL_TAG: package.fingerprint(self.stock.folders[which]), **LINEAGE}
        return self.registry.new_version(self.stock.sources[which], self.stock.run, tags)

    def stored(self, which: int) -> Path:
        """The folder of a stocked model's files."""
        artifacts = self.stock.layout.tracking / "artifacts"
        (folder,) = artifacts.rglob(f"{self.stock.sources[which].split('/')[-1]}/artifacts")
        return folder

    def decide(
        self, version: ModelVersion, kind: str = PROMOTION, before: RegistryState | None = None, **more: Any
    ) -> Decision:
        """Commit a decision on a version."""
        before = before or reconcile(self.registry)
        content = decision_content(ref_of(version), before.champion and ref_of(before.champion), kind, **more)
        return champion.commit(self.registry, before, **content)

    def champion(self) -> str | None:
        """Number of the version that has the alias."""
        found = self.registry.champion()
        return str(found.version) if found else None

    def decisions(self) -> list[Decision]:
        """The history."""
        return history.decisions(self.registry)

    def kinds(self) -> list[tuple[str, str]]:
        """What was decided on which version, in the history's order."""
        return [(one.kind, one.candidate.version) for one in self.decisions()]

    def challenge(self, version: ModelVersion) -> None:
        self.registry.client.set_registered_model_alias(self.registry.name, CHALLENGER, version.version)


@pytest.fixture(scope="module")
def measured_at_once() -> Iterator[None]:
    """Every model takes 2 ms per text: measuring takes seconds, and a busy machine is slow."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scoring, "measure", lambda models, _: dict.fromkeys(models, 2.0))
        yield


@pytest.fixture
def house(stock: Stock, tmp_path: Path) -> House:
    return House(stock, Registry(stock.tracker(tmp_path / "project")))


def decision_content(
    candidate: ModelVersionRef, champion: ModelVersionRef | None, kind: str = PROMOTION, **more: Any
) -> dict[str, Any]:
    """Content of a decision, as a run of the gate gives it."""
    return {
        "kind": kind,
        "requested_by": REQUESTER,
        "candidate": candidate,
        "champion": champion,
        "checks": [{**CHECK, "passed": kind != REFUSAL}],
        "scores": {"candidate": SCORES, "linear baseline": {**SCORES, "accuracy": 0.8938}},
        "test_rows": ROWS,
        "policy": {"policy": "superior"},
        "lineage": LINEAGE,
        "project": LINEAGE,
        "gate_code": "e" * 64,
        **more,
    }


def ref(number: int, model: str = "") -> ModelVersionRef:
    return ModelVersionRef(version=str(number), model=model or f"model {number}", run=f"run {number}")


def chain(*contents: dict[str, Any]) -> list[Decision]:
    """Decisions that follow one another."""
    records: list[Decision] = []
    for content in contents:
        records.append(new_decision(**content, number=len(records) + 1, previous=records[-1].id if records else ""))
    return records


def story(*events: tuple[str, int]) -> list[Decision]:
    """A history from (kind, version) pairs; the champion at each decision is worked out."""
    from headway.promotion import history_queries as queries

    records: list[Decision] = []
    for kind, number in events:
        content = decision_content(ref(number), queries.current_champion(records), kind)
        place = {"number": len(records) + 1, "previous": records[-1].id if records else ""}
        records.append(new_decision(**content, **place))
    return records


def who(user: str) -> Requester:
    return REQUESTER.model_copy(update={"user": user})


def numbers(refs: Sequence[ModelVersionRef]) -> list[str]:
    return [one.version for one in refs]
