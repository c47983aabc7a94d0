"""Near-duplicates are found with the probability that theory gives, in every script, and rarely among unrelated texts."""

import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.data.identity import digests, normal_form
from headway.data.preparation import near_duplicates
from headway.data.preparation.near_duplicates import (
    band_hashes,
    band_shape,
    bucket_probability,
    shingles,
)


@pytest.fixture(scope="module")
def sentences(ingested):
    texts = pq.read_table(ingested.layout.raw / "rows.parquet")["text"].to_pylist()
    return [normal_form(text) for text in texts]


def jaccard(one, other):
    one, other = set(shingles(one)), set(shingles(other))
    return len(one & other) / len(one | other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Great  film!", "great film!"),
        ("A<br /><br />joy", "a joy"),
        ("ｆｕｌｌ ｗｉｄｔｈ", "full width"),
        ("Straße", "STRASSE"),
        ("line\nbreak\t", " line break"),
        ("e\u0301tude", "étude"),
    ],
)
def test_copies_have_the_same_normal_form(one, other):
    assert normal_form(one) == normal_form(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        *[("good :)", "good :("), ("not bad", "bad"), ("5 > 3", "5 < 3"), ("好", "坏")],
        *[("List<int>", "List<String>"), ("<amy@x.org>", "<bob@x.org>"), ("a < b and c > d", "a < x or y > d")],
    ],
)
def test_different_texts_have_different_normal_forms(one, other):
    assert normal_form(one) != normal_form(other)


@given(st.lists(st.text(max_size=5)))
def test_digests_are_equal_exactly_for_equal_texts(texts):
    found = digests(texts)
    assert found.shape == (len(texts),)
    assert len({digest.tobytes() for digest in found}) == len(set(texts))


@pytest.mark.parametrize("threshold", [0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0])
def test_bands_find_similar_texts_and_few_others(threshold):
    bands, rows = band_shape(threshold)
    assert bands * rows <= near_duplicates.PERMUTATIONS
    assert bucket_probability(threshold, (bands, rows)) >= near_duplicates.RECALL
    assert bucket_probability(threshold / 3, (bands, rows)) < 0.2
    longer = (near_duplicates.PERMUTATIONS // (rows + 1), rows + 1)
    assert rows == near_duplicates.PERMUTATIONS or bucket_probability(threshold, longer) < near_duplicates.RECALL


def test_a_threshold_of_zero_gives_no_bands(sentences):
    assert band_hashes(sentences[:10], 0.0).shape == (10, 0)


def test_texts_share_buckets_with_the_expected_probability(sentences):
    """Real sentences, each compared with a copy that has a few other words at its end."""
    long = [text for text in sentences if len(text.split()) >= 20][:1500]
    for changed in (1, 3, 8):
        altered = [" ".join([*text.split()[:-changed], *["otherwise"] * changed]) for text in long]
        similar = np.array([jaccard(one, other) for one, other in zip(long, altered, strict=True)])
        shared = (band_hashes(long, 0.8) == band_hashes(altered, 0.8)).any(axis=1)
        expected = np.mean([bucket_probability(value, band_shape(0.8)) for value in similar])
        assert shared.mean() == pytest.approx(expected, abs=0.03)


def test_unrelated_real_sentences_share_no_bucket(sentences):
    bands = band_hashes(sentences, 0.8)
    similar = {(int(rows[0]), int(row)) for column in bands.T for _, rows in _groups(column) for row in rows[1:]}
    assert 1 <= len(similar) < 10
    assert all(jaccard(sentences[one], sentences[other]) > 0.5 for one, other in similar)


def _groups(column):
    order = np.argsort(column, kind="stable")
    values, starts = np.unique(column[order], return_index=True)
    return [(value, rows) for value, rows in zip(values, np.split(order, starts[1:]), strict=True) if len(rows) > 1]


@pytest.mark.parametrize(
    ("text", "altered"),
    [
        (
            "这家酒店的位置非常好，离地铁站只有五分钟，房间也很干净，服务员态度热情，早餐丰富，下次还会再来住的。",
            "这家酒店的位置非常好，离地铁站只有五分钟，房间也很干净，服务员态度热情，早餐丰富，下次还会再来住的！",
        ),
        (
            "โรงแรมนี้อยู่ใกล้สถานีรถไฟฟ้ามาก ห้องสะอาด พนักงานบริการดี อาหารเช้าอร่อย จะกลับมาพักอีกแน่นอน",
            "โรงแรมนี้อยู่ใกล้สถานีรถไฟฟ้ามาก ห้องสะอาด พนักงานบริการดี อาหารเช้าอร่อย จะกลับมาพักอีกแน่นอน ครับ",
        ),
        (
            "كان الفندق قريبا جدا من المحطة وكانت الغرفة نظيفة والموظفون لطفاء والفطور لذيذا وسأعود إليه مرة أخرى إن شاء الله",
            "كان الفندق قريبا جدا من المحطة وكانت الغرفة نظيفة والموظفون لطفاء والفطور لذيذا وسأعود إليه مرة أخرى",
        ),
    ],
    ids=["Chinese", "Thai", "Arabic"],
)
def test_near_duplicates_are_found_in_scripts_with_and_without_spaces(text, altered):
    one, other = normal_form(text), normal_form(altered)
    assert jaccard(one, other) > 0.8
    assert (band_hashes([one], 0.8) == band_hashes([other], 0.8)).any()
    backwards = normal_form(text[::-1])
    assert not (band_hashes([one], 0.8) == band_hashes([backwards], 0.8)).any()


@pytest.mark.parametrize(("text", "expected"), [("", [""]), ("👍 👍", ["👍 👍"]), ("so dull", ["so dull"]), ("!", ["!"])])
def test_short_texts_and_texts_without_words_are_a_single_shingle(text, expected):
    assert shingles(text) == expected


def test_bands_are_the_same_in_another_process():
    script = (
        "from headway.data.preparation.near_duplicates import band_hashes; print(band_hashes(['a b c d e'], 0.8).tolist())"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": "9"}
    )
    assert done.stdout.strip() == str(band_hashes(["a b c d e"], 0.8).tolist())
