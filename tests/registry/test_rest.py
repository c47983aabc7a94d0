"""Requests to MLflow's REST API: credentials, files of any size, and servers that answer badly or not at all."""

from __future__ import annotations

import base64
import io
import json
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from http.client import HTTPMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from headway.errors import HeadwayError, Unreachable
from headway.model.pretrained import require_transformers
from headway.registry.rest import CHUNK, MlflowServer, NotFound, _Redirects
from headway.registry.rest_source import RestSource
from headway.registry.unusable_version import UnusableVersion, loading

VERSION = {"name": "reviews", "version": "3", "source": "models:/m-1", "tags": [{"key": "headway.model", "value": "abc"}]}


class Fake:
    """A server that answers as a test wants.

    Attributes:
        answers: by the beginning of a path: a JSON value, a function that writes the response, or a status.
        seen: path and Authorization header of each request.
    """

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {}
        self.seen: list[tuple[str, str | None]] = []
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                fake.seen.append((self.path, self.headers.get("Authorization")))
                found = [value for path, value in fake.answers.items() if self.path.startswith(path)]
                answer = found[0] if found else 404
                if callable(answer):
                    answer(self)
                elif isinstance(answer, int):
                    respond(self, b"{}", answer)
                else:
                    respond(self, json.dumps(answer).encode())

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self.server.server_port}"
        self.url = f"http://{self.host}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


def respond(
    handler: BaseHTTPRequestHandler, body: bytes, status: int = 200, size: int | None = None, place: str = ""
) -> None:
    """Write a response, which may announce another size than it has, or be a redirect to a place."""
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(body) if size is None else size))
    if place:
        handler.send_header("Location", place)
    handler.end_headers()
    handler.wfile.write(body)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[Fake]:
    for name in ("USERNAME", "PASSWORD", "TOKEN", "SERVER_CERT_PATH"):
        monkeypatch.delenv(f"MLFLOW_TRACKING_{name}", raising=False)
    made = Fake()
    yield made
    made.server.shutdown()
    made.server.server_close()


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def test_credentials_are_those_of_the_variables_then_those_of_the_address(
    fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.answers = {"/": {}}
    address = f"http://ada:p%40ss@{fake.host}"
    MlflowServer(fake.url).get("/x", {})
    MlflowServer(address).get("/x", {})
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "a-long-token")
    MlflowServer(address).get("/x", {})
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "bob")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "secret phrase")
    MlflowServer(address).get("/x", {})
    assert [header for _, header in fake.seen] == [
        None,
        basic("ada", "p@ss"),
        "Bearer a-long-token",
        basic("bob", "secret phrase"),
    ]


def test_credentials_are_sent_to_no_other_host(fake: Fake) -> None:
    def redirect(handler: BaseHTTPRequestHandler) -> None:
        respond(handler, b"", 302, place=f"http://localhost:{fake.server.server_port}/elsewhere")

    fake.answers = {"/api/": redirect, "/elsewhere": {"found": 1}}
    assert MlflowServer(f"http://ada:password@{fake.host}").get("/x", {}) == {"found": 1}
    assert [header for _, header in fake.seen] == [basic("ada", "password"), None]


@pytest.mark.parametrize(
    ("before", "after", "same"),
    [
        ("http://a:5000/x", "http://a:5000/y", True),
        ("https://a/x", "https://a:443/y", True),
        ("http://a/x", "https://a/x", True),
        ("http://a:5000/x", "https://a/x", True),
        ("https://a/x", "https://a:8443/x", False),
        ("http://a:5000/x", "http://a:5001/x", False),
        ("https://a/x", "http://a/x", False),
        ("https://a/x", "https://b/x", False),
    ],
)
def test_credentials_follow_a_redirect_on_the_same_server_alone(before: str, after: str, same: bool) -> None:
    request = urllib.request.Request(before, headers={"Authorization": "Basic secret"})
    new = _Redirects().redirect_request(request, io.BytesIO(), 302, "Found", HTTPMessage(), after)
    assert new is not None
    assert new.has_header("Authorization") == same


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_login_names_the_variables(fake: Fake, status: int) -> None:
    fake.answers = {"/": status}
    with pytest.raises(Unreachable, match="MLFLOW_TRACKING_USERNAME"):
        MlflowServer(fake.url).get("/x", {})


@pytest.mark.parametrize(
    "answer",
    [500, 404, [1], lambda handler: respond(handler, b"<html>"), lambda handler: handler.wfile.write(b"nonsense\r\n\r\n")],
)
def test_an_answer_that_is_not_mlflows_is_one_line_that_does_not_blame_the_model(fake: Fake, answer: Any) -> None:
    fake.answers = {"/": answer}
    with pytest.raises(Unreachable) as error:
        MlflowServer(f"http://ada:password@{fake.host}").get("/x", {})
    assert fake.host in str(error.value)
    assert "password" not in str(error.value)
    assert "\n" not in str(error.value)


def test_a_server_that_does_not_answer_is_unreachable() -> None:
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1:9 does not answer"):
        MlflowServer("http://127.0.0.1:9").get("/x", {})


def test_a_certificate_file_that_does_not_exist_is_one_line(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", "/nowhere/ca.pem")
    with pytest.raises(HeadwayError, match=r"^MLFLOW_TRACKING_SERVER_CERT_PATH: /nowhere/ca\.pem"):
        MlflowServer(fake.url)


def test_a_large_file_is_written_whole(fake: Fake, tmp_path: Path) -> None:
    content = bytes(range(256)) * (3 * CHUNK // 256) + b"end"
    fake.answers = {"/": lambda handler: respond(handler, content)}
    MlflowServer(fake.url).download("1/models/a name é", tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == content
    assert fake.seen[0][0].endswith("/1/models/a%20name%20%C3%A9")


def test_a_transfer_that_ends_early_is_not_taken_for_the_file(fake: Fake, tmp_path: Path) -> None:
    fake.answers = {"/": lambda handler: respond(handler, b"half", size=8)}
    with pytest.raises(Unreachable):
        MlflowServer(fake.url).download("file", tmp_path / "file")


def test_a_file_that_is_larger_than_allowed_is_not_read_to_its_end(fake: Fake, tmp_path: Path) -> None:
    fake.answers = {"/": lambda handler: respond(handler, b"x" * 1000)}
    with pytest.raises(NotFound, match="more than 10 bytes"):
        MlflowServer(fake.url).download("file", tmp_path / "file", 10)
    assert (tmp_path / "file").stat().st_size == 0


# Versions.


def serve(fake: Fake, uri: str = "mlflow-artifacts:/1/m-1/artifacts", **more: Any) -> RestSource:
    fake.answers = {
        "/api/2.0/mlflow/registered-models/alias": {"model_version": VERSION},
        "/api/2.0/mlflow/model-versions/get": {"model_version": VERSION},
        "/api/2.0/mlflow/logged-models/m-1": {"model": {"info": {"artifact_uri": uri}}},
        **more,
    }
    return RestSource(fake.url, "reviews", "champion")


def test_the_key_is_the_number_with_the_fingerprint(fake: Fake) -> None:
    assert serve(fake).newest() == "3/abc"
    assert fake.seen[0][0] == "/api/2.0/mlflow/registered-models/alias?name=reviews&alias=champion"


@pytest.mark.parametrize("code", ["RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"])
def test_an_alias_that_names_nothing_says_so(fake: Fake, code: str) -> None:
    fake.answers = {"/": lambda handler: respond(handler, json.dumps({"error_code": code}).encode(), 404)}
    with pytest.raises(HeadwayError, match="model reviews has no champion") as error:
        RestSource(fake.url, "reviews", "champion").newest()
    assert not isinstance(error.value, Unreachable)


def test_a_model_that_is_missing_on_a_server_with_a_login_is_not_called_a_wrong_password(fake: Fake) -> None:
    """Such a server answers 403 if a version of a missing model is asked for."""
    missing = json.dumps({"error_code": "RESOURCE_DOES_NOT_EXIST"}).encode()
    fake.answers = {
        "/api/2.0/mlflow/registered-models/get": lambda handler: respond(handler, missing, 404),
        "/": 403,
    }
    with pytest.raises(HeadwayError, match="model reviews has no champion"):
        RestSource(fake.url, "reviews", "champion").newest()
    fake.answers["/api/2.0/mlflow/registered-models/get"] = {"registered_model": {"name": "reviews"}}
    with pytest.raises(Unreachable, match="status 403"):
        RestSource(fake.url, "reviews", "champion").newest()


@pytest.mark.parametrize("name", ["..", "a/../b", ".", "", "a\\b", "%2e%2e"])
def test_a_name_that_leads_out_of_its_folder_is_refused(fake: Fake, name: str) -> None:
    source = serve(fake, **{"/api/2.0/mlflow-artifacts/": {"files": [{"path": name, "is_dir": True}]}})
    with pytest.raises(HeadwayError, match="a name that is not allowed"):
        source.fetch("3/abc")


@pytest.mark.parametrize("uri", ["mlflow-artifacts:/1/../../secret", "mlflow-artifacts:/1/%2e%2e/x"])
def test_an_address_that_leads_out_of_the_store_is_refused(fake: Fake, uri: str) -> None:
    with pytest.raises(HeadwayError, match="a name that is not allowed"):
        serve(fake, uri).fetch("3/abc")


@pytest.mark.parametrize("uri", ["s3://bucket/1/m-1", "/srv/mlflow/1/m-1", "mlflow-artifacts://other:5000/1", ""])
def test_files_that_the_server_does_not_pass_on_need_mlflow(fake: Fake, uri: str) -> None:
    with pytest.raises(HeadwayError, match="install MLflow beside the service") as error:
        serve(fake, uri).fetch("3/abc")
    assert "version 3 of reviews" in str(error.value)
    assert "restore its files" not in str(error.value)  # they are not damaged


def test_a_package_that_is_missing_here_is_not_called_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UnusableVersion) as error, loading("version 3 of reviews", tmp_path):
        require_transformers()
    assert "restore" not in str(error.value)
    assert "transformers" in str(error.value)


def test_files_that_are_gone_are_a_failure_of_the_version(fake: Fake) -> None:
    source = serve(fake, **{"/api/2.0/mlflow-artifacts/": {"files": []}})
    with pytest.raises(HeadwayError, match="restore its files") as error:
        source.fetch("3/abc")
    assert not isinstance(error.value, Unreachable)


def test_a_version_that_was_replaced_meanwhile_is_not_served(fake: Fake) -> None:
    with pytest.raises(HeadwayError, match="was replaced"):
        serve(fake).fetch("3/another")


def test_a_server_that_fails_during_the_download_is_unreachable(fake: Fake) -> None:
    listing: Callable[[BaseHTTPRequestHandler], None] = lambda handler: respond(handler, b"{}", 503)  # noqa: E731
    with pytest.raises(Unreachable, match="503"):
        serve(fake, **{"/api/2.0/mlflow-artifacts/": listing}).fetch("3/abc")


def test_a_server_reports_its_version(fake: Fake) -> None:
    fake.answers["/version"] = lambda handler: respond(handler, b"3.17.2")
    assert MlflowServer(fake.url).version() == "3.17.2"
    fake.answers["/version"] = 404
    with pytest.raises(Unreachable, match="404"):
        MlflowServer(fake.url).version()
