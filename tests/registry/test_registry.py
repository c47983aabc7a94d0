"""Versions that hold model packages in a real MLflow registry: registered once, found, loaded, checked, seated."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import mlflow
import numpy as np
import pytest
from mlflow.entities.model_registry import ModelVersion
from mlflow.models import Model

from headway.errors import HeadwayError, Unreachable
from headway.promotion.champion import described
from headway.registry.registry import CHALLENGER, CHAMPION, EXAMPLE, MODEL_TAG, SERVING_REQUIREMENTS, Registry
from headway.serving import package
from headway.serving.package import ModelPackage
from tests.registry.conftest import Stock


@dataclass
class Office:
    """A registry on a database of its own, a training run, and packages of untrained models."""

    registry: Registry
    run: str
    folders: tuple[Path, ...]


@pytest.fixture(scope="module")
def office(stock: Stock, tmp_path_factory: pytest.TempPathFactory) -> Office:
    """One for all tests here: to log a model takes seconds."""
    tracker = stock.tracker(tmp_path_factory.mktemp("office") / "project")
    return Office(Registry(tracker), stock.run, stock.folders)


def test_a_package_is_registered_once_and_challenges_until_it_is_seated(office: Office) -> None:
    registry, client = office.registry, office.registry.client
    assert registry.champion() is None
    assert registry.versions() == []
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

    for _ in range(2):  # done twice, it is done once
        registry.seat(first)
        assert client.get_model_version(registry.name, "1").aliases == [CHAMPION]
    second = registry.register(office.folders[1], office.run, {})
    assert [(str(one.version), one.aliases) for one in registry.versions()] == [("1", [CHAMPION]), ("2", [CHALLENGER])]
    registry.seat(second)
    assert str(registry.champion().version) == "2"
    assert client.get_model_version(registry.name, "1").aliases == []
    for _ in range(2):
        registry.seat(None)
        assert registry.champion() is None


def test_a_registry_leaves_mlflows_own_address_as_it_was(
    office: Office, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    theirs = f"sqlite:///{tmp_path / 'theirs.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", theirs)
    version = office.registry.register(office.folders[0], office.run, {})
    office.registry.load(version)
    assert mlflow.get_tracking_uri() == theirs
    assert os.environ["MLFLOW_TRACKING_URI"] == theirs
    assert "MLFLOW_REGISTRY_URI" not in os.environ
    again = office.registry.new_version(version.source, office.run, version.tags)
    assert again.source == version.source, "and its models are found all the same"
    office.registry.client.delete_model_version(office.registry.name, again.version)
    mlflow.set_tracking_uri(None)


def test_a_version_is_known_by_the_model_it_holds(office: Office) -> None:
    version = office.registry.register(office.folders[0], office.run, {})
    known = described(version)
    found = office.registry.holding(known)
    assert found is not None
    assert str(found.version) == str(version.version)
    assert office.registry.holding(known.model_copy(update={"model": "another"})) is None
    assert office.registry.holding(known.model_copy(update={"version": "999"})) is None


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
    artifacts = artifacts_of(office)
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


def artifacts_of(office: Office) -> Path:
    """Where the experiment's files lie: with the stock, whose database this is a copy of."""
    experiment = office.registry.client.get_experiment(office.registry.tracker.experiment_id)
    return Path(experiment.artifact_location.removeprefix("file://"))


def stored(office: Office, version: ModelVersion) -> Path:
    """The folder of a version's files."""
    artifacts = artifacts_of(office)
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


def test_a_version_of_another_format_needs_the_headway_that_made_it(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    version = office.registry.register(office.folders[0], office.run, {})
    monkeypatch.setattr(package, "FORMAT", package.FORMAT + 1)
    with pytest.raises(
        HeadwayError, match=r"\(.+this Headway reads formats 6 and 7\); use the Headway that made it$"
    ) as told:
        office.registry.load(version)
    assert "\n" not in str(told.value)


def test_a_version_whose_folder_is_gone_is_lost(office: Office) -> None:
    version = office.registry.register(office.folders[0], office.run, {})
    folder = stored(office, version)
    folder.rename(folder.with_name("lost"))
    try:
        assert not office.registry.loads(version)
    finally:
        folder.with_name("lost").rename(folder)


def test_a_version_whose_files_are_another_models_is_refused(office: Office) -> None:
    """The other model's package is whole in itself: only the version knows which one was registered."""
    versions = [office.registry.register(folder, office.run, {}) for folder in office.folders[:2]]
    own, other = (stored(office, version) for version in versions)
    own.rename(own.with_name("own"))
    shutil.copytree(other, own)
    try:
        with pytest.raises(
            HeadwayError, match=r"\(it is not the model that was registered: its SHA-256 is another\); bring"
        ):
            office.registry.load(versions[0])
        assert not office.registry.loads(versions[0])
    finally:
        shutil.rmtree(own)
        own.with_name("own").rename(own)
    assert office.registry.loads(versions[0])


@pytest.mark.parametrize("absolute", [True, False])
def test_a_version_that_points_out_of_its_own_files_is_refused(office: Office, absolute: bool) -> None:
    """The very package, but elsewhere on the machine."""
    version = office.registry.register(office.folders[0], office.run, {})
    file = stored(office, version) / "MLmodel"
    whole = file.read_text()
    elsewhere = office.folders[0] if absolute else f"../../../../../../../../../..{office.folders[0]}"
    (line,) = [line for line in whole.splitlines() if line.strip().startswith("data:")]
    file.write_text(whole.replace(line, f"    data: {elsewhere}"))
    try:
        with pytest.raises(HeadwayError, match="its MLmodel names a folder outside of it"):
            office.registry.load(version)
    finally:
        file.write_text(whole)


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
    version = office.registry.new_version(source, None, {MODEL_TAG: package.fingerprint(office.folders[0])})
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
