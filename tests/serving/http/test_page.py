"""The page of the service as a document: it works offline, and has the look of the reports."""

import re
from pathlib import Path

import pytest

from headway.reporting.figures import PALETTE
from headway.serving.http import page as module
from headway.serving.http.page import page, status_page

DOCUMENTS = pytest.mark.parametrize("document", [page, status_page])


@DOCUMENTS
@pytest.mark.parametrize("name", ["style", "script"])
def test_a_document_has_one_style_sheet_and_one_script_and_nothing_else_inline(name, document):
    html = document()
    assert html.count(f"<{name}") == html.count(f"</{name}>") == 1
    assert f"/* {name} */" not in html
    body = re.sub(r"<(style|script)>.*?</\1>", "", html, flags=re.DOTALL)
    assert not re.search(r'<[^>]* (style|on\w+)="', body)


@DOCUMENTS
def test_a_document_refers_to_nothing_outside_itself_but_the_services_other_pages(document):
    html = document()
    assert set(re.findall(r'(?:src|href|action)="([^"]*)"', html)) <= {"docs", "status", "./"}
    assert not re.search(r"https?:|@import|url\(|\binnerHTML\b|\beval\b", html)


def test_the_document_says_what_a_file_needs_and_what_comes_back():
    words = " ".join(re.sub("<[^>]+>", " ", page()).split())
    assert "The file needs one column with the texts." in words
    assert "four more: label, probability, model version and, for a row without a label, the reason." in words
    assert "API documentation" in words


def test_every_file_of_the_folder_is_in_a_document():
    parts = [path for path in Path(module.__file__).parent.iterdir() if path.suffix in (".css", ".js")]
    assert len(parts) == 1 + len({*module.SCRIPTS, *module.STATUS_SCRIPTS})
    for document, scripts in ((page(), module.SCRIPTS), (status_page(), module.STATUS_SCRIPTS)):
        own = [path for path in parts if path.suffix == ".css" or path.name in scripts]
        assert all(path.read_text(encoding="utf-8").strip() in document for path in own)


@pytest.mark.parametrize("screen", [0, 1], ids=["light", "dark"])
def test_the_colours_are_those_of_the_reports(screen):
    palettes = [dict(re.findall(r"--(\w+): (#\w+);", block)) for block in re.findall(r":root \{(.*?)\}", page())]
    assert palettes[screen] == {name: colours[screen] for name, colours in PALETTE.items()}
