"""The linear baseline: it learns, and it is deterministic."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from headway.data.text.splits import SPLITS
from headway.errors import HeadwayError
from headway.evaluation import baseline as linear
from headway.evaluation.predictions import Predictions
from headway.files import read_json
from headway.stages.baseline import baseline
from tests.folders import sha256_of_folder


@pytest.fixture(scope="module")
def splits(reviews):
    tables = {name: pq.read_table(reviews.layout.prepared / f"{name}.parquet") for name in SPLITS}
    return {name: (table["text"].to_pylist(), table["label_id"].to_pylist()) for name, table in tables.items()}


def test_it_learns_from_a_few_hundred_real_sentences(params, splits):
    texts, labels = (splits["validation"][part] + splits["test"][part] for part in (0, 1))
    fitted = linear.fit(*splits["train"], params.baseline)
    predicted = linear.predict_proba(fitted, texts, 2).argmax(axis=1)
    assert np.mean(predicted == labels) > 0.56


def test_random_labels_give_chance_accuracy(params, splits):
    random = np.random.default_rng(0)
    fitted = linear.fit(splits["train"][0], random.permutation(splits["train"][1]).tolist(), params.baseline)
    texts, labels = (splits["validation"][part] + splits["test"][part] for part in (0, 1))
    assert np.mean(linear.predict_proba(fitted, texts, 2).argmax(axis=1) == labels) < 0.62


def test_probabilities_sum_to_one_and_are_deterministic(params, splits):
    twice = [linear.predict_proba(linear.fit(*splits["train"], params.baseline), splits["test"][0], 2) for _ in range(2)]
    np.testing.assert_array_equal(*twice)
    np.testing.assert_allclose(twice[0].sum(axis=1), 1, atol=1e-5)
    assert twice[0].dtype == np.float32


def test_a_class_without_training_rows_has_probability_0(params):
    knobs = params.baseline.model_copy(update={"min_document_frequency": 1})
    fitted = linear.fit(["good film", "bad film", "good one", "bad one"], [0, 2, 0, 2], knobs)
    probabilities = linear.predict_proba(fitted, ["good", "bad", "unheard of"], 4)
    assert probabilities.shape == (3, 4)
    assert not probabilities[:, [1, 3]].any()
    assert probabilities[0].argmax() == 0
    assert probabilities[1].argmax() == 2


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ("很好看的电影", "难看无聊"),
        ("فيلم رائع", "فيلم سيئ"),
        ("отличный фильм", "скучное кино"),
        ("I", "u"),
        ("สนุกมาก", "น่าเบื่อ"),
        ("とてもよい", "つまらない"),
    ],
)
def test_words_count_in_every_script_and_single_letters_too(params, good, bad):
    fitted = linear.fit([good, bad] * 2, [0, 1] * 2, params.baseline)
    assert linear.predict_proba(fitted, [good, bad], 2).argmax(axis=1).tolist() == [0, 1]


@pytest.mark.parametrize("text", ["नमस्ते दुनिया", "مُحَمَّدٌ رَسُولٌ"])
def test_words_with_combining_marks_are_whole(params, text):
    fitted = linear.fit([text, "other words"] * 2, [0, 1] * 2, params.baseline)
    assert set(text.split()) <= set(fitted[0].get_feature_names_out())


@pytest.mark.parametrize("texts", [["one", "two", "three", "four"], ["!", "?", "…", "—"]])
def test_texts_that_share_no_word_are_refused_with_the_knob_to_change(params, texts):
    with pytest.raises(
        HeadwayError, match=r"no word in at least 2 training texts .* lower baseline\.min_document_frequency"
    ) as caught:
        linear.fit(texts, [0, 1, 0, 1], params.baseline.model_copy(update={"min_document_frequency": 2}))
    assert "\n" not in str(caught.value)


def test_the_stage_writes_test_predictions_and_metrics_of_both_splits(own_reviews):
    layout = own_reviews.layout
    report = baseline(own_reviews.params, layout)
    assert read_json(layout.metrics("baseline"), made_by="baseline") == report
    rows = pq.read_table(layout.prepared / "test.parquet")
    predictions = Predictions.load(layout.baseline / "test.parquet", made_by="baseline")
    assert list(predictions.ids) == rows["id"].to_pylist()
    assert predictions.labels.tolist() == rows["label_id"].to_pylist()
    assert predictions.classes == ["negative", "positive"]
    assert report["test"]["accuracy"] == round(float(predictions.correct.mean()), 6)
    assert report["validation"]["rows"] == pq.read_table(layout.prepared / "validation.parquet").num_rows


def test_the_outs_are_deterministic(own_reviews):
    hashes = []
    for _ in range(2):
        baseline(own_reviews.params, own_reviews.layout)
        hashes.append((sha256_of_folder(own_reviews.layout.baseline), own_reviews.layout.metrics("baseline").read_bytes()))
    assert hashes[0] == hashes[1]
