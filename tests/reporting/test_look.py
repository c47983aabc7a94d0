"""The look that all pages share: colours that everyone can tell apart, and one way to show a number, a check and a text."""

import re
from itertools import combinations

import numpy as np
import pytest

from headway.reporting import pages
from headway.reporting.explanation.coloured import Coloured, Piece
from headway.reporting.figures import PALETTE
from headway.reporting.formatting import points

#: Simulated colour vision at full severity, as matrices for linear RGB (Machado, Oliveira & Fernandes 2009, "A
#: physiologically-based model for simulation of color vision deficiency").
VISION = {
    "normal": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
WHITE = TO_XYZ.sum(axis=1)


def linear(colour):
    """Linear RGB of a hex colour."""
    parts = np.array([int(colour[start : start + 2], 16) for start in (1, 3, 5)]) / 255
    return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)


def lab(rgb):
    """CIELAB of linear RGB, in which a distance of about 2 can just be seen."""
    x, y, z = np.cbrt(TO_XYZ @ np.clip(rgb, 1e-6, 1) / WHITE)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def contrast(one, other):
    """Contrast of two colours after WCAG 2."""
    dark, light = sorted(float(TO_XYZ[1] @ linear(colour)) for colour in (one, other))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("screen", [0, 1], ids=["light", "dark"])
def test_the_palette_is_told_apart_under_every_colour_blindness_and_its_texts_are_readable(screen):
    for one, other in combinations(("blue", "red", "gold"), 2):
        for name, vision in VISION.items():
            seen = [lab(np.array(vision) @ linear(PALETTE[colour][screen])) for colour in (one, other)]
            assert np.linalg.norm(seen[0] - seen[1]) > 15, (one, other, name)
    for text in ("ink", "grey", "blue", "red"):
        for ground in ("paper", "card", "tint"):
            assert contrast(PALETTE[text][screen], PALETTE[ground][screen]) >= 4.5, (text, ground)


@pytest.fixture
def shown(tmp_path):
    """A function that renders a piece of a template and returns the body."""

    def show(body, **content):
        path = tmp_path / "page.html"
        path.write_text(
            '{% extends "frame.html" %}{% import "macros.html" as m with context %}{% block title %}x{% endblock %}'
            f"{{% block body %}}{body}{{% endblock %}}"
        )
        return re.search(r"<main>\n(.*)\n?</main>", pages.render(path, **content).html, re.DOTALL)[1].strip()

    return show


def test_a_difference_is_shown_in_points_with_its_interval_and_an_absent_one_as_a_dash():
    assert points(0.024, 0.0151, 0.0334) == "+2.40 points (1.51 to 3.34)"
    assert points(-0.001, -0.02, -0.00001) == "−0.10 points (−2.00 to 0.00)"
    assert points(0.0) == "0.00 points"
    assert points(None, 0.1, 0.2) == "—"


def test_a_number_has_its_interval_if_there_is_one(shown):
    assert shown("{{ m.measured(0.5, 0.4, 0.6) }}") == (
        '<span class="measured">0.5000 <small>(0.4000 to 0.6000)</small></span>'
    )
    assert shown("{{ m.measured(none, 0.4, none) }}") == '<span class="measured">—</span>'


def test_a_mark_says_in_words_whether_a_check_passed(shown):
    assert 'aria-label="passed">✓' in shown("{{ m.mark(true) }}")
    assert 'aria-label="failed">✗' in shown("{{ m.mark(false) }}")


def test_a_table_scrolls_in_a_box_that_the_keyboard_reaches(shown):
    box = shown('{% call m.scrolling("Sc<ores", tall=true) %}<table></table>{% endcall %}')
    assert box == '<div class="scroll tall" role="region" tabindex="0" aria-label="Sc&lt;ores"><table></table></div>'


def test_a_highlighted_text_stays_the_text(shown):
    found = [
        Coloured(Piece("token", "<b> so", 0, 0), 0.5, 1.0, "+0.500"),
        Coloured(Piece("gap", "\n "), 0.0, 0.0, ""),
        Coloured(Piece("token", "שלום", 1, 1), -0.25, -0.5, "−0.250"),
    ]
    box = shown('{{ m.highlighted(found, "words") }}', found=found)
    assert re.sub(r"<[^>]*>", "", box) == "&lt;b&gt; so\n שלום"
    assert '<span class="against" style="--w:0.500" title="−0.250">שלום</span>' in box
    assert 'dir="auto"' in box


def test_the_picture_of_a_difference_has_zero_interval_and_limit_in_order(shown):
    picture = shown("{{ m.difference(0.02, 0.01, 0.03, -0.03) }}")
    at = {
        name: float(re.search(rf'class="{name}" (?:x1|cx)="([\d.]+)%"', picture)[1]) for name in ("zero", "limit", "value")
    }
    low, high = map(float, re.search(r'class="interval" x1="([\d.]+)%" x2="([\d.]+)%"', picture).groups())
    assert 0 <= at["limit"] < at["zero"] < low < at["value"] < high <= 100
    assert 'aria-label="+2.00 points (1.00 to 3.00); limit −3.00 points"' in picture
    assert 'class="limit"' not in shown("{{ m.difference(0.0, 0.0, 0.0) }}")
