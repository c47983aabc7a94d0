"""Registering, recording and promoting in a real MLflow registry, each step repeatable."""

from __future__ import annotations

import importlib.metadata
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import mlflow
import numpy as np
import pytest
import torch
from mlflow.entities.model_registry import ModelVersion
from mlflow.models import Model

from headway.errors import HeadwayError, Unreachable
from headway.files import fresh_folder
from headway.model.classifier import AttentionClassifier
from headway.model.joint import JointClassifier
from headway.params import Params
from headway.registry.gate import REFUSE
from headway.registry.promotion import (
    CHALLENGER,
    CHAMPION,
    DECISION_TAG,
    EXAMPLE,
    MODEL_TAG,
    SERVING_REQUIREMENTS,
    Registry,
    decision_record,
)
from headway.serving import package
from headway.serving.package import ModelPackage
from headway.tracking import Tracker
from tests.conftest import Slice

DECISION = {"verdict": REFUSE, "checks": [{"name": "enough_test_rows", "passed": False, "explanation": "7 rows"}]}


@dataclass
class Office:
    """A registry on a database of its own, a training run, and two packages of untrained models."""

    registry: Registry
    run: str
    folders: list[Path]


@pytest.fixture(scope="module")
def office(reviews: Slice, tmp_path_factory: pytest.TempPathFactory) -> Office:
    root = tmp_path_factory.mktemp("registry")
    shutil.copytree(reviews.layout.root, root / "project")
    layout = type(reviews.layout)(root / "project")
    small: Params = reviews.params.override({"model.d_model": 8, "model.d_feedforward": 8, "model.bigram_buckets": 64})
    tracker = Tracker(small, layout)
    with tracker.nested("training", "train", "a key") as run:
        pass
    folders = []
    for seed in range(2):
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
    return Office(Registry(tracker), run.id, folders)


def test_the_life_of_two_versions(office: Office) -> None:
    """In order, as it happens: register, register again, refuse, promote, a challenger, promote it, retire it."""
    registry, client = office.registry, office.registry.client
    assert registry.champion() is None
    no_champion = r"^model headway has no champion yet; `make run` elects one$"
    with pytest.raises(HeadwayError, match=no_champion):
        registry.champion_package()

    first = registry.register(office.folders[0], office.run, {"headway.git_commit": "abc"})
    again = registry.register(office.folders[0], office.run, {"headway.git_commit": "abc"})
    assert str(first.version) == str(again.version) == "1", "registering the same package twice made two versions"
    kept = client.get_model_version(registry.name, "1")
    assert kept.tags["headway.git_commit"] == "abc"
    assert kept.tags[MODEL_TAG] == package.fingerprint(office.folders[0])
    assert kept.aliases == [CHALLENGER]
    with pytest.raises(HeadwayError, match=no_champion):  # nothing was decided yet
        registry.champion_package()

    record = decision_record(DECISION, {"candidate": {"version": "1"}})
    registry.record(first, office.run, record)
    kept = client.get_model_version(registry.name, "1")
    assert json.loads(kept.tags[DECISION_TAG]) == record
    assert "7 rows" in kept.description
    (artifact,) = client.list_artifacts(office.run, "decisions")
    assert artifact.path.startswith("decisions/version-1-")
    with pytest.raises(
        HeadwayError, match=r"^model headway has no champion yet; version 1 was refused: 7 rows; bring more rows"
    ):
        registry.champion_package()

    registry.promote(first, instead_of=None)
    registry.promote(first, instead_of=first)
    assert client.get_model_version(registry.name, "1").aliases == [CHAMPION]

    second = registry.register(office.folders[1], office.run, {})
    assert str(registry.champion().version) == "1"
    assert client.get_model_version_by_alias(registry.name, CHALLENGER).version == second.version
    with pytest.raises(HeadwayError, match=r"version 1 is champion now.*run again"):
        registry.promote(second, instead_of=None)
    registry.promote(second, instead_of=first)
    assert str(registry.champion().version) == str(second.version)
    assert client.get_model_version(registry.name, "1").aliases == []

    assert registry.retire("only a test") == str(second.version)
    assert registry.champion() is None
    assert "only a test" in client.get_model_version(registry.name, second.version).tags["headway.retired"]
    with pytest.raises(HeadwayError, match="no champion to retire"):
        registry.retire("again")


def test_a_registered_package_predicts_what_the_folder_predicts(office: Office) -> None:
    version = office.registry.register(office.folders[0], office.run, {})
    texts = ["a fine film", "dull"]
    here, there = ModelPackage.load(office.folders[0]), office.registry.load(version)
    np.testing.assert_array_equal(here.predict_proba(texts), there.predict_proba(texts))


def test_a_registered_model_says_what_goes_in_what_comes_out_and_what_it_needs(office: Office) -> None:
    version = office.registry.register(office.folders[0], office.run, {})
    folder = stored(office, version)
    model = Model.load(str(folder))
    assert model.signature is not None
    assert model.signature.inputs.input_names() == ["text"]
    assert model.signature.outputs.input_names() == ["label", "probability of negative", "probability of positive"]
    example = model.load_input_example(str(folder))
    assert list(example.columns) == ["text"]
    assert len(example) >= 2, "one row does not show that rows are scored each for itself"
    needed = (folder / "requirements.txt").read_text().split()
    assert {line.split("==")[0] for line in needed} == set(SERVING_REQUIREMENTS)
    installed = [f"{name}=={importlib.metadata.version(name).split('+')[0]}" for name in SERVING_REQUIREMENTS]
    assert sorted(needed) == sorted(installed)


def test_a_registered_model_scores_its_own_example_row_by_row(office: Office) -> None:
    folder = stored(office, office.registry.register(office.folders[0], office.run, {}))
    model = mlflow.pyfunc.load_model(str(folder))
    table = model.predict(EXAMPLE)
    expected = ModelPackage.load(office.folders[0]).predict_proba(list(EXAMPLE["text"]))
    np.testing.assert_array_equal(table.iloc[:, 1:].to_numpy(), expected)
    single = model.predict(EXAMPLE.tail(1))
    assert list(single["label"]) == list(table["label"])[1:]


def test_a_version_with_altered_files_is_refused(office: Office) -> None:
    version = office.registry.register(office.folders[0], office.run, {})
    artifacts = office.registry.tracker.layout.tracking / "artifacts"
    name = str(version.source).split("/")[-1]
    (weights,) = [path for path in artifacts.rglob(package.WEIGHTS) if name in str(path)]
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-4] + b"\0\0\0\1")
    try:
        with pytest.raises(HeadwayError, match="was altered"):
            office.registry.load(version)
        anew = office.registry.register(office.folders[0], office.run, {})
        assert str(anew.version) != str(version.version), "a version whose files are damaged was taken for the model"
        office.registry.load(anew)
    finally:
        weights.write_bytes(whole)


def stored(office: Office, version: ModelVersion) -> Path:
    """The folder of a version's files."""
    artifacts = office.registry.tracker.layout.tracking / "artifacts"
    (folder,) = artifacts.rglob(f"{str(version.source).split('/')[-1]}/artifacts")
    return folder


@pytest.mark.parametrize("damage", ["", "{]", "a word", "flavors: {}", "flavors: {python_function: }"])
def test_a_version_whose_description_is_missing_or_damaged_is_lost(office: Office, damage: str) -> None:
    version = office.registry.register(office.folders[0], office.run, {})
    file = stored(office, version) / "MLmodel"
    whole = file.read_text()
    file.unlink()
    if damage:
        file.write_text(damage)
    try:
        with pytest.raises(
            HeadwayError, match=r"^version \d+ of headway cannot be loaded \(.+\); bring its files back"
        ) as told:
            office.registry.load(version)
        assert not isinstance(told.value, Unreachable)
        assert "\n" not in str(told.value)
        assert not office.registry.loads(version)
    finally:
        file.write_text(whole)
    assert office.registry.loads(version)


def test_a_version_whose_folder_is_gone_is_lost(office: Office) -> None:
    version = office.registry.register(office.folders[0], office.run, {})
    folder = stored(office, version)
    folder.rename(folder.with_name("lost"))
    try:
        assert not office.registry.loads(version)
    finally:
        folder.with_name("lost").rename(folder)


@pytest.mark.parametrize("source", ["http://user:secret@127.0.0.1:9/model", "s3://bucket/model"])
def test_a_store_that_does_not_answer_has_lost_nothing(office: Office, source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
        "MLFLOW_S3_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_MAX_ATTEMPTS": "1",
    }.items():
        monkeypatch.setenv(name, value)
    client, name = office.registry.client, office.registry.name
    office.registry.register(office.folders[0], office.run, {})
    version = client.create_model_version(name, source, tags={MODEL_TAG: package.fingerprint(office.folders[0])})
    before = len(client.search_model_versions(f"name = '{name}'"))
    try:
        for asked in (office.registry.load, office.registry.loads):
            with pytest.raises(
                Unreachable, match=r"^the files of version \d+ of headway cannot be fetched \(.+\); see"
            ) as told:
                asked(version)
            assert "retire" not in str(told.value)
            assert "secret" not in str(told.value)
        with pytest.raises(Unreachable):
            office.registry.register(office.folders[0], office.run, {})
        assert len(client.search_model_versions(f"name = '{name}'")) == before
    finally:
        client.delete_model_version(name, version.version)


def test_two_records_of_the_same_decision_have_the_same_id() -> None:
    facts = {"candidate": {"version": "1"}}
    assert decision_record(DECISION, facts)["id"] == decision_record(DECISION, facts)["id"]
    assert decision_record(DECISION, facts)["id"] != decision_record(DECISION, {"candidate": {"version": "2"}})["id"]
