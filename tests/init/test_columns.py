"""The right text and label are proposed for tables in the shapes of public data sets, and a tie is left to a person."""

import tomllib
from importlib.resources import files

import pytest

from headway.data import column_names
from headway.data.column_names import label_weight, text_weight, words_of
from headway.data.column_values import count_words
from headway.data.columns import propose
from headway.data.learnability import skills
from headway.data.sampling import Sample
from headway.errors import HeadwayError
from headway.init.location import locate
from headway.init.reading import choose_reading
from headway.params import load
from tests.init.public_tables import Maker, tables
from tests.real_texts import english

TABLES = tables()
GROUPS = tomllib.loads((files("headway.data") / "column_names.toml").read_text("utf-8"))


@pytest.mark.parametrize("name", TABLES)
def test_the_right_columns_are_proposed(project, name):
    table = TABLES[name]
    path = project.root / table.file
    path.write_bytes(table.content)
    found = choose_reading(load(project.params), locate(project, str(path), "", ""), project)
    assert found.proposal.text == table.text
    if table.label is None:
        assert found.proposal.unclear or found.proposal.label in table.also
    else:
        assert found.proposal.label in (table.label, *table.also)
        assert not found.proposal.unclear
    for knob, value in table.knobs.items():
        assert found.knobs[knob.removeprefix("data.")] == value


def test_a_tie_between_labels_is_unclear_and_names_both():
    texts, labels = english(200)
    names = [("bad", "good")[label] for label in labels]
    flipped = [name if row % 20 else "bad" for row, name in enumerate(names)]
    found = propose({"text": texts, "mood": names, "feeling": flipped}, "x")
    assert {found.label, *found.others} == {"mood", "feeling"}
    assert "mood" in found.unclear
    assert "feeling" in found.unclear
    assert propose({"text": texts, "mood": names, "feeling": flipped}, "x", label="mood").unclear == ""


def test_columns_with_the_same_classes_are_no_tie():
    texts, labels = english(200)
    found = propose({"text": texts, "mood": labels_of(labels, "bad", "good"), "feeling": labels_of(labels, "0", "1")}, "x")
    assert found.unclear == ""


def test_a_column_of_lists_is_reported_as_multi_label():
    texts, labels = english(60)
    sample: Sample = {"text": texts, "label": ['["a", "b"]' if label else '["b", "c"]' for label in labels]}
    with pytest.raises(HeadwayError, match="multi-label"):
        propose(sample, "x")


def test_a_label_with_many_numbers_is_proposed_as_a_quantity():
    maker = Maker("quantity")
    texts, _ = maker.sentiment()
    assert propose({"text": texts, "score": list(map(str, maker.number(0, 80)))}, "x").quantity > 50
    assert propose({"text": texts, "score": list(map(str, maker.number(1, 5)))}, "x").quantity == 0


def test_other_possible_texts_are_shown():
    maker = Maker("titles")
    texts, topics = maker.topics(30)
    sample = {"subject": [maker.sentence(topic, 6) for topic in topics], "body": texts, "queue": topics}
    assert propose(sample, "x").other_texts == ("subject",)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("customerMessage", ["customer", "message"]),
        ("Star Ratings", ["star", "rating"]),
        ("HTTPCategory", ["http", "category"]),
        ("star_ratings__v2", ["star", "rating", "v2"]),
        ("classes", ["class"]),
        ("श्रेणी", ["श्रेणी"]),
    ],
)
def test_names_are_split_into_singular_words(name, words):
    assert words_of(name) == words


@pytest.mark.parametrize(
    ("value", "number"),
    [
        ("ग्राहक टिप्पणी", 2),
        ("உத்பாத வகை", 2),
        ("ข้อความ", 3.5),
        ("my_long name", 3),
        ("24 7", 0),
        ("好的 ok", 2),
    ],
)
def test_words_of_every_script_are_counted_whole(value, number):
    assert count_words(value) == number


def test_words_of_indic_texts_are_learnt_whole():
    # Without their vowel signs the two words are the same letters.
    texts = [word for word in ("दिन", "दान") for _ in range(60)]
    assert skills(texts, {"label": [*"a" * 60, *"b" * 60]})["label"] > 0.4


@pytest.mark.parametrize("key", [key for key in GROUPS if not key.endswith("_parts")])
def test_every_known_word_is_recognised_in_a_name(key):
    for word in GROUPS[key].split():
        assert set(words_of(word)) <= set(column_names.WORDS[key]), word


def test_label_names_are_ranked():
    names = ["label", "product_category", "department", "class_name", "priority", "zq", "city", "split"]
    weights = [label_weight(name) for name in names]
    assert weights == sorted(weights, reverse=True)


def test_text_names_are_ranked():
    names = ["text", "customer_message", "zq", "author"]
    weights = [text_weight(name) for name in names]
    assert weights == sorted(weights, reverse=True)


def labels_of(labels, *names):
    return [names[label] for label in labels]
