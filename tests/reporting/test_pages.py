"""The frame that all pages have: one style sheet, and nothing loaded from outside."""

import re
from pathlib import Path

import pytest
from jinja2 import UndefinedError

import headway
from headway.reporting import pages

PACKAGE = Path(headway.__file__).parent
TEMPLATES = [path for path in sorted(pages.SHARED.rglob("*.html")) if path.parent != pages.SHARED]


@pytest.fixture
def template(tmp_path):
    path = tmp_path / "page.html"
    path.write_text(
        '{% extends "frame.html" %}{% block title %}{{ name }}{% endblock %}'
        "{% block policy %}; img-src data:{% endblock %}{% block body %}<p>{{ rows | count }} {{ name | loud }}</p>{% endblock %}"
    )
    return path


def test_a_page_has_the_frames_head_and_its_own_words_escaped(template):
    html = pages.render(template, filters={"loud": str.upper}, name="<b>", rows=1_000).html
    assert html.startswith("<!DOCTYPE html>")
    assert "<title>&lt;b&gt;</title>" in html
    assert "<p>1,000 &lt;B&gt;</p>" in html
    assert """content="default-src 'none'; style-src 'unsafe-inline'; img-src data:\"""" in html
    assert "@media screen and (prefers-color-scheme: dark)" in html
    assert not re.search(r"(src|href)=|https?://|@import|url\(", html)


def test_a_name_that_is_missing_is_an_error(template):
    with pytest.raises(UndefinedError, match="'name' is undefined"):
        pages.render(template, filters={"loud": str.upper}, rows=1)


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_every_page_has_the_frame_and_no_head_of_its_own(path):
    text = path.read_text(encoding="utf-8")
    assert text.startswith('{% extends "frame.html" %}\n')
    assert not re.search(r"<(html|head|style|meta|body)\b", text)
