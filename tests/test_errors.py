"""How errors of other libraries are quoted in ours."""

import pytest

from headway.errors import HeadwayError, first_line


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("\n first\nsecond"), "first"),
        (KeyError(), "KeyError"),
        (OSError("http://user:secret@host failed\nmore"), "http://host failed"),
        (ValueError("x" * 1000), "x" * 300),
        ("fatal: bad revision\n", "fatal: bad revision"),
    ],
)
def test_the_first_line_of_an_error_is_short_and_has_no_credentials(error, line):
    assert first_line(error) == line


def test_an_error_is_one_line_without_control_characters():
    assert str(HeadwayError("label 'a\nb\x1b[31m'")) == r"label 'a\nb\x1b[31m'"
