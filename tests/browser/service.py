"""A service of the standard library for tests of the page: it speaks the JSON of ``headway serve``, and fails as told."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from headway.serving.explain import explain
from headway.serving.http.app import html_response
from headway.serving.http.bodies import prediction
from headway.serving.http.explanations import as_json
from headway.serving.http.page import page, status_page
from headway.serving.http.status import prefers_page
from headway.serving.package import ModelPackage


class Refused(Exception):
    """A request that is answered with an error."""

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        self.status, self.message, self.headers = status, message, headers or {}


class Service(ThreadingHTTPServer):
    """A service around a package.

    Attributes:
        token: that every request needs; "" for none.
        version: of the model; a test may change it.
        most_texts: of one request.
        explains: whether it can explain.
        explained_by: version that explains, if it is another one.
        failures: errors with which the next requests to ``/predict`` are answered.
        status: what ``/status`` tells.
        about: what ``/model`` tells besides name, version and classes.
        requests: bodies of the requests to ``/predict`` that were answered.
    """

    daemon_threads = True

    def __init__(self, package: ModelPackage) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.package, self.token, self.version, self.most_texts = package, "", "7", 256
        self.explains, self.explained_by = True, ""
        self.failures: list[Refused] = []
        self.about: dict[str, Any] = {}
        self.status: dict[str, Any] = {}
        self.requests: list[dict[str, Any]] = []
        self.lock = threading.Lock()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/"

    @contextmanager
    def running(self) -> Iterator[Service]:
        thread = threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.shutdown()
            self.server_close()
            thread.join()

    def answer(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        model = {"name": "film-reviews", "version": self.version}
        if path == "/model":
            return {**model, "classes": self.package.classes, **self.about}
        if path == "/status":
            return self.status
        if path == "/predict":
            with self.lock:
                if self.failures:
                    raise self.failures.pop(0)
                texts = body["texts"] if "texts" in body else [body["text"]]
                if len(texts) > self.most_texts:
                    raise Refused(422, f"the request has {len(texts)} texts; at most {self.most_texts} are allowed")
                probabilities, reasons = self.package.classify(texts)
                self.requests.append(body)
            pairs = zip(probabilities, reasons, strict=True)
            found = [prediction(row, self.package.classes, "0", body["top_k"], reason) for row, reason in pairs]
            return {"model": model, "request_id": "0", "predictions": found}
        if path == "/explain" and not self.explains:
            raise Refused(501, "explanations need the package captum")
        if path == "/explain":
            explanation = explain(self.package, body["text"])
            classes = explanation.classes
            found = prediction(explanation.probabilities, classes, "0", len(classes))
            model["version"] = self.explained_by or self.version
            return {"model": model, "prediction": found, "explanation": as_json(explanation)}
        raise Refused(404, "there is no such path")


class Handler(BaseHTTPRequestHandler):
    server: Service

    def do_GET(self) -> None:
        if self.path == "/" or (self.path == "/status" and prefers_page(self.headers.get("Accept", ""))):
            found = html_response(page() if self.path == "/" else status_page())
            policy = {"Content-Security-Policy": found.headers["Content-Security-Policy"]}
            self.send(200, bytes(found.body), "text/html; charset=utf-8", policy)
        else:
            self.answer({})

    def do_POST(self) -> None:
        self.answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def answer(self, body: dict[str, Any]) -> None:
        status, headers = 200, {}
        try:
            if self.server.token and self.headers.get("Authorization") != f"Bearer {self.server.token}":
                raise Refused(401, "this service needs a valid token", {"WWW-Authenticate": "Bearer"})
            found = self.server.answer(self.path, body)
        except Refused as error:
            status, headers = error.status, error.headers
            found = {"error": {"code": "refused", "message": error.message}}
        self.send(status, json.dumps(found).encode(), "application/json", headers)

    def send(self, status: int, content: bytes, kind: str, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass
