"""How errors of other libraries are quoted in ours."""

import pytest

from headway.errors import first_line, redact_credentials


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://user:secret@host:5000/path", "https://host:5000/path"),
        ("postgresql://user:p@ss@host/mlflow", "postgresql://host/mlflow"),
        ("API request to http://user:secret@host/api failed", "API request to http://host/api failed"),
        ("http://host/a@b", "http://host/a@b"),
        ("sqlite:////home/me@work/mlflow.db", "sqlite:////home/me@work/mlflow.db"),
    ],
)
def test_credentials_in_uris_are_redacted(text, shown):
    assert redact_credentials(text) == shown


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
