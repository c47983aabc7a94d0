"""Who may ask: tokens, rates, Host and Origin headers, and what every answer carries."""

from __future__ import annotations

import logging
import stat
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from headway.errors import HeadwayError
from headway.serving.http.settings import ServeSettings, is_loopback
from headway.serving.http.tokens import RateLimit, Tokens, others_can_read, read_token_file, read_tokens
from headway.serving.package import ModelPackage
from tests.serving.http.conftest import Ask, code
from tests.serving.http.fakes import FailingPackage, FakeLive, fake_model

OLD, NEW = "old-token-0123456789abcdef", "new-token-0123456789abcdef"
BODY = {"text": "a charming film"}


@pytest.fixture
def tokens() -> Tokens:
    return read_tokens(f"# rotated in June\n{OLD}\n\n{NEW}\n", "tokens")


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


# Tokens.


@pytest.mark.parametrize("token", [OLD, NEW])
def test_each_of_several_tokens_is_accepted(start: Ask, tokens: Tokens, token: str) -> None:
    assert start(tokens=tokens).post("/predict", json=BODY, headers=bearer(token)).status_code == 200


@pytest.mark.parametrize(
    "header", [{}, bearer("wrong"), {"Authorization": OLD}, {"Authorization": f"Basic {OLD}"}, bearer("")]
)
@pytest.mark.parametrize("path", ["/predict", "/explain", "/feedback", "/model", "/metrics", "/nothing"])
def test_without_an_accepted_token_nothing_is_answered(
    start: Ask, tokens: Tokens, header: dict[str, str], path: str
) -> None:
    client = start(tokens=tokens)
    answer = (
        client.post(path, json=BODY, headers=header)
        if path in ("/predict", "/explain", "/feedback")
        else client.get(path, headers=header)
    )
    assert code(answer) == (401, "token_needed")
    assert answer.headers["WWW-Authenticate"] == "Bearer"


OPEN = ["/", "/docs", "/openapi.json", "/livez", "/readyz"]


@pytest.mark.parametrize("path", OPEN)
def test_pages_and_probes_need_no_token(start: Ask, tokens: Tokens, path: str) -> None:
    assert start(tokens=tokens).get(path).status_code == 200


@pytest.mark.parametrize("path", OPEN)
def test_a_body_for_a_page_or_a_probe_needs_a_token_and_an_allowed_host(start: Ask, tokens: Tokens, path: str) -> None:
    client = start(tokens=tokens)
    assert code(client.post(path, json=BODY)) == (401, "token_needed")
    assert code(client.post(path, json=BODY, headers={"Host": "evil.example"})) == (403, "host_not_allowed")
    assert code(client.post(path, json=BODY, headers=bearer(OLD))) == (405, "method_not_allowed")


def test_only_a_token_shows_why_the_newest_model_is_not_served(start: Ask, tokens: Tokens, package: ModelPackage) -> None:
    client = start(FakeLive(fake_model(package), problem="http://registry.internal does not answer"), tokens=tokens)
    assert client.get("/readyz").json()["problem"] is None
    assert "registry" in client.get("/readyz", headers=bearer(OLD)).json()["problem"]


def test_a_page_of_another_site_does_not_see_why_the_newest_model_is_not_served(start: Ask, package: ModelPackage) -> None:
    client = start(FakeLive(fake_model(package), problem="http://registry.internal does not answer"))
    assert "registry" in client.get("/readyz").json()["problem"]
    assert client.get("/readyz", headers={"Host": "rebound.evil.example"}).json()["problem"] is None


def test_tokens_are_read_again_on_request_and_stay_if_the_file_is_damaged(
    start: Ask, tmp_path: Path, live: FakeLive
) -> None:
    file = tmp_path / "tokens"
    file.write_text(OLD)
    client: Any = start(tokens=read_token_file(file), token_file=str(file))
    status = [client.get("/model", headers=bearer(NEW)).status_code]
    for content in (f"{OLD}\n{NEW}", NEW, ""):
        file.write_text(content)
        client.app.state.service.reload()
        status += [client.get("/model", headers=bearer(token)).status_code for token in (OLD, NEW)]
    assert status == [401, 200, 200, 401, 200, 401, 200]
    assert live.checks == 3


def test_a_process_that_is_started_later_reads_the_tokens_itself(start: Ask, tmp_path: Path, tokens: Tokens) -> None:
    file = tmp_path / "tokens"
    file.write_text(NEW)
    client = start(tokens=read_tokens(OLD, "tokens"), token_file=str(file))  # as the parent read it at its own start
    assert [client.get("/model", headers=bearer(token)).status_code for token in (OLD, NEW)] == [401, 200]


@pytest.mark.parametrize("text", ["", "\n# none\n", "short", "with spaces in the token", "ümlaut-0123456789abcdef"])
def test_a_file_without_usable_tokens_is_refused_without_quoting_it(text: str) -> None:
    with pytest.raises(HeadwayError) as refused:
        read_tokens(text, "tokens")
    assert not text.strip() or text.strip().startswith("#") or text not in str(refused.value)


def test_a_token_file_that_others_can_read_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text(OLD)
    file.chmod(stat.S_IRUSR | stat.S_IWUSR)
    assert not others_can_read(file)
    file.chmod(0o644)
    assert others_can_read(file)


def test_a_token_has_as_many_requests_at_once_as_in_one_second_and_then_its_rate() -> None:
    now = [0.0]
    limit = RateLimit(2.0, lambda: now[0])
    assert [limit.wait("a") > 0 for _ in range(4)] == [False, False, True, True]
    assert limit.wait("b") == 0
    now[0] = 0.5
    assert [limit.wait("a") > 0 for _ in range(2)] == [False, True]
    assert limit.wait("a") == pytest.approx(0.5)


def test_too_many_requests_of_a_token_are_refused_and_those_of_another_are_not(start: Ask, tokens: Tokens) -> None:
    client = start(tokens=tokens, rate=1.0)
    assert client.get("/model", headers=bearer(OLD)).status_code == 200
    answer = client.get("/model", headers=bearer(OLD))
    assert code(answer) == (429, "rate_limited")
    assert int(answer.headers["Retry-After"]) >= 1
    assert client.get("/model", headers=bearer(NEW)).status_code == 200


# Addresses.


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "example.org"])
def test_an_address_on_the_network_needs_tokens(host: str, tokens: Tokens) -> None:
    with pytest.raises(HeadwayError, match="token"):
        ServeSettings(host=host).check()
    ServeSettings(host=host, tokens=tokens).check()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_a_loopback_address_needs_none(host: str) -> None:
    assert is_loopback(host)
    ServeSettings(host=host).check()


@pytest.mark.parametrize(
    "settings",
    [
        {"tls_certificate": "cert.pem"},
        {"cors_origins": ("app.example.org",)},
        {"cors_origins": ("https://app.example.org/",)},
        {"queue_texts": 10, "max_texts": 20},
    ],
)
def test_options_that_do_not_fit_together_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(HeadwayError, match="--"):
        ServeSettings(**settings).check()


# Host and Origin.


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:8000", "127.0.0.1:8000", "[::1]:8000", "LOCALHOST", "a.example.org"]
)
def test_an_allowed_host_is_answered(start: Ask, host: str) -> None:
    client = start(allowed_hosts=("localhost", "127.0.0.1", "[::1]", "*.example.org"))
    assert client.get("/model", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "example.org", "127.0.0.1.evil.example"])
def test_another_host_is_refused_except_for_probes(start: Ask, host: str) -> None:
    client = start(allowed_hosts=("localhost", "127.0.0.1", "*.example.org"))
    for path in ("/", "/model", "/docs"):
        assert code(client.get(path, headers={"Host": host})) == (403, "host_not_allowed")
    assert client.get("/livez", headers={"Host": host}).status_code == 200


def test_any_host_is_answered_if_that_is_asked_for(start: Ask) -> None:
    assert start(allowed_hosts=("*",)).get("/model", headers={"Host": "10.1.2.3:8000"}).status_code == 200


@pytest.mark.parametrize("origin", ["http://localhost:8000", "https://localhost:8000"])
def test_a_page_of_the_service_itself_may_ask(client: TestClient, origin: str) -> None:
    assert client.post("/predict", json=BODY, headers={"Origin": origin}).status_code == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://localhost:8001", "http://localhost"])
def test_a_page_of_another_origin_may_not(client: TestClient, origin: str) -> None:
    answer = client.post("/predict", json=BODY, headers={"Origin": origin})
    assert code(answer) == (403, "origin_not_allowed")
    assert "Access-Control-Allow-Origin" not in answer.headers


def test_only_a_named_origin_gets_cors_headers(start: Ask, tokens: Tokens) -> None:
    app, other = "https://app.example.org", "https://other.example.org"
    client = start(cors_origins=(app,), tokens=tokens)
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}
    assert client.options("/predict", headers={"Origin": app, **asked}).headers["Access-Control-Allow-Origin"] == app
    assert "Access-Control-Allow-Origin" not in client.options("/predict", headers={"Origin": other, **asked}).headers
    answer = client.post("/predict", json=BODY, headers={"Origin": app, **bearer(OLD)})
    assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Origin"] == app
    refused = client.post("/predict", json=BODY, headers={"Origin": app})
    assert refused.status_code == 401
    assert refused.headers["Access-Control-Allow-Origin"] == app  # so that the page's script can read the error


# What every answer carries, and what no answer and no log line has.


@pytest.mark.parametrize("path", ["/", "/docs", "/model", "/nothing", "/livez", "/metrics"])
def test_every_answer_has_security_headers_and_an_id(client: TestClient, path: str) -> None:
    headers = client.get(path).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Frame-Options"] == "DENY"
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert len(headers["X-Request-ID"]) == 32
    assert "Access-Control-Allow-Origin" not in headers
    assert "server" not in headers


def test_unknown_paths_and_methods_are_json_errors(client: TestClient) -> None:
    assert code(client.get("/nothing")) == (404, "not_found")
    answer = client.get("/predict")
    assert code(answer) == (405, "method_not_allowed")
    assert answer.headers["Allow"] == "POST"


def test_a_get_request_with_a_body_is_refused(client: TestClient) -> None:
    assert code(client.request("GET", "/model", content=b"{}")) == (400, "body_not_expected")


def test_an_unforeseen_error_shows_neither_a_trace_nor_the_text(
    start: Ask, package: ModelPackage, caplog: pytest.LogCaptureFixture
) -> None:
    model = fake_model(FailingPackage(package, RuntimeError("/home/me: secret words"), "secret words"))
    with caplog.at_level(logging.INFO):
        answer = start(FakeLive(model)).post("/predict?q=secret", json={"text": "secret words"})
    assert code(answer) == (500, "internal")
    assert "secret" not in answer.text
    lines = "\n".join(record.getMessage() for record in caplog.records if record.name.startswith("headway"))
    assert "secret" not in lines
    assert not any(record.exc_info for record in caplog.records)
    assert answer.headers["X-Request-ID"] in lines
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_the_access_log_has_path_and_status_but_nothing_that_a_client_made_up(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "headway.access"):
        client.post("/predict?q=secret", json={"text": "secret words"})
        client.get("/secret/words")
        client.get("/livez")
    lines = [record.getMessage() for record in caplog.records if record.name == "headway.access"]
    assert len(lines) == 2  # a probe that succeeds has none
    assert "POST /predict 200" in lines[0]
    assert "GET (other) 404" in lines[1]
    assert "secret" not in " ".join(lines)
