"""Encodings are recognised on real text, and a row that is not in its file's encoding is reported."""

import codecs
import csv
import io
import json

import pytest

from headway.data.sources import streams

UNICODE = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]


def as_csv(texts):
    """The content of a CSV file, and its rows."""
    rows = [(text, str(number % 2)) for number, text in enumerate(texts)]
    out = io.StringIO()
    csv.writer(out).writerows([("text", "label"), *rows])
    return out.getvalue(), rows


@pytest.mark.parametrize("encoding", [*UNICODE, "gb18030"])
def test_chinese_reviews_are_read_in_every_encoding_that_can_hold_them(read_file, chinese, encoding):
    content, rows = as_csv(chinese)
    read = read_file("a.csv", content.encode(encoding))
    assert read.rows == rows
    assert codecs.lookup(read.manifest.files[0].encoding) == codecs.lookup(encoding)


@pytest.mark.parametrize("encoding", UNICODE)
def test_english_reviews_are_read_in_every_unicode_encoding(read_file, sentences, encoding):
    content, rows = as_csv(sentences["text"])
    assert read_file("a.csv", content.encode(encoding)).rows == rows


@pytest.mark.parametrize("mark", [codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE])
def test_a_byte_order_mark_gives_the_byte_order(read_file, chinese, mark):
    content, rows = as_csv(chinese[:10])
    assert read_file("a.csv", mark + content.encode("utf-16-be" if len(mark) == 2 else "utf-32-be")).rows == rows


@pytest.mark.parametrize(
    ("language", "encoding"),
    [
        ("ar", "cp1256"),
        ("ru", "cp1251"),
        ("ru", "koi8_r"),
        ("zh_Hant", "big5"),
        ("ja", "shift_jis"),
        ("ja", "euc_jp"),
        ("ko", "euc_kr"),
        ("el", "cp1253"),
        ("he", "cp1255"),
        ("tr", "cp1254"),
        ("pl", "cp1250"),
        ("fr", "cp1252"),
        ("th", "cp874"),
    ],
)
def test_legacy_encodings_are_recognised_by_their_letters(read_file, translations, language, encoding):
    def fits(text):
        try:
            return text.encode(encoding).decode(encoding) == text
        except UnicodeEncodeError:
            return False

    texts = [text for text in translations(language) if fits(text)]
    assert len(texts) > 100
    content, rows = as_csv(texts)
    assert read_file("a.csv", content.encode(encoding)).rows == rows


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("très été déjà", "cp1252"),
        ("El niño también comió jamón ayer, ¿qué más? ¡Olé!", "cp1252"),
        ("Größe, Fuß, schön", "cp1252"),
        ("Não há ações. “São” lições…", "cp1252"),
        ("Żółta łódka płynie, a źródło bije wśród gęstych traw", "cp1250"),
        ("Nő a főváros, erősen fűt az időjárás, bőven süt", "cp1250"),
        ("Ağaçların gölgesinde şarkı söylüyor, çocuğun kağıdı", "cp1254"),
    ],
)
def test_a_few_accented_words_are_western_unless_only_another_language_has_their_letters(read_file, text, encoding):
    rows = [(f"{text} {number}", str(number % 2)) for number in range(5)]
    content = "\n".join(["text,label", *(f'"{text}",{label}' for text, label in rows)]).encode(encoding)
    read = read_file("a.csv", content)
    assert read.rows == rows
    assert (read.manifest.files[0].encoding, read.manifest.files[0].encoding_guessed) == (encoding, True)


@pytest.mark.parametrize(
    "language", ["es", "pt", "de", "it", "sv", "da", "nb", "nl", "fi", "is", "ca", "hu", "cs", "lt", "et", "vi"]
)
def test_code_pages_of_the_latin_script_are_distinguished(read_file, translations, language):
    pages = {"hu": "cp1250", "cs": "cp1250", "lt": "cp1257", "et": "cp1257", "vi": "cp1258"}
    encoding = pages.get(language, "cp1252")
    content, rows = as_csv([text.encode(encoding, "ignore").decode(encoding) for text in translations(language)])
    assert read_file("a.csv", content.encode(encoding)).rows == rows


def test_a_few_damaged_rows_of_plain_english_do_not_change_the_encoding(read_file, sentences):
    lines = [f"{text.replace(',', ' ').replace(chr(34), ' ')},1".encode("ascii", "ignore") for text in sentences["text"]]
    for row, damage in enumerate([b"\xff\xfe", b"caf\xc3", b"\xf0\x9f", b"\x81\x8d", b"\xe2\x82"] * 2):
        lines[row * 90 + 5] = b"a film " + damage + b" of note,1"
    read = read_file("a.csv", b"\n".join([b"text,label", *lines]))
    assert (read.manifest.files[0].encoding, read.manifest.files[0].encoding_guessed) == ("utf-8", False)
    assert list(read.problems) == [row * 90 + 6 for row in range(10)]


def test_the_encoding_is_recognised_from_letters_far_down_the_file(read_file, sentences, translations):
    english = [text for text in sentences["text"] if text.isascii()]
    content, rows = as_csv([*(english * 12), *translations("ru")])
    read = read_file("a.csv", content.encode("cp1251", "replace"))
    assert read.manifest.files[0].encoding == "cp1251"
    assert read.rows[: len(english)] == rows[: len(english)]


def test_letters_beyond_the_head_are_read_as_utf_8_or_reported(read_file, monkeypatch):
    monkeypatch.setattr(streams, "HEAD", 1000)
    english = "text,label\n" + "fine,1\n" * 200
    assert read_file("a.csv", f"{english}好,0\n").rows[-1] == ("好", "0")
    read = read_file("a.csv", english.encode() + "café,0\nfine,0\n".encode("cp1252"))
    assert read.problems == {201: "the text is not valid utf-8"}
    assert len(read.rows) == 202


def test_a_character_cut_at_the_end_of_the_head_is_read_whole(read_file, monkeypatch):
    monkeypatch.setattr(streams, "HEAD", 1 << 16)
    text = "好" * (streams.HEAD // 3 + 10)
    for shift in ("", "x", "xx"):
        assert read_file("a.csv", f"text,label\n{shift}{text},1\n").rows == [(shift + text, "1")]


def test_a_few_rows_that_are_not_utf_8_do_not_change_the_encoding(read_file, chinese):
    lines = [f"{text.replace(',', ' ')},1".encode() for text in chinese[:500] if '"' not in text]
    lines[7] = "café,1".encode("latin-1")
    read = read_file("a.csv", b"\n".join([b"text,label", *lines]))
    assert read.manifest.files[0].encoding == "utf-8"
    assert read.problems == {8: "the text is not valid utf-8"}


@pytest.fixture
def accented(sentences):
    """2,000 rows of English, of which 14 have an "é" or "è" as English does."""
    words = ["café", "cliché", "fiancée", "résumé", "touché", "décor", "protégé"]
    texts = [text for text in sentences["text"] if text.isascii()] * 3
    return [f"{text} {words[number % 7]}" if number % 140 == 99 else text for number, text in enumerate(texts[:2000])]


def test_english_with_a_few_accents_is_recognised_as_cp1252(read_file, accented):
    content, rows = as_csv(accented)
    assert sum(not text.isascii() for text in accented) == 14
    for encoding in ("cp1252", "utf-8"):
        assert read_file("a.csv", content.encode(encoding)).rows == rows


def test_a_few_damaged_rows_among_few_accents_do_not_change_the_encoding(read_file, accented):
    lines = [f"{text.replace(',', ' ').replace(chr(34), ' ')},1".encode() for text in accented]
    for row in (5, 100, 1500):
        lines[row] = "café,1".encode("latin-1")
    read = read_file("a.csv", b"\n".join([b"text,label", *lines]))
    assert read.manifest.files[0].encoding == "utf-8"
    assert list(read.problems) == [6, 101, 1501]


def test_the_first_row_beyond_ascii_does_not_decide_the_encoding_alone(read_file, sentences, chinese):
    plain = (text.encode("ascii", "ignore").replace(b'"', b"").replace(b",", b"") for text in sentences["text"])
    english = b"".join(text + b",1\n" for text in plain)
    later = "".join(f"{text},1\n" for text in chinese[:50] if "," not in text and '"' not in text)
    content = b"text,label\ncaf\xe9,1\n" + english * 12 + later.encode()
    read = read_file("a.csv", content)
    assert read.manifest.files[0].encoding == "utf-8"
    assert list(read.problems) == [1]


def test_a_character_that_is_not_valid_gb18030_costs_only_its_row(read_file, chinese):
    content, rows = as_csv(chinese[:500])
    damaged = content.encode("gb18030") + b"\x81\xff\xff,1\r\n" + content.encode("gb18030")[len("text,label\r\n") :]
    read = read_file("a.csv", damaged, encoding="gb18030")
    assert read.problems == {501: "the text is not valid gb18030"}
    assert [*read.rows[:500], *read.rows[501:]] == rows * 2


@pytest.mark.parametrize("wanted", ["gb18030", "GB18030", "utf-8", "utf-16", "utf-16-le"])
def test_a_named_encoding_is_used_and_its_byte_order_mark_skipped(read_file, chinese, wanted):
    content, rows = as_csv(chinese[:3])
    plain = content.encode(wanted)
    for mark in (b"", {"utf-8": codecs.BOM_UTF8, "utf-16-le": codecs.BOM_UTF16_LE}.get(wanted, b"")):
        assert read_file("a.csv", mark + plain, encoding=wanted).rows == rows


def test_json_lines_are_read_in_other_encodings(read_file, chinese):
    lines = "".join(json.dumps({"text": text, "label": "好"}, ensure_ascii=False) + "\r\n" for text in chinese[:300])
    expected = [(text, "好") for text in chinese[:300]]
    for encoding in ("utf-16", "utf-16-be", "gb18030"):
        assert read_file("a.jsonl", lines.encode(encoding)).rows == expected


def test_a_text_with_zero_bytes_is_not_taken_for_utf_16(read_file):
    read = read_file("a.csv", "text,label\n\0fine\0,1\ndull,0\n\0\0,1\n")
    assert read.rows == [("\0fine\0", "1"), ("dull", "0"), ("\0\0", "1")]


def test_an_unrecognisable_encoding_is_an_error_with_advice(refusal):
    noise = bytes(range(128, 256)) * 40
    assert refusal("a.csv", b"text,label\n" + noise).startswith(
        "a.csv: the encoding cannot be recognised; name it in data.enc"
    )


def test_a_codec_that_is_not_a_text_encoding_is_an_error(refusal):
    assert refusal("a.csv", "text,label\nx,1\n", encoding="hex").startswith("data.encoding: hex is not a text encoding")
