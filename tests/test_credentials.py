"""Credentials never survive in what is shown or stored, and ordinary text does not change."""

import io
import logging
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from headway.credentials import HIDDEN, redact_credentials, refusal
from headway.environment import guard_logs
from headway.errors import HeadwayError

HOSTILE = st.text(st.sampled_from("aZ7/@#?:%&=+;!$'\"\\<>|{}[]~ é中"), min_size=1, max_size=12)
#: Recognisable within any text, so that a part that survives is found.
MARK = "qXz9"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://user:secret@host:5000/path", "https://host:5000/path"),
        ("postgresql://user:p@ss@host/mlflow", "postgresql://host/mlflow"),
        ("API request to http://user:secret@host/api failed", "API request to http://host/api failed"),
        ("http://user:pa/ss@host/x", "http://host/x"),
        ("http://user:pa#s?s@host/x", "http://host/x"),
        ("postgresql://headway:half secret @:/%@host/db failed", "postgresql://host/db failed"),
        ("http://u%3Ap@host/x", "http://host/x"),
        ("postgresql+psycopg2://u%3Ap@host/x", "postgresql+psycopg2://host/x"),
        ("s3://KEY:SEC/RET@bucket/reviews.csv: missing", "s3://bucket/reviews.csv: missing"),
        ("https://ghp_token@git.example.org/team/project.git", "https://git.example.org/team/project.git"),
        ("first http://a:b@c, then http://d:e@f", "first http://c, then http://f"),
        ("/reviews.csv?X-Amz-Signature=ab/c&part=1", f"/reviews.csv?X-Amz-Signature={HIDDEN}&part=1"),
        ("https://host/f?sv=2024&sig=a%2Fb", f"https://host/f?sv=2024&sig={HIDDEN}"),
        ("postgresql://host/db?PASSWORD=x&sslpassword=y", f"postgresql://host/db?PASSWORD={HIDDEN}&sslpassword={HIDDEN}"),
        ("https://host/f?p%61ssword=x", f"https://host/f?p%61ssword={HIDDEN}"),
        ("https://host/f?api_key=x&token=y#access_token=z", f"https://host/f?api_key={HIDDEN}&token={HIDDEN}"),
        ("host=db password='a b' dbname=x", f"host=db password='{HIDDEN}' dbname=x"),
        ("{'password': 'hunter22', 'port': 1}", f"{{'password': '{HIDDEN}', 'port': 1}}"),
        ('{"db_password":"a \\"b", "port": 1}', f'{{"db_password":"{HIDDEN}", "port": 1}}'),
        (r'"{\"password\": \"hunter22\"}"', rf'"{{\"password\": {HIDDEN}'),
        ("password: hunter22", f"password: {HIDDEN}"),
        ("the password: hunter22 is wrong", f"the password: {HIDDEN} is wrong"),
        ("password='hunter22 was cut", f"password='{HIDDEN}' was cut"),
        ("AccountName=a;AccountKey=b+/c==;EndpointSuffix=d", f"AccountName=a;AccountKey={HIDDEN}"),
        ("AccountKey=b+/c==;AccountName=a", f"AccountKey={HIDDEN}"),
        ("{'account_key': 'b+/c=='}", f"{{'account_key': '{HIDDEN}'}}"),
        ("Authorization: Basic dXNlcjpw", f"Authorization: Basic {HIDDEN}"),
        ("Bearer abc", f"Bearer {HIDDEN}"),
        ("headers: {'auth': 'Bearer abc'}", f"headers: {{'auth': 'Bearer {HIDDEN}'}}"),
        ("sent bearer 0a1b2c3d and failed", f"sent bearer {HIDDEN} and failed"),
        ("https://login/?next=http%3A%2F%2Fu%3Ap%40host", "https://login/?next=http%3A%2F%2Fhost"),
    ],
)
def test_credentials_are_redacted(text, shown):
    assert redact_credentials(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "http://host/a@b",
        "sqlite:////home/me@work/mlflow.db",
        "http://127.0.0.1:5000/a@b",
        "http://localhost:5000 does not answer; write to me@example.org",
        "http://host:5000: refused (me@example.org)",
        "expected a URL such as https://HOST:PORT/path",
        "https://host/f.csv?version=3&lang=de#part=1",
        "set PGPASSWORD or use ~/.pgpass",
        "accuracy +2.40 points (95% interval +1.51 to +3.34)",
        "git@git.example.org:team/project.git",
        "a ring bearer in 2003, the bearer of bad news; bearer tokens are accepted",
        "the server asks for a user and a password: put them into ~/.netrc",
        "the proxy asks for a password: check HTTPS_PROXY; an account key is needed",
        "expected a URL such as postgresql://user@host/database",
        "--timezone '../../etc/passwd': no such time zone; /etc/passwd: not found",
    ],
)
def test_text_without_credentials_is_unchanged(text):
    assert redact_credentials(text) == text


@given(before=HOSTILE, after=HOSTILE, scheme=st.sampled_from(["http", "https", "s3", "postgresql+psycopg"]))
def test_no_part_of_a_hostile_password_survives_in_a_url(before, after, scheme):
    for password in (f"{MARK}{before}{MARK}{after}{MARK}".replace(" ", ""), quote(f"{before}{MARK}{after}", safe="")):
        shown = redact_credentials(f"{scheme}://user:{password}@host.example/file.csv")
        assert MARK not in shown
        assert shown == f"{scheme}://host.example/file.csv"


@given(secret=HOSTILE, name=st.sampled_from(["token", "X-Amz-Signature", "sig", "PASSWORD", "sslpassword", "api_key"]))
def test_no_part_of_a_secret_survives_in_a_query(secret, name):
    shown = redact_credentials(f"https://host/f.csv?a=1&{name}={quote(f'{MARK}{secret}{MARK}', safe='')}&b=2")
    assert shown == f"https://host/f.csv?a=1&{name}={HIDDEN}&b=2"


@given(st.text(st.characters(exclude_characters="@=:")))
def test_text_without_the_signs_of_credentials_never_changes(text):
    assert redact_credentials(text) == text


@given(st.text(st.sampled_from("ab:/@?=&;# %"), max_size=40))
def test_redaction_is_idempotent(text):
    once = redact_credentials(f"http://{text}")
    assert redact_credentials(once) == once


@given(
    st.lists(
        st.sampled_from(["password", "a password", "Bearer", "'", '"', "\\", ":", "=", " ", "{", "}", ",", "a1"]),
        max_size=12,
    )
)
def test_redaction_of_assignments_is_idempotent(parts):
    once = redact_credentials("".join(parts))
    assert redact_credentials(once) == once


@pytest.mark.parametrize("name", ["AZURE_STORAGE_CONNECTION_STRING", "AZURE_STORAGE_SAS_TOKEN", "RAY_AUTH_TOKEN"])
def test_the_secrets_that_users_are_asked_to_set_are_found_in_any_text(monkeypatch, name):
    monkeypatch.setenv(name, "correct-horse")
    assert redact_credentials("refused: correct-horse") == f"refused: {HIDDEN}"


def test_a_password_of_the_environment_is_found_in_any_form(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:my p@ss word@host")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "correct-horse")
    assert redact_credentials("refused by http://user:my p@ss word@host") == "refused by http://host"
    assert redact_credentials("('user', 'correct-horse')") == f"('user', '{HIDDEN}')"


def test_an_error_never_holds_credentials_whoever_formats_it():
    error = HeadwayError("http://user:secret@host/f?sig=secret failed")
    for form in (str(error), repr(error), str(error.args)):
        assert "secret" not in form


def test_no_log_holds_credentials_or_control_characters(caplog):
    guard_logs()
    guard_logs()  # a second time changes nothing
    logger = logging.getLogger("a.package")
    logger.warning("connecting to %s (%d)", "http://user:secret@host", 1)
    logger.warning("label %s", "\x1b]0;x\x07")
    logger.warning("%d rows\nin two lines", 3)
    logger.warning("100% done")
    messages = [record.getMessage() for record in caplog.records]
    assert messages == ["connecting to http://host (1)", "label \\x1b]0;x\\x07", "3 rows\nin two lines", "100% done"]


def test_no_traceback_in_a_log_holds_credentials_or_control_characters():
    guard_logs()
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    logger = logging.getLogger("library.with.traceback")
    logger.addHandler(handler)
    try:
        for message in ("http://user:secret@host failed \x1b[2J", "an ordinary error"):
            try:
                raise ValueError(message)
            except ValueError:
                logger.exception("the call failed")
    finally:
        logger.removeHandler(handler)
    assert "secret" not in stream.getvalue()
    assert "\nValueError: http://host failed \\x1b[2J\n" in stream.getvalue()
    assert stream.getvalue().count("Traceback (most recent call last):\n") == 2
    assert stream.getvalue().endswith("\nValueError: an ordinary error\n")


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ("http://user:pa/ss@host/f.csv", "~/.netrc"),
        ("https://token@host/f.csv", "~/.netrc"),
        ("https://host/f.csv?X-Amz-Signature=secret", "curl"),
        ("s3://KEY:SECRET@bucket/f.csv", "AWS_SECRET_ACCESS_KEY"),
        ("postgresql://user:secret@host/db", "PGPASSWORD"),
        ("postgresql://u%3Asecret@host/db", "PGPASSWORD"),
        ("postgresql+psycopg://host/db?PASSWORD=secret", "PGPASSWORD"),
        ("postgresql://host/db?sslpassword=secret", "PGPASSWORD"),
        ("postgresql://user:secret word@host/db", "PGPASSWORD"),
        ("user:secret@host/db", "environment"),
        ("ray://user:secret@head:10001", "environment"),
        ("see https://example.com:8080/a and https://me:secret@example.com", "~/.netrc"),
        ("see https://example.com; password=secret", "environment"),
        ("host=db password='secret'", "environment"),
    ],
)
def test_a_value_with_credentials_is_refused_with_where_they_belong(value, place):
    reason = refusal(value)
    assert place in reason
    assert "secret" not in reason.lower().replace("secret_access_key", "")


@pytest.mark.parametrize(
    "value",
    [
        "data/input",
        "s3://bucket/a@b.csv",
        "postgresql://user@host/db",
        "https://host:8443/f.csv?v=2",
        "auto",
        "a: b@c",
        "",
        "mailto:me@x.org",
        "the password: see below",
        '"password" == text',
        '"password=" in text',
    ],
)
def test_a_value_without_credentials_is_accepted(value):
    assert refusal(value) == ""


@given(
    st.lists(
        st.from_regex(r"[a-zé]{1,8}[.,;:!?]?", fullmatch=True)
        | st.from_regex(r"[<(]?https?://[a-z]{1,5}\.com(:[0-9]{2,4})?(/[a-z]{1,5}(\?v=1)?)?[.,;!)>]?", fullmatch=True)
        | st.from_regex(r"[<(]?[a-z.]{1,8}@[a-z]{1,5}\.org[.,;!)>]?", fullmatch=True),
        max_size=8,
    )
)
@example(["see", "https://example.com:8080/a", "and", "write", "to", "me@x.org"])
def test_prose_with_urls_and_mail_addresses_is_accepted(words):
    assert refusal(" ".join(words)) == ""
