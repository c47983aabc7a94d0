"""The Python API: light to import, three ways to name a model, and one line for each mistake."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import headway
from headway.data.tokenization import tokenizer as tokenization
from headway.layout import Layout
from headway.model.classifier import AttentionClassifier
from headway.model.joint import JointClassifier
from headway.registry.registry import CHALLENGER, CHAMPION, MODEL_TAG, Registry
from headway.serving import package
from headway.serving.explain import Explanation
from headway.serving.package import CONFIG, ModelPackage
from headway.tracking import Tracker

CLASSES = ["negative", "positive"]
TEXTS = ["a charming , funny and quietly moving film", "tedious"]
HEAVY = {"torch", "mlflow", "pandas", "numpy", "pydantic", "tokenizers", "safetensors", "prefect", "optuna", "captum"}


@pytest.fixture(scope="module")
def folder(reviews: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package with random weights; only to be read."""
    made = tmp_path_factory.mktemp("package")
    tokenizer_file = reviews.layout.encoded / "tokenizer.json"
    size = tokenization.load(tokenizer_file).get_vocab_size()
    params = reviews.params.override({"model.d_model": 8, "model.bigram_buckets": 64}).model
    torch.manual_seed(0)
    attention = AttentionClassifier(params, size, len(CLASSES))
    torch.nn.init.normal_(attention.output.weight)
    package.save(made, JointClassifier(None, attention), tokenizer_file, 40, size, CLASSES)
    return made


@pytest.fixture(scope="module")
def registered(reviews: Any, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Registry:
    """A project in which version 1 is champion and version 2, of the same model, is the challenger; only to be read."""
    root = tmp_path_factory.mktemp("registered")
    layout = Layout(root)
    for source in (reviews.layout.params, reviews.layout.graph):
        (root / source.name).write_text(source.read_text())
    registry = Registry(Tracker(reviews.params, layout))
    with registry.tracker.nested("training", "train", "a key") as run:
        pass
    registry.register(folder, run.id, {})
    first = registry.version("1")
    assert first
    second = registry.new_version(str(first.source), run.id, {MODEL_TAG: first.tags[MODEL_TAG]})
    for alias, version in ((CHAMPION, first), (CHALLENGER, second)):
        registry.client.set_registered_model_alias(registry.name, alias, version.version)
    return registry


@pytest.fixture
def in_project(registered: Registry, monkeypatch: pytest.MonkeyPatch) -> Registry:
    monkeypatch.chdir(registered.tracker.layout.root)
    return registered


def message(error: pytest.ExceptionInfo[headway.HeadwayError]) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


# Importing.


def test_importing_headway_imports_nothing_heavy(tmp_path: Path) -> None:
    code = "import headway, sys; headway.load, headway.Model, headway.HeadwayError; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert not HEAVY & set(done.stdout.split())


def test_loading_a_folder_imports_neither_mlflow_nor_the_training_stack(folder: Path, tmp_path: Path) -> None:
    code = f"import headway, sys; print(headway.load({str(folder)!r}).predict({TEXTS!r})); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    labels, modules = done.stdout.splitlines()
    assert labels == str(headway.load(folder).predict(TEXTS))
    assert not {"mlflow", "pytorch_lightning", "optuna", "sklearn", "pandas", "prefect"} & set(modules.split())


# Predicting.


def test_labels_and_probabilities_are_those_of_the_package(folder: Path) -> None:
    model = headway.load(folder)
    expected = ModelPackage.load(folder).predict_proba(TEXTS)
    assert model.classes == CLASSES
    np.testing.assert_array_equal(model.predict_proba(TEXTS), expected)
    assert model.predict(TEXTS) == [CLASSES[index] for index in expected.argmax(axis=1)]


def test_any_iterable_of_strings_will_do(folder: Path) -> None:
    import pandas as pd

    model = headway.load(folder)
    expected = model.predict(TEXTS)
    for texts in (tuple(TEXTS), (text for text in TEXTS), np.array(TEXTS), pd.Series(TEXTS, index=[7, 9])):
        assert model.predict(texts) == expected


def test_no_texts_give_no_rows(folder: Path) -> None:
    model = headway.load(folder)
    assert model.predict([]) == []
    assert model.predict_proba([]).shape == (0, len(CLASSES))


def test_changing_the_list_of_classes_does_not_change_the_model(folder: Path) -> None:
    model = headway.load(folder)
    model.classes.reverse()
    assert model.classes == CLASSES


def test_several_threads_can_share_a_model(folder: Path) -> None:
    model = headway.load(folder)
    expected = model.predict_proba(TEXTS)
    with ThreadPoolExecutor(4) as pool:
        for answer in pool.map(lambda _: model.predict_proba(TEXTS), range(40)):
            np.testing.assert_array_equal(answer, expected)


def test_an_explanation_agrees_with_the_prediction(folder: Path) -> None:
    model = headway.load(folder)
    explanation = model.explain(TEXTS[0])
    assert isinstance(explanation, Explanation)
    assert CLASSES[explanation.predicted] == model.predict(TEXTS[:1])[0]


def test_an_explanation_without_captum_says_what_to_install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "captum", None)
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    with pytest.raises(headway.HeadwayError) as error:
        headway.load(folder).explain(TEXTS[0])
    assert "pip install captum" in message(error)


@pytest.mark.parametrize(
    "bad", [None, float("nan"), 7, b"bytes", ["a"], "", "  \n", "\u200b", "<br />", "half a pair \ud800"]
)
def test_a_text_that_cannot_be_classified_is_named_by_its_position(folder: Path, bad: object) -> None:
    model = headway.load(folder)
    for ask in (model.predict, model.predict_proba):
        with pytest.raises(headway.HeadwayError) as error:
            ask([TEXTS[0], TEXTS[1], bad])  # type: ignore[list-item]
        assert message(error).startswith("texts[2]: ")
    with pytest.raises(headway.HeadwayError) as error:
        model.explain(bad)  # type: ignore[arg-type]
    assert message(error).startswith("text: ")


def test_one_string_instead_of_a_list_is_refused(folder: Path) -> None:
    """Otherwise each of its letters would be classified."""
    with pytest.raises(headway.HeadwayError) as error:
        headway.load(folder).predict(TEXTS[0])
    assert "pass [text]" in message(error)


def test_a_table_or_a_dict_is_refused(folder: Path) -> None:
    """Otherwise the names of its columns or keys would be classified."""
    import pandas as pd
    import pyarrow as pa

    for texts in (pd.DataFrame({"text": TEXTS}), pa.table({"text": TEXTS}), {"text": TEXTS}, None, 7, np.array(TEXTS[0])):
        with pytest.raises(headway.HeadwayError) as error:
            headway.load(folder).predict(texts)  # type: ignore[arg-type]
        assert "one column" in message(error)


def test_a_column_of_pyarrow_is_refused_with_the_way_to_pass_it(folder: Path) -> None:
    import pyarrow as pa

    for texts in (pa.array(TEXTS), pa.chunked_array([TEXTS])):
        with pytest.raises(headway.HeadwayError) as error:
            headway.load(folder).predict_proba(texts)
        assert "pass column.to_pylist()" in message(error)


# Naming a model.


@pytest.mark.parametrize("where", ["champion", "challenger", "1", 1, "2"])
def test_a_registered_model_is_found_by_alias_and_by_version(in_project: Registry, folder: Path, where: str | int) -> None:
    model = headway.load(where)
    np.testing.assert_array_equal(model.predict_proba(TEXTS), headway.load(folder).predict_proba(TEXTS))


def test_the_project_can_be_given_instead_of_the_working_directory(
    registered: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert headway.load("champion", project=registered.tracker.layout.root).classes == CLASSES


def test_outside_of_a_project_the_server_and_the_models_name_are_enough(
    registered: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", registered.tracker.uri)
    before = mlflow.get_registry_uri()
    assert headway.load("champion", model_name=registered.name).classes == CLASSES
    assert mlflow.get_registry_uri() == before
    assert not list(tmp_path.iterdir()), "loading a model leaves nothing in the working directory"


def test_outside_of_a_project_the_error_names_both_ways_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(headway.HeadwayError) as error:
        headway.load("champion")
    for remedy in ("project=", "MLFLOW_TRACKING_URI", "model_name="):
        assert remedy in message(error)


def test_a_project_that_has_never_run_says_so_and_gets_no_database(project: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project.root)
    with pytest.raises(headway.HeadwayError) as error:
        headway.load("champion")
    assert "make run" in message(error)
    assert not project.tracking.exists()


def test_a_version_that_does_not_exist_is_one_line(in_project: Registry) -> None:
    with pytest.raises(headway.HeadwayError) as error:
        headway.load(99)
    assert f"model {in_project.name} has no version 99" in message(error)


def test_a_model_that_does_not_exist_is_one_line(in_project: Registry) -> None:
    with pytest.raises(headway.HeadwayError) as error:
        headway.load("champion", model_name="nobody")
    assert "model nobody has no champion" in message(error)


def test_an_altered_version_is_refused(in_project: Registry) -> None:
    version = in_project.version("1")
    assert version
    before = version.tags[MODEL_TAG]
    in_project.client.set_model_version_tag(in_project.name, "1", MODEL_TAG, "0" * 64)
    try:
        with pytest.raises(headway.HeadwayError) as error:
            headway.load("1")
    finally:
        in_project.client.set_model_version_tag(in_project.name, "1", MODEL_TAG, before)
    assert "SHA-256" in message(error)


def test_a_server_that_does_not_answer_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:secret@127.0.0.1:9")
    with pytest.raises(headway.HeadwayError) as error:
        headway.load("champion", model_name="headway")
    assert "127.0.0.1:9" in message(error)
    assert "secret" not in message(error)


def test_a_database_that_does_not_answer_is_one_line_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://user:secret@127.0.0.1:9/mlflow")
    started = time.monotonic()
    with pytest.raises(headway.HeadwayError) as error:
        headway.load("champion", model_name="headway")
    assert time.monotonic() - started < 20
    assert "127.0.0.1:9" in message(error)
    assert "secret" not in message(error)


def test_a_server_on_this_machine_is_reached_without_the_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.getsockname()[1]}")
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.setenv(name, "")
        with pytest.raises(headway.HeadwayError):
            headway.load("champion", model_name="headway")
        proxy.settimeout(0)
        with pytest.raises(BlockingIOError):
            proxy.accept()


@pytest.mark.parametrize("name", ["champion", "3"])
def test_a_folder_named_like_an_alias_or_a_version_needs_a_separator_or_a_path(
    folder: Path, project: Layout, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(project.root)
    (project.root / name).symlink_to(folder)
    assert headway.load(f"./{name}").classes == CLASSES
    assert headway.load(Path(name)).classes == CLASSES
    with pytest.raises(headway.HeadwayError) as error:
        headway.load(name)
    assert "registered" in message(error)


@pytest.mark.parametrize("where", ["champoin", "models/candidate", "1.5", ""])
def test_a_string_that_names_nothing_says_what_it_may_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(headway.HeadwayError) as error:
        headway.load(where)
    for known in ("folder", "champion", "version"):
        assert known in message(error)


@pytest.mark.parametrize("where", ["x" * 5000, Path("x" * 5000)], ids=["string", "path"])
def test_a_folder_that_cannot_be_read_says_why(where: Any) -> None:
    with pytest.raises(headway.HeadwayError) as error:
        headway.load(where)
    assert message(error).endswith("cannot be read: File name too long")


@pytest.mark.parametrize("where", [None, True, 1.5, ["champion"]])
def test_anything_but_a_path_a_string_or_an_integer_is_refused(where: Any) -> None:
    with pytest.raises(headway.HeadwayError, match="where: expected"):
        headway.load(where)


def test_a_folder_without_a_package_names_the_missing_file(tmp_path: Path) -> None:
    with pytest.raises(headway.HeadwayError) as error:
        headway.load(tmp_path)
    assert CONFIG in message(error)
