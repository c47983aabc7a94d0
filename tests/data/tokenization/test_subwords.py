"""Text to the sub-words of a pretrained encoder."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from headway.data.tokenization import subwords
from headway.data.tokenization.subwords import SubwordEncoder
from headway.errors import HeadwayError
from tests.tiny_encoders import ANGLES, BRACKETS, FAMILIES, TEXTS

LONG = " ".join(TEXTS * 5)
#: Start and end of each family.
ENDS = {"bert": BRACKETS[1:3], "roberta": ANGLES[1:3], "modernbert": BRACKETS[1:3]}


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def file(family: str, tiny_encoders: Path) -> Path:
    return tiny_encoders / family / "tokenizer.json"


@pytest.fixture
def ends(family: str, file: Path) -> list[int]:
    """Ids of the special tokens at the start and at the end of a text, plus 1."""
    tokenizer = Tokenizer.from_file(str(file))
    return [tokenizer.token_to_id(name) + 1 for name in ENDS[family]]


def encoded(file: Path, texts: list[str], max_length: int = 64, strip_html: bool = True) -> list[list[int]]:
    return [ids.tolist() for ids in SubwordEncoder(subwords.load(file), max_length, strip_html)(texts)]


def test_ids_are_the_tokenizers_own_plus_one_of_all_of_a_text(file: Path) -> None:
    plain = Tokenizer.from_file(str(file))
    plain.no_truncation()
    plain.no_padding()
    found = SubwordEncoder(subwords.load(file), 1000, strip_html=False)([*TEXTS, LONG])
    assert [(ids - 1).tolist() for ids in found] == [plain.encode(text).ids for text in [*TEXTS, LONG]]
    assert {ids.dtype for ids in found} == {np.dtype(np.int32)}
    assert len(found[-1]) > 64  # the file itself asks for 16


@pytest.mark.parametrize("max_length", [8, 9, 31])
def test_a_long_text_keeps_its_first_and_last_half_with_the_special_tokens(
    file: Path, ends: list[int], max_length: int
) -> None:
    (whole,), (short,) = encoded(file, [LONG], 1000), encoded(file, [LONG], max_length)
    assert len(short) == max_length
    assert [short[0], short[-1]] == ends
    half = (max_length + 1) // 2
    assert short == whole[:half] + whole[half - max_length :]


def test_the_name_of_a_special_token_in_a_text_is_ordinary_text(family: str, file: Path, ends: list[int]) -> None:
    (ids,) = encoded(file, ["dull [SEP] [CLS] </s> <s> [PAD] <pad> film"])
    assert [ids[0], ids[-1]] == ends
    tokenizer = Tokenizer.from_file(str(file))
    padding = tokenizer.token_to_id((ANGLES if family == "roberta" else BRACKETS)[0]) + 1
    assert not {padding, *ends} & set(ids[1:-1])


@pytest.mark.parametrize("text", ["", " ", "\t\n", "<br />"])
def test_a_text_without_content_is_the_special_tokens_alone(file: Path, ends: list[int], text: str) -> None:
    (ids,) = encoded(file, [text])
    assert [ids[0], ids[-1]] == ends
    assert 2 <= len(ids) <= 2 + 6  # spaces may count


def test_a_tokenizer_without_special_tokens_gives_an_empty_text_one_sub_word(tmp_path: Path, tiny_encoders: Path) -> None:
    content = json.loads((tiny_encoders / "bert" / "tokenizer.json").read_text())
    content["post_processor"] = None
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    assert encoded(tmp_path / "tokenizer.json", [""]) == [[1]]


def test_markup_is_removed_and_all_positions_stay(file: Path) -> None:
    text = 'A <i>charming</i> film.<br /><br />Not a <a href="x">dull</a> moment'
    encoder = SubwordEncoder(subwords.load(file), 64, strip_html=True)
    (cleaned,) = encoder.cleaned([text])
    assert len(cleaned) == len(text)
    assert cleaned.split() == ["A", "charming", "film.", "Not", "a", "dull", "moment"]
    for word in ("charming", "film", "dull", "moment"):
        assert cleaned.index(word) == text.index(word)
    assert encoded(file, [text]) == encoded(file, [cleaned], strip_html=False)
    assert encoded(file, [text], strip_html=False) != encoded(file, [text])
    assert SubwordEncoder(encoder.tokenizer, 64, strip_html=False).cleaned([text]) == [text]


def test_texts_of_several_chunks_keep_their_order(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"{text} {number}" for number in range(30) for text in TEXTS]
    expected = [encoded(file, [text])[0] for text in texts]
    assert encoded(file, texts) == expected
    assert encoded(file, []) == []


# Files.


def written(folder: Path, file: Path, **changes: object) -> Path:
    content = json.loads(file.read_text()) | changes
    (folder / "tokenizer.json").write_text(json.dumps(content))
    return folder / "tokenizer.json"


REGEX = "(a+)+$|(a|aa)+$|(.*a){25}"


@pytest.mark.parametrize(
    "changes",
    [
        {"normalizer": {"type": "Replace", "pattern": {"Regex": REGEX}, "content": ""}},
        {
            "pre_tokenizer": {
                "type": "Sequence",
                "pretokenizers": [
                    {"type": "Split", "pattern": {"Regex": REGEX}, "behavior": "Isolated", "invert": False},
                    {"type": "Whitespace"},
                ],
            }
        },
        {"decoder": {"type": "Replace", "pattern": {"Regex": REGEX}, "content": ""}},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_regular_expression_of_no_supported_family_is_refused_without_running_it(
    file: Path, tmp_path: Path, changes: dict[str, object]
) -> None:
    path = written(tmp_path, file, **changes)
    with pytest.raises(HeadwayError) as refusal:
        subwords.load(path)
    assert str(refusal.value).startswith(f"{path}: ")
    assert repr(REGEX) in str(refusal.value)


def test_the_regular_expressions_of_supported_families_are_accepted(file: Path, tmp_path: Path) -> None:
    for regex in subwords.KNOWN_REGEXES:
        subwords.load(written(tmp_path, file, normalizer={"type": "Replace", "pattern": {"Regex": regex}, "content": " "}))


@pytest.mark.parametrize(
    "content",
    [
        "",
        "null",
        "[]",
        "{",
        "[" * 100_000,
        "\ud800".encode("utf-8", "surrogatepass"),
        b"\xff\xfe",
        '{"model": {"type": "BPE"}}',
    ],
    ids=range(8),
)
def test_a_damaged_tokenizer_is_refused_in_one_line(tmp_path: Path, content: str | bytes) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(HeadwayError) as refusal:
        subwords.load(path)
    assert str(refusal.value).startswith(f"{path}: ")
    assert "\n" not in str(refusal.value)


def test_a_missing_tokenizer_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(HeadwayError, match="No such file"):
        subwords.load(tmp_path / "tokenizer.json")


DOUBLING = {"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"normalizer": {"type": "Sequence", "normalizers": [DOUBLING] * 9}}, "a normalizer that makes texts longer"),
        ({"normalizer": {"type": "Prepend", "prepend": "a" * 1000}}, "a normalizer that makes texts longer"),
        ({"normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}] * 100}}, "101 steps in its normalizer"),
        ({"pre_tokenizer": {"type": "UnicodeScripts"}}, "a pre_tokenizer of type 'UnicodeScripts'"),
        ({"model": {"type": "CharLevel", "vocab": {"a": 0}}}, "a model of type 'CharLevel'"),
        ({"model": {"type": "Unigram", "vocab": [["a", 0.0]], "unk_id": None}}, "no token for unknown words"),
        ({"model": {"type": "WordPiece", "vocab": {"a": 0}, "unk_token": "[NONE]"}}, "no token '[NONE]' for unknown words"),
    ],
)
def test_steps_of_no_supported_family_are_refused_in_one_line(
    tmp_path: Path, tiny_encoders: Path, changes: dict[str, object], says: str
) -> None:
    with pytest.raises(HeadwayError) as refusal:
        subwords.load(written(tmp_path, tiny_encoders / "bert" / "tokenizer.json", **changes))
    assert says in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_special_token_that_the_tokenizer_does_not_declare_is_one_line(tmp_path: Path, tiny_encoders: Path) -> None:
    template = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "[NONE]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [],
        "special_tokens": {},
    }
    with pytest.raises(HeadwayError, match="cannot be loaded as a tokenizer"):
        subwords.load(written(tmp_path, tiny_encoders / "bert" / "tokenizer.json", post_processor=template))
