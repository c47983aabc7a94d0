"""Versions that hold model packages in a real MLflow registry: registered once, found, loaded, checked, made champion."""

from __future__ import annotations

import importlib.metadata
import json
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
from headway.registry import packages
from headway.registry.packages import EXAMPLE, SERVING_REQUIREMENTS
from headway.registry.record_log import RUN_TAG
from headway.registry.registry import CHALLENGER, CHAMPION, MODEL_TAG, Registry, ref_of
from headway.serving import package
from headway.serving.package import ModelPackage, config
from headway.tracking_labels import data_name
from tests.promotion.conftest import Stock


@dataclass
class Store:
    """A registry on a database of its own, a training run, and packages of untrained models."""

    registry: Registry
    run: str
    folders: tuple[Path, ...]


@pytest.fixture(scope="module")
def store(stock: Stock, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """One for all tests here: to log a model takes seconds."""
    tracker = stock.tracker(tmp_path_factory.mktemp("store") / "project")
    return Store(Registry(tracker), stock.run, stock.folders)


def test_a_package_is_registered_once_and_challenges_until_it_is_champion(store: Store) -> None:
    registry, client = store.registry, store.registry.client
    assert registry.champion() is None
    assert registry.versions() == []

    first = registry.register(store.folders[0], store.run, {"headway.git_commit": "abc"})
    again = registry.register(store.folders[0], store.run, {"headway.git_commit": "abc"})
    assert str(first.version) == str(again.version) == "1", "registering the same package twice made two versions"
    kept = client.get_model_version(registry.name, "1")
    assert kept.tags["headway.git_commit"] == "abc"
    assert kept.tags[MODEL_TAG] == package.fingerprint(store.folders[0])
    assert kept.aliases == [CHALLENGER]
    assert registry.champion() is None, "nothing was decided yet"

    for _ in range(2):  # done twice, it is done once
        registry.set_champion(first)
        assert client.get_model_version(registry.name, "1").aliases == [CHAMPION]
    second = registry.register(store.folders[1], store.run, {})
    assert [(str(one.version), one.aliases) for one in registry.versions()] == [("1", [CHAMPION]), ("2", [CHALLENGER])]
    registry.set_champion(second)
    assert str(registry.champion().version) == "2"
    assert client.get_model_version(registry.name, "1").aliases == []
    for _ in range(2):
        registry.set_champion(None)
        assert registry.champion() is None


def test_the_run_of_a_package_that_was_logged_but_not_registered_before_a_kill_is_finished_again(
    stock: Stock, tmp_path: Path
) -> None:
    """MLflow opens a finished run to log a model with it. Killed before it closes it, the run would stay KILLED for ever."""
    registry, folder = Registry(stock.tracker(tmp_path / "project")), stock.folders[0]
    with packages.module_functions_use(registry.tracker.uri):
        logged = packages.log(folder, stock.run, {MODEL_TAG: package.fingerprint(folder)})
    registry.client.set_terminated(stock.run, "KILLED")  # as the next flow does with the runs of dead processes
    assert registry.register(folder, stock.run, {}).source == logged
    assert registry.client.get_run(stock.run).info.status == "FINISHED"


def test_mlflows_pages_show_what_a_version_is_and_where_it_comes_from(store: Store) -> None:
    registry, client = store.registry, store.registry.client
    lineage = {"headway.git_commit": "a" * 40 + "+changes"}
    version = registry.register(store.folders[2], store.run, lineage)
    model = client.get_registered_model(registry.name)
    assert data_name(registry.tracker.params) in model.description
    assert model.tags["mlflow.source.name"] == "dvc.yaml"
    kept = client.get_model_version(registry.name, version.version)
    assert kept.description
    logged = client.get_logged_model(registry.logged_model(version))
    assert logged.name == f"{data_name(registry.tracker.params)}-{package.fingerprint(store.folders[2])[:8]}"
    assert logged.source_run_id == store.run
    assert logged.tags["mlflow.note.content"]
    for tags in (kept.tags, logged.tags):
        assert tags["mlflow.source.name"] == "headway train"
        assert tags["mlflow.source.git.commit"] == "a" * 40
        assert tags["mlflow.source.git.dirty"] == "true"
        assert tags["mlflow.user"]
    assert [one.model_id for one in client.get_run(store.run).outputs.model_outputs].count(logged.model_id) == 1
    client.update_registered_model(registry.name, "A person's own words.")
    registry.register(store.folders[2], store.run, lineage)
    again = client.get_logged_model(logged.model_id)
    assert json.loads(again.tags["mlflow.modelVersions"]) == [{"name": registry.name, "version": str(version.version)}]
    assert client.get_registered_model(registry.name).description == "A person's own words."


def test_the_history_is_in_an_experiment_of_its_own(store: Store) -> None:
    registry, client = store.registry, store.registry.client
    registry.log.create()
    run = client.get_run(client.get_registered_model(registry.name).tags[RUN_TAG])
    experiment = client.get_experiment(run.info.experiment_id)
    assert experiment.name == f"{registry.tracker.params.registry.experiment}-history"
    assert run.info.run_id not in registry.runs()


def test_a_registry_leaves_mlflows_own_address_as_it_was(
    store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    theirs = f"sqlite:///{tmp_path / 'theirs.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", theirs)
    version = store.registry.register(store.folders[0], store.run, {})
    store.registry.load(version)
    assert mlflow.get_tracking_uri() == theirs
    assert os.environ["MLFLOW_TRACKING_URI"] == theirs
    assert "MLFLOW_REGISTRY_URI" not in os.environ
    again = store.registry.new_version(version.source, store.run, version.tags)
    assert again.source == version.source, "and its models are found all the same"
    store.registry.client.delete_model_version(store.registry.name, again.version)
    mlflow.set_tracking_uri(None)


def test_a_version_is_known_by_the_model_it_holds(store: Store) -> None:
    version = store.registry.register(store.folders[0], store.run, {})
    known = ref_of(version)
    found = store.registry.find(known)
    assert found is not None
    assert str(found.version) == str(version.version)
    assert store.registry.find(known.model_copy(update={"model": "another"})) is None
    assert store.registry.find(known.model_copy(update={"version": "999"})) is None


def test_a_registered_package_predicts_what_the_folder_predicts(store: Store) -> None:
    version = store.registry.register(store.folders[0], store.run, {})
    texts = ["a fine film", "dull"]
    here, there = ModelPackage.load(store.folders[0]), store.registry.load(version)
    np.testing.assert_array_equal(here.predict_proba(texts), there.predict_proba(texts))


def test_a_registered_model_says_what_goes_in_what_comes_out_and_what_it_needs(store: Store) -> None:
    version = store.registry.register(store.folders[0], store.run, {})
    folder = stored(store, version)
    model = Model.load(str(folder))
    assert model.signature is not None
    assert model.signature.inputs.input_names() == ["text"]
    columns = ["label", "probability of negative", "probability of positive", "reason"]
    assert model.signature.outputs.input_names() == columns
    example = model.load_input_example(str(folder))
    assert list(example.columns) == ["text"]
    assert len(example) >= 2, "one row does not show that rows are scored each for itself"
    needed = (folder / "requirements.txt").read_text().split()
    assert {line.split("==")[0] for line in needed} == set(SERVING_REQUIREMENTS)
    installed = [f"{name}=={importlib.metadata.version(name).split('+')[0]}" for name in SERVING_REQUIREMENTS]
    assert sorted(needed) == sorted(installed)


def test_a_registered_model_scores_its_own_example_row_by_row(store: Store) -> None:
    folder = stored(store, store.registry.register(store.folders[0], store.run, {}))
    model = mlflow.pyfunc.load_model(str(folder))
    table = model.predict(EXAMPLE)
    expected = ModelPackage.load(store.folders[0]).predict_proba(list(EXAMPLE["text"]))
    np.testing.assert_array_equal(table.iloc[:, 1:3].to_numpy(), expected)
    single = model.predict(EXAMPLE.tail(1))
    assert list(single["label"]) == list(table["label"])[1:]


def test_a_version_with_altered_files_is_refused(store: Store) -> None:
    version = store.registry.register(store.folders[0], store.run, {})
    artifacts = artifacts_of(store)
    name = str(version.source).split("/")[-1]
    (weights,) = [path for path in artifacts.rglob(package.WEIGHTS) if name in str(path)]
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-4] + b"\0\0\0\1")
    try:
        with pytest.raises(HeadwayError, match="was altered"):
            store.registry.load(version)
        anew = store.registry.register(store.folders[0], store.run, {})
        assert str(anew.version) != str(version.version), "a version whose files are damaged was taken for the model"
        store.registry.load(anew)
    finally:
        weights.write_bytes(whole)


def artifacts_of(store: Store) -> Path:
    """Where the experiment's files lie: with the stock, whose database this is a copy of."""
    experiment = store.registry.client.get_experiment(store.registry.tracker.experiment_id)
    return Path(experiment.artifact_location.removeprefix("file://"))


def stored(store: Store, version: ModelVersion) -> Path:
    """The folder of a version's files."""
    artifacts = artifacts_of(store)
    (folder,) = artifacts.rglob(f"{str(version.source).split('/')[-1]}/artifacts")
    return folder


@pytest.mark.parametrize("damage", ["", "{]", "a word", "flavors: {}", "flavors: {python_function: }"])
def test_a_version_whose_description_is_missing_or_damaged_is_lost(store: Store, damage: str) -> None:
    version = store.registry.register(store.folders[0], store.run, {})
    file = stored(store, version) / "MLmodel"
    whole = file.read_text()
    file.unlink()
    if damage:
        file.write_text(damage)
    try:
        with pytest.raises(
            HeadwayError, match=r"^version \d+ of headway cannot be loaded \(.+\); restore its files"
        ) as error:
            store.registry.load(version)
        assert not isinstance(error.value, Unreachable)
        assert "\n" not in str(error.value)
        assert not store.registry.loads(version)
    finally:
        file.write_text(whole)
    assert store.registry.loads(version)


def test_a_version_of_another_format_needs_the_headway_that_made_it(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    version = store.registry.register(store.folders[0], store.run, {})
    monkeypatch.setattr(config, "READABLE_FORMATS", (98, 99))
    with pytest.raises(
        HeadwayError, match=r"\(.+this Headway reads formats 98 and 99\); use the Headway that made it$"
    ) as error:
        store.registry.load(version)
    assert "\n" not in str(error.value)


def test_a_version_whose_folder_is_gone_is_lost(store: Store) -> None:
    version = store.registry.register(store.folders[0], store.run, {})
    folder = stored(store, version)
    folder.rename(folder.with_name("lost"))
    try:
        assert not store.registry.loads(version)
    finally:
        folder.with_name("lost").rename(folder)


def test_a_version_whose_files_are_another_models_is_refused(store: Store) -> None:
    """The other model's package is whole in itself: only the version knows which one was registered."""
    versions = [store.registry.register(folder, store.run, {}) for folder in store.folders[:2]]
    own, other = (stored(store, version) for version in versions)
    own.rename(own.with_name("own"))
    shutil.copytree(other, own)
    try:
        with pytest.raises(HeadwayError, match=r"\(its SHA-256 differs from that of the registered model\); restore"):
            store.registry.load(versions[0])
        assert not store.registry.loads(versions[0])
    finally:
        shutil.rmtree(own)
        own.with_name("own").rename(own)
    assert store.registry.loads(versions[0])


@pytest.mark.parametrize("absolute", [True, False])
def test_a_version_that_points_out_of_its_own_files_is_refused(store: Store, absolute: bool) -> None:
    """The very package, but elsewhere on the machine."""
    version = store.registry.register(store.folders[0], store.run, {})
    file = stored(store, version) / "MLmodel"
    whole = file.read_text()
    elsewhere = store.folders[0] if absolute else f"../../../../../../../../../..{store.folders[0]}"
    (line,) = [line for line in whole.splitlines() if line.strip().startswith("data:")]
    file.write_text(whole.replace(line, f"    data: {elsewhere}"))
    try:
        with pytest.raises(HeadwayError, match="its MLmodel names a folder outside of it"):
            store.registry.load(version)
    finally:
        file.write_text(whole)


@pytest.mark.parametrize("source", ["http://user:secret@127.0.0.1:9/model", "s3://bucket/model"])
def test_a_store_that_does_not_answer_has_lost_nothing(store: Store, source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
        "MLFLOW_S3_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_MAX_ATTEMPTS": "1",
    }.items():
        monkeypatch.setenv(name, value)
    client, name = store.registry.client, store.registry.name
    store.registry.register(store.folders[0], store.run, {})
    version = store.registry.new_version(source, None, {MODEL_TAG: package.fingerprint(store.folders[0])})
    before = len(client.search_model_versions(f"name = '{name}'"))
    try:
        for asked in (store.registry.load, store.registry.loads):
            with pytest.raises(
                Unreachable, match=r"^the files of version \d+ of headway cannot be fetched \(.+\); check"
            ) as error:
                asked(version)
            assert "retire" not in str(error.value)
            assert "secret" not in str(error.value)
        with pytest.raises(Unreachable):
            store.registry.register(store.folders[0], store.run, {})
        assert len(client.search_model_versions(f"name = '{name}'")) == before
    finally:
        client.delete_model_version(name, version.version)
