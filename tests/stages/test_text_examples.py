"""The texts that stage prepare keeps for the data page."""

import json

import pyarrow.parquet as pq

from headway.data.preparation.split_assignment import PAIRS
from headway.data.preparation.text_examples import EXCERPT, LONG_EXCERPT, PER_CLASS, TextExamples
from headway.stages.prepare import prepare
from tests.real_texts import translations
from tests.stages.test_prepare import english, knobs, put  # noqa: F401


def examples_of(layout):
    return TextExamples.model_validate(json.loads(layout.text_examples.read_text(encoding="utf-8")))


def test_each_class_has_training_texts_and_the_lengths_are_those_of_the_profile(knobs, project, english):  # noqa: F811
    put(project, english[:400])
    result = prepare(knobs, project)
    found = examples_of(project)
    train = pq.read_table(project.prepared / "train.parquet").to_pylist()
    for entry in result.classes:
        of_class = [row["text"] for row in train if row["label"] == entry.label][:PER_CLASS]
        assert [one.characters for one in found.classes[entry.label]] == list(map(len, of_class))
        assert all(
            text.startswith(one.text.rstrip("…")) for one, text in zip(found.classes[entry.label], of_class, strict=True)
        )
    assert found.longest.characters == len(found.longest.text.rstrip("…")) == result.characters.max
    assert found.shortest.characters == result.characters.min


def test_pairs_of_near_duplicates_are_of_different_groups(knobs, project, english):  # noqa: F811
    long = [(text, label) for text, label in english[:400] if len(text.split()) > 15]
    put(project, [(text, label, False) for text, label in long] + [(f"{text} !", label) for text, label in long[:8]])
    prepare(knobs, project)
    pairs = examples_of(project).near_duplicates
    assert len(pairs) == PAIRS
    assert len({one.text for one, _ in pairs}) == PAIRS
    assert all(other.text == f"{one.text} !" for one, other in pairs)


def test_a_megabyte_is_cut_in_any_script_and_its_length_kept(knobs, project, english):  # noqa: F811
    arabic = translations("ar")
    put(project, [*english[:200], *((text, "عربي") for text in arabic[:60]), ("字" * 1_000_000, "长")])
    prepare(knobs.override({"data.max_bad_share": 0.5, "split.first_rows_in_training": 1}), project)
    found = examples_of(project)
    assert found.longest.characters == 1_000_000
    assert found.longest.text == "字" * LONG_EXCERPT + "…"
    assert [one.label for one in found.classes["عربي"]] == ["عربي"] * PER_CLASS
    assert all(len(one.text) <= EXCERPT + 1 for one in found.classes["عربي"])
    assert len(found.classes["长"]) == 1
