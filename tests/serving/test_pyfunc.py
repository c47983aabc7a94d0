"""The package as MLflow serves it: logged, loaded by ``mlflow.pyfunc``, and fed what its scoring server parses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.pyfunc import scoring_server

from headway.errors import HeadwayError
from headway.registry import packages
from headway.serving import pyfunc
from headway.serving.package import ModelPackage
from headway.tracking import Tracker
from tests.conftest import new_project
from tests.serving.conftest import CLASSES, TEXTS

PROBABILITIES = [f"probability of {name}" for name in CLASSES]


@pytest.fixture(scope="module")
def served(reviews: Any, saved: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The package, logged with a run and loaded back as MLflow does it."""
    tracker = Tracker(reviews.params, new_project(tmp_path_factory.mktemp("pyfunc") / "project"))
    with tracker.nested("training", "train", "a key") as run:
        pass
    with packages.module_functions_use(tracker.uri):
        return mlflow.pyfunc.load_model(packages.log(saved, run.id, {}))


def invoke(model: Any, body: str, content_type: str = "application/json") -> list[dict[str, Any]]:
    """The scoring server's answer to a request, read as strict JSON: NaN is refused."""
    answer = scoring_server.invocations(body, content_type, model, model.metadata.get_input_schema())
    assert answer.status == 200, answer.response

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    predictions: list[dict[str, Any]] = json.loads(answer.response, parse_constant=refuse)["predictions"]
    return predictions


def test_rows_keep_their_index_and_have_label_probabilities_and_no_reason(saved: Path) -> None:
    table = pd.DataFrame({"text": TEXTS, "other": range(len(TEXTS))}, index=[10, 20, 30, 40, 50])
    answer = pyfunc._load_pyfunc(str(saved)).predict(table)
    assert list(answer.columns) == ["label", *PROBABILITIES, "reason"]
    assert list(answer.index) == list(table.index)
    expected = ModelPackage.load(saved).predict_proba(TEXTS)
    np.testing.assert_array_equal(answer[PROBABILITIES].to_numpy(), expected)
    assert answer["label"].tolist() == [CLASSES[index] for index in expected.argmax(axis=1)]
    assert answer["reason"].isna().all()


def test_the_signature_names_every_column_and_lets_the_answers_be_null(served: Any) -> None:
    assert served.metadata.get_input_schema().input_names() == ["text"]
    outputs = served.metadata.get_output_schema()
    assert outputs.input_names() == ["label", *PROBABILITIES, "reason"]
    assert not outputs.required_input_names()


@pytest.mark.parametrize(
    "missing", [None, float("nan"), pd.NA, "", " \u200b\ufeff\u00a0", "<br /><br />", 7, b"x", ["a"]], ids=repr
)
def test_a_text_that_cannot_be_classified_has_a_null_label_and_a_reason(served: Any, saved: Path, missing: object) -> None:
    table = pd.DataFrame({"text": pd.Series([TEXTS[0], missing, TEXTS[1]], dtype=object)})
    answer = served.predict(table)
    assert answer.loc[1, ["label", *PROBABILITIES]].isna().all()
    assert isinstance(answer.loc[1, "reason"], str)
    assert answer["reason"].isna().tolist() == [True, False, True]
    expected = ModelPackage.load(saved).predict_proba(TEXTS[:2])
    np.testing.assert_allclose(answer.loc[[0, 2], PROBABILITIES].astype(float).to_numpy(), expected, atol=1e-6)


@pytest.mark.parametrize(
    "body",
    [
        {"dataframe_records": [{"text": "nan"}, {"text": None}, {"text": ""}]},
        {"dataframe_split": {"columns": ["text"], "data": [["nan"], [None], [""]]}},
        {"dataframe_records": [{"text": "nan"}, {}, {"text": 7}]},
        {"inputs": {"text": ["nan", None, " "]}},
        {"instances": [{"text": "nan"}, {"text": None}, {"text": ""}]},
    ],
    ids=["records", "split", "no key", "inputs", "instances"],
)
def test_a_request_with_missing_texts_gets_nulls_and_the_word_nan_stays_a_text(served: Any, body: dict[str, Any]) -> None:
    answer = invoke(served, json.dumps(body))
    assert [one["label"] in CLASSES for one in answer] == [True, False, False]
    assert [one["reason"] is None for one in answer] == [True, False, False]
    for one in answer[1:]:
        assert one["label"] is None
        assert [one[name] for name in PROBABILITIES] == [None] * len(CLASSES)


def test_a_request_of_nothing_but_a_missing_text_is_answered_too(served: Any) -> None:
    (answer,) = invoke(served, json.dumps({"dataframe_records": [{"text": None}]}))
    assert answer["label"] is None
    assert answer["reason"]


def test_a_table_without_the_column_says_which_it_has(saved: Path) -> None:
    with pytest.raises(HeadwayError, match="body"):
        pyfunc._load_pyfunc(str(saved)).predict(pd.DataFrame({"body": ["a"]}))
