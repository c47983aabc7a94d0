"""Fitting is deterministic, ids are in range, and long texts keep both ends."""

import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from headway.data.tokenization import fitting
from headway.data.tokenization.fitting import fit, kind_of, measure
from headway.data.tokenization.tokenizer import PADDING_ID, UNKNOWN_ID, TextEncoder, load, truncate
from headway.errors import StageOutputError
from tests.real_texts import chinese, english, translations

KINDS = ["word", "bpe", "unigram"]
MIXED = [
    "A fine film, isn't it?",
    "很好看的电影",
    "фильм хороший",
    "فيلم جيد",
    "चलचित्र अच्छा",
    "映画は良い",
    "좋은 영화",
    "🎬 👍🏽",
    "[PAD] [UNK] ［PAD］",
]
# Another process fits the texts in the file that it is given, one a line.
ELSEWHERE = """
import sys
from pathlib import Path
from headway.data.tokenization.fitting import fit, measure
from headway.params import TokenizerParams
texts = Path(sys.argv[1]).read_text(encoding="utf-8").split("\\n")
for kind in ("word", "bpe", "unigram"):
    params = TokenizerParams.model_validate_json(sys.argv[2]).model_copy(update={"kind": kind})
    print(fit(texts, params, measure(texts)).to_str())
"""


@pytest.fixture(scope="module")
def knobs(params):
    return params.tokenizer.model_copy(update={"vocabulary_size": 2000, "min_frequency": 1})


@pytest.fixture(scope="module")
def texts():
    """Texts in five scripts, one of them Chinese, with a line a text."""
    languages = [text for language in ("ja", "th", "ar", "he") for text in translations(language)]
    return [" ".join(text.split("\n")) for text in english(400)[0] + chinese(400)[0] + languages]


def fitted_on(texts, knobs, **changed):
    return fit(texts, knobs.model_copy(update=changed), measure(texts))


@pytest.fixture(scope="module")
def every(texts, knobs):
    return {kind: fitted_on(texts, knobs, kind=kind) for kind in KINDS}


@pytest.fixture(params=KINDS)
def fitted(request, every):
    return every[request.param]


def pieces(tokenizer, text):
    return tokenizer.encode(text, add_special_tokens=False).tokens


def normal(tokenizer, text):
    return tokenizer.normalizer.normalize_str(text)


# The vocabulary


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_texts_give_the_same_json_twice(texts, knobs, every, kind):
    assert fitted_on(texts, knobs, kind=kind).to_str() == every[kind].to_str()


@pytest.mark.parametrize("threads", ["1", "2"])
def test_the_vocabulary_depends_neither_on_threads_nor_on_a_hash_seed(texts, knobs, every, tmp_path, threads):
    (tmp_path / "texts.txt").write_text("\n".join(texts), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, str(tmp_path / "texts.txt"), knobs.model_dump_json()],
        env={**os.environ, "RAYON_NUM_THREADS": threads, "PYTHONHASHSEED": "7"},
        capture_output=True,
        check=True,
    )
    assert done.stdout.decode().splitlines() == [every[kind].to_str() for kind in KINDS]


@pytest.mark.parametrize("kind", KINDS)
def test_the_order_of_the_texts_does_not_change_the_vocabulary(texts, knobs, every, kind):
    assert fitted_on(texts[::-1], knobs, kind=kind).to_str() == every[kind].to_str()


@pytest.mark.parametrize("size", [300, 700])
@pytest.mark.parametrize("kind", KINDS)
def test_the_vocabulary_size_includes_padding_and_unknown(texts, knobs, kind, size):
    tokenizer = fitted_on(texts, knobs, kind=kind, vocabulary_size=size)
    assert tokenizer.get_vocab_size() == size
    assert sorted(tokenizer.get_vocab().values()) == list(range(size))


def test_padding_is_0_and_unknown_is_1(fitted):
    assert fitted.token_to_id("[PAD]") == PADDING_ID == 0
    assert fitted.token_to_id("[UNK]") == UNKNOWN_ID == 1


def test_the_most_frequent_words_are_kept(knobs):
    texts = english(300)[0]
    counted = fitted_on(texts, knobs, kind="word", vocabulary_size=100_000)
    small = fitted_on(texts, knobs, kind="word", vocabulary_size=300)
    seen = np.bincount(np.concatenate(TextEncoder(counted, 10_000)(texts)), minlength=counted.get_vocab_size())
    rarest = min(seen[counted.token_to_id(word)] for word in set(small.get_vocab()) - {"[PAD]", "[UNK]"})
    assert {counted.id_to_token(int(index)) for index in np.flatnonzero(seen > rarest)} <= set(small.get_vocab())


def test_a_word_rarer_than_the_minimum_is_unknown(knobs):
    tokenizer = fitted_on(["rare common common"], knobs, kind="word", min_frequency=2)
    common, rare = TextEncoder(tokenizer, 10)(["common", "rare"])
    assert common.tolist() == [2]
    assert rare.tolist() == [UNKNOWN_ID]


def test_bytes_that_occur_together_less_than_the_minimum_are_not_merged(knobs):
    tokenizer = fitted_on(["rare common common"], knobs, kind="bpe", min_frequency=2)
    assert len(pieces(tokenizer, "common")) == 1
    assert len(pieces(tokenizer, "rare")) == 5


def test_common_chinese_words_are_pieces_without_punctuation(knobs):
    texts = chinese(3000)[0]
    tokenizer = fitted_on(texts, knobs, kind="unigram")
    assert {"我们", "没有", "的"} <= set(tokenizer.get_vocab())
    longer = [piece for piece in tokenizer.get_vocab() if len(piece) > 1]
    assert len(longer) > 400
    assert not [
        piece for piece in longer if {"，", "。", ",", "!", "[", "]"} & set(piece) and piece not in ("[PAD]", "[UNK]")
    ]
    words = fitted_on(texts, knobs, kind="word", vocabulary_size=30_000)
    few = texts[::10]
    assert sum(map(len, TextEncoder(tokenizer, 10_000)(few))) < 0.8 * sum(map(len, TextEncoder(words, 10_000)(few)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("some", [[], [""], [" \n"], ["好"]])
def test_a_tokenizer_fitted_on_almost_nothing_still_encodes(knobs, kind, some):
    tokenizer = fitted_on(some, knobs, kind=kind)
    assert all((ids > PADDING_ID).all() for ids in TextEncoder(tokenizer, 50)(MIXED))


# The kind


@pytest.mark.parametrize(
    ("language", "kind"),
    [
        ("ja", "unigram"),
        ("th", "unigram"),
        ("km", "unigram"),
        ("ar", "word"),
        ("he", "word"),
        ("ko", "word"),
        ("hi", "word"),
    ],
)
def test_auto_chooses_unigram_for_scripts_without_spaces_and_word_for_others(knobs, language, kind):
    auto = knobs.model_copy(update={"kind": "auto"})
    texts = [*translations(language), *translations(language)]  # each word occurs twice
    fitted = fit(texts, auto, measure(texts))
    assert kind_of(fitted) == kind
    assert fitted.to_str() == fitted_on(texts, knobs, kind=kind).to_str()


def test_auto_chooses_unigram_from_a_fifth_of_the_letters_on(knobs):
    auto = knobs.model_copy(update={"kind": "auto"})
    found = [["a" * latin, "好" * 20] * 2 for latin in (80, 81)]
    assert [kind_of(fit(texts, auto, measure(texts))) for texts in found] == ["unigram", "word"]


@pytest.mark.parametrize(("unknown", "kind"), [(7, "word"), (8, "bpe")])
def test_auto_chooses_bpe_from_a_share_of_unknown_words_on(knobs, unknown, kind):
    auto = knobs.model_copy(update={"kind": "auto"})
    texts = ["film"] * (100 - unknown) + [f"rare{'x' * n}" for n in range(unknown)]  # of 100 words, these occur once
    assert fit(texts, auto, measure(texts)).to_str() == fitted_on(texts, knobs, kind=kind).to_str()
    assert kind_of(fit(texts, knobs.model_copy(update={"kind": "word"}), measure(texts))) == "word"


def test_a_bpe_tokenizer_of_kind_auto_has_fewer_tokens(texts, knobs, monkeypatch):
    monkeypatch.setattr(fitting, "BPE_VOCABULARY", 400)
    auto = knobs.model_copy(update={"kind": "auto"})
    rare = [f"word{number:04}" for number in range(500)]
    assert fit(rare, auto, measure(rare)).get_vocab_size() == 400
    small = auto.model_copy(update={"vocabulary_size": 300})
    assert fit(rare, small, measure(rare)).get_vocab_size() == 300


def test_auto_stays_with_words_if_there_are_word_vectors(knobs):
    auto = knobs.model_copy(update={"kind": "auto", "word_vectors": "glove.txt"})
    texts = ["every word occurs once"]
    assert kind_of(fit(texts, auto, measure(texts))) == "word"


def test_the_share_of_unknown_words_is_measured_on_every_kth_text(knobs, monkeypatch):
    monkeypatch.setattr(fitting, "MAX_MEASURED", 9 * 50)
    auto = knobs.model_copy(update={"kind": "auto"})
    texts = [text for n in range(50) for text in ("good film", f"rare{n:05}")]  # every second text is known
    assert kind_of(fit(texts, auto, measure(texts))) == "word"


@pytest.mark.parametrize("kind", KINDS)
def test_an_explicit_kind_is_used_for_any_script(knobs, kind):
    assert kind_of(fit(["好"], knobs.model_copy(update={"kind": kind}), measure(["好"]))) == kind


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_of_very_many_texts_every_kth_is_used(texts, knobs, kind, monkeypatch):
    monkeypatch.setattr(fitting, "MAX_CHARACTERS", sum(map(len, texts)) // 3 + 1)
    assert fitted_on(texts, knobs, kind=kind).to_str() == fitted_on(texts[::3], knobs, kind=kind).to_str()


# Normalisation


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Isn't it GOOD?", ["isn", "'", "t", "it", "good", "?"]),
        ("good<br /><br />bad", ["good", "bad"]),
        ("很好看", ["很", "好", "看"]),
        ("Хороший фильм.", ["хороший", "фильм", "."]),
        ("فيلم جيد", ["فيلم", "جيد"]),
        ("ﬁne ＦＩＬＭ", ["fine", "film"]),  # compatibility forms are folded
        ("café", ["café"]),  # accents stay
        ("a\u0000b\u200bc", ["abc"]),  # control and invisible characters go
    ],
)
def test_words_are_separated_alike_in_every_script(knobs, text, expected):
    assert pieces(fitted_on([text], knobs, kind="word"), text) == expected


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("changed", "text", "expected"),
    [
        ({"lowercase": True}, "Good ÉTÉ ПРИВЕТ", "good été привет"),
        ({"lowercase": False}, "Good ÉTÉ", "Good ÉTÉ"),
        ({"unicode": "nfkc"}, "ﬁ ＡＢ① cafe\u0301", "fi ab1 café"),
        ({"unicode": "nfc"}, "ﬁ Ｂ① cafe\u0301", "ﬁ ｂ① café"),
        ({"unicode": "none"}, "ﬁ cafe\u0301", "ﬁ cafe\u0301"),
        ({"strip_accents": True}, "Café naïve Việt ёлка Ἀθῆναι", "cafe naive viet елка αθηναι"),
        ({"strip_accents": True}, "שָׁלוֹם مُحَمَّد", "שלום محمد"),
        ({"strip_accents": True}, "がぎ เป็นที่ हिन्दी 각", "がぎ เป็นที่ हिन्दी 각"),  # letters there, not accents
        ({"strip_accents": False}, "café", "café"),
        ({"strip_html": True}, 'a<br />b<BR>c <a href="/x?y=1" target=_blank>d</a>', "a b c d"),
        ({"strip_html": True}, "fish &amp; chips&nbsp;&#39;hot&#x27; &amp;quot;", "fish chips hot"),
        ({"strip_html": True}, "so <!-- not shown --> far", "so far"),
        ({"strip_html": True}, "3 < 4 and 5 > 2, a<7>b", "3 < 4 and 5 > 2, a<7>b"),
        (
            {"strip_html": True},
            "if a <b and c> d <sigh> i <3 u >.< AT&T; x & y;",
            "if a <b and c> d <sigh> i <3 u >.< at&t; x & y;",
        ),
        ({"strip_html": False}, "a<br />b &amp; c", "a<br />b &amp; c"),
        ({}, "tab\tline\nbreak\u2028em\u2003end\x00\x1b\ufeff\u200e", "tab line break em end"),
    ],
)
def test_normalisation_does_what_its_options_say(knobs, kind, changed, text, expected):
    again = Tokenizer.from_str(fitted_on([text], knobs, kind=kind, **changed).to_str())  # the JSON alone is what serves
    # Han characters are set apart for the word kind, and what was removed leaves a space.
    assert normal(again, text).split() == expected.split()


@pytest.mark.parametrize(
    "hostile",
    [
        "<a " * 50_000,
        "<!--" * 50_000,
        '<a b="' * 50_000,
        "&" + "amp;" * 50_000,
        "<a" + " " * 500_000,
        "<a x" + "=\n" * 50_000,
    ],
    ids=["tags", "comments", "attributes", "entities", "spaces", "values"],
)
def test_no_text_makes_the_html_expression_fail(every, hostile):
    assert len(TextEncoder(every["word"], 512)([hostile])[0]) > 0


# Encoding


@pytest.mark.parametrize("text", ["\u200b", "\x00", "", " ", "<br />", "\ufeff"])
def test_a_text_that_normalises_to_nothing_is_one_unknown_token(fitted, text):
    assert [ids.tolist() for ids in TextEncoder(fitted, 10)([text])] == [[UNKNOWN_ID]]


@pytest.mark.parametrize("text", ["[PAD]", "[PAD] [PAD]", "x[PAD]", "［PAD］", "[UNK]", "[ PAD ]"])
def test_the_name_of_a_special_token_in_a_text_is_text(knobs, tmp_path, text):
    texts = ["the [PAD] of a [UNK] [PAD] [UNK] pad unk x"] * 30
    for kind in KINDS:
        for lowercase in (True, False):
            tokenizer = fitted_on(texts, knobs, kind=kind, lowercase=lowercase)
            tokenizer.save(str(tmp_path / "tokenizer.json"))
            for one in (tokenizer, load(tmp_path / "tokenizer.json")):
                assert not {"[PAD]", "[UNK]"} & set(pieces(one, text.replace("［", "[").replace("］", "]")))
                assert PADDING_ID not in TextEncoder(one, 10)([text])[0]


@given(st.lists(st.text(), max_size=5), st.integers(2, 8))
@example(MIXED, 2)
@example(MIXED, 4)
def test_any_text_gives_ids_in_range_and_never_padding(every, some, max_length):
    for tokenizer in every.values():
        encoded = TextEncoder(tokenizer, max_length)(some)
        assert len(encoded) == len(some)
        for ids in encoded:
            assert ids.dtype == np.int32
            assert 1 <= len(ids) <= max_length
            assert (ids > PADDING_ID).all()
            assert (ids < tokenizer.get_vocab_size()).all()


@pytest.fixture(scope="module", params=[True, False], ids=["normalised", "not normalised"])
def one_of_each_kind(request, texts, knobs):
    changed = dict.fromkeys(("lowercase", "strip_accents", "strip_html"), request.param)
    changed["unicode"] = "nfkc" if request.param else "none"
    return [fitted_on(texts, knobs, kind=kind, **changed) for kind in KINDS]


@settings(deadline=None)
@given(st.lists(st.text(st.characters(max_codepoint=126) | st.sampled_from("<>&;/ bBéΣİ我")), max_size=5))
@example(
    [
        "<br />Fine &amp;  GOOD",
        "tab\tand\x00control\x7f",
        "",
        " ",
        "[PAD] [UNK]",
        "<BR>",
        "İSTANBUL",
        "plain",
        "ﬁne",
        "e\u0301",
    ]
)
def test_the_fast_path_for_ascii_gives_the_same_ids(one_of_each_kind, some):
    for tokenizer in one_of_each_kind:
        expected = [tokenizer.encode(text, add_special_tokens=False).ids or [UNKNOWN_ID] for text in some]
        assert [ids.tolist() for ids in TextEncoder(tokenizer, 1_000)(some)] == expected


@pytest.mark.parametrize("normalises", [True, False])
def test_reviews_take_the_fast_path_and_get_the_same_ids(texts, knobs, normalises):
    knobs = knobs.model_copy(update={"lowercase": normalises, "strip_html": normalises})
    tokenizer = fitted_on(texts, knobs, kind="word", unicode="nfkc" if normalises else "none")
    reviews = [text.replace(". ", ".\n", 1) for text in english(300)[0] if text.isascii() and text.isprintable()]
    assert len(reviews) > 100
    expected = [tokenizer.encode(text, add_special_tokens=False).ids for text in reviews]
    encoder = TextEncoder(tokenizer, 100_000)
    encoder.tokenizer = SimpleNamespace(encode_batch_fast=lambda some, **_: [pytest.fail("the slow path") for _ in some])
    assert [ids.tolist() for ids in encoder(reviews)] == expected


@given(st.text())
@example("  Two  spaces\n")
def test_bpe_decodes_to_the_normalised_text(every, text):
    tokenizer = every["bpe"]
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    assert UNKNOWN_ID not in ids
    assert tokenizer.decode(ids) == normal(tokenizer, text)


@pytest.mark.parametrize("language", ["ja", "th", "ar", "he", "hi", "ko", "my", "ru", "zh_Hant"])
def test_decoding_restores_real_text_in_every_script(every, language):
    for text in translations(language)[:200]:
        for kind, tokenizer in every.items():
            ids = tokenizer.encode(text, add_special_tokens=False).ids
            back = tokenizer.decode(ids, skip_special_tokens=False)
            if kind == "bpe":
                assert back == normal(tokenizer, text)
            elif UNKNOWN_ID not in ids:
                assert "".join(back.split()) == "".join(normal(tokenizer, text).split())


@pytest.mark.parametrize("language", ["ja", "th"])
def test_unigram_covers_the_script_that_it_was_fitted_on(knobs, language):
    texts = translations(language)
    ids = np.concatenate(TextEncoder(fitted_on(texts[::2], knobs, kind="unigram"), 10_000)(texts[1::2]))
    assert (ids == UNKNOWN_ID).mean() < 0.1


def test_a_text_is_encoded_the_same_alone_and_among_thousands(fitted, texts):
    few = texts[::9]
    many = few * (2500 // len(few) + 1)
    alone = [TextEncoder(fitted, 512)([text])[0] for text in few]
    together = TextEncoder(fitted, 512)(many)
    assert len(together) == len(many) > 2000
    for index, ids in enumerate(together):
        np.testing.assert_array_equal(ids, alone[index % len(few)])


@settings(max_examples=50)
@given(st.lists(st.text(), max_size=8))
def test_a_saved_tokenizer_encodes_like_the_fitted_one(every, tmp_path_factory, some):
    for kind, tokenizer in every.items():
        path = tmp_path_factory.getbasetemp() / f"{kind}.json"
        if not path.exists():
            tokenizer.save(str(path))
        for one, other in zip(TextEncoder(load(path), 20)(some), TextEncoder(tokenizer, 20)(some), strict=True):
            np.testing.assert_array_equal(one, other)


@given(st.lists(st.integers(), max_size=40), st.integers(2, 20))
def test_truncation_keeps_the_head_and_the_tail(ids, max_length):
    short = truncate(np.array(ids, dtype=object), max_length).tolist()
    if len(ids) <= max_length:
        assert short == ids
    else:
        head, tail = (max_length + 1) // 2, max_length // 2
        assert len(short) == max_length
        assert short[:head] == ids[:head]
        assert short[head:] == ids[-tail:]


# The file


def test_a_missing_tokenizer_is_reported(tmp_path):
    with pytest.raises(StageOutputError, match=r"tokenizer\.json: missing"):
        load(tmp_path / "tokenizer.json")


@pytest.mark.parametrize("content", [b"", b"{", b"{}", b'{"version": "1.0", "model": {"type": "Nothing"}}', b"\xff\xfe"])
def test_a_damaged_tokenizer_is_a_one_line_error(tmp_path, content):
    (tmp_path / "tokenizer.json").write_bytes(content)
    with pytest.raises(StageOutputError, match=r"tokenizer\.json: damaged") as caught:
        load(tmp_path / "tokenizer.json")
    assert "\n" not in str(caught.value)


def test_the_file_is_the_tokenizers_librarys_own_format(fitted, tmp_path):
    fitted.save(str(tmp_path / "tokenizer.json"))
    assert Tokenizer.from_file(str(tmp_path / "tokenizer.json")).get_vocab() == fitted.get_vocab()
