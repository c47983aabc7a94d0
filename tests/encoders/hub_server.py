"""A server in the layout of the Hugging Face Hub, with one encoder, that can fail in the ways that networks do."""

from __future__ import annotations

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

NAME, REVISION = "organisation/tiny", "a" * 40


class Hub:
    """The server and its state.

    Attributes:
        folder: the files of the encoder; those of weights are in Git LFS.
        requests: method, path and range of every request.
        statuses: statuses to answer the next requests for the content of a file with.
        cut: bytes of a file's content after which the connection ends, once.
        damage: whether the content of the weights differs from the list, this many times.
        refusal: status and error code for every request of the list.
        redirects: whether the weights are on another host, as those in Git LFS are.
        tokens: the Authorization header of every request for the weights, by host.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.requests: list[tuple[str, str, str]] = []
        self.statuses: list[int] = []
        self.cut: int | None = None
        self.damage = 0
        self.refusal: tuple[int, str] | None = None
        self.redirects = False
        self.tokens: list[tuple[str, str]] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                hub.answer(self)

            def do_GET(self) -> None:
                hub.answer(self)

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def fetched(self) -> list[str]:
        """Names of the files whose content was requested."""
        return [path.rpartition("/")[2] for method, path, _ in self.requests if method == "GET" and "/resolve/" in path]

    def ranges(self) -> list[str]:
        """The ranges of the weights that were requested; "" for all of them."""
        return [asked for method, path, asked in self.requests if method == "GET" and path.endswith("model.safetensors")]

    def listing(self) -> list[dict[str, object]]:
        entries: list[dict[str, object]] = [{"type": "directory", "path": "onnx", "oid": "0" * 40, "size": 0}]
        for path in sorted(self.folder.iterdir()):
            content = path.read_bytes()
            oid = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            entry: dict[str, object] = {"type": "file", "path": path.name, "oid": oid, "size": len(content)}
            if path.suffix in (".safetensors", ".bin"):
                entry |= {"oid": "0" * 40, "lfs": {"oid": sha256(content), "size": len(content), "pointerSize": 134}}
            entries.append(entry)
        return entries

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        path = urlsplit(request.path).path
        self.requests.append((request.command, path, request.headers.get("Range", "")))
        if path == f"/api/models/{NAME}/tree/{REVISION}" and not self.refusal:
            send(request, 200, json.dumps(self.listing()).encode(), {"Content-Type": "application/json"})
        elif path.startswith("/api/"):
            status, code = self.refusal or (404, "RevisionNotFound")
            send(request, status, b"{}", {"X-Error-Code": code})
        else:
            self.answer_file(request, self.folder / path.rpartition("/")[2])

    def answer_file(self, request: BaseHTTPRequestHandler, path: Path) -> None:
        content = path.read_bytes()
        host = request.headers.get("Host", "").partition(":")[0]
        if path.suffix == ".safetensors":
            self.tokens.append((host, request.headers.get("Authorization", "")))
            if self.redirects and host != "localhost":
                there = self.url.replace("127.0.0.1", "localhost") + f"/cdn/{path.name}"
                linked = {
                    "X-Linked-Size": str(len(content)),
                    "X-Linked-Etag": f'"{sha256(content)}"',
                    "X-Repo-Commit": REVISION,
                }
                send(request, 302, b"", {"Location": there} | linked)
                return
        headers = {"ETag": f'"{sha256(content)}"', "X-Repo-Commit": REVISION}
        if request.command == "GET" and self.statuses:
            send(request, self.statuses.pop(0), b"", {})
            return
        if request.command == "GET" and path.suffix == ".safetensors" and self.damage:
            self.damage -= 1
            content = content[:-1] + bytes([content[-1] ^ 1])
        start = int(request.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        cut, self.cut = (self.cut, None) if request.command == "GET" and path.suffix == ".safetensors" else (None, self.cut)
        send(request, 206 if start else 200, content[start:], headers, cut)


def send(
    request: BaseHTTPRequestHandler, status: int, content: bytes, headers: dict[str, str], cut: int | None = None
) -> None:
    request.send_response(status)
    for name, value in ({"Content-Length": str(len(content))} | headers).items():
        request.send_header(name, value)
    request.end_headers()
    if request.command != "HEAD":
        request.wfile.write(content[:cut])
    request.close_connection = True


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
