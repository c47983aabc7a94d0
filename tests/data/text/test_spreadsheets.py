"""A spreadsheet calculates nothing that others wrote, and ordinary text does not change."""

import csv
import io
import re

import pytest

from headway.data.text.spreadsheets import spreadsheet_cell
from tests.test_foreign_text import ORDINARY

FORMULA = re.compile("^[=+\\-@\t\r\n＝＋－＠]")


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_text_of_every_script_stays_as_it_is(text):
    assert spreadsheet_cell(text) == text


@pytest.mark.parametrize(
    "cell", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "＝1", "'=1", "''+1", "x", "'x", "", "a=1"]
)
def test_a_spreadsheet_calculates_no_cell_and_the_apostrophe_can_be_undone(cell):
    written = spreadsheet_cell(cell)
    file = io.StringIO(newline="")
    csv.writer(file).writerow([written, 1])
    assert not FORMULA.match(file.getvalue().lstrip('"'))
    undone = written[1:] if re.match("'+[=+\\-@\t\r\n＝＋－＠]", written) else written
    assert undone == cell
