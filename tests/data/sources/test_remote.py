"""Files behind a URL: downloaded once, patiently, and again only when they change there."""

import functools
import http.server
import os
import threading
import zipfile

import fsspec
import pytest
import tenacity

from headway import network
from tests.s3 import s3_of_this_process


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    """No pauses between attempts."""
    monkeypatch.setattr(network, "WAIT", tenacity.wait_none())


@pytest.fixture
def reviews_csv(sentences):
    return sentences[:300].to_csv(index=False).encode(), list(sentences[:300].itertuples(index=False, name=None))


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder; every request first takes what ``trouble`` holds for it: a status, "cut", or nothing."""

    def do_HEAD(self):
        self.server.heads += 1
        self.answer(super().do_HEAD)

    def do_GET(self):
        self.server.gets += 1
        self.answer(super().do_GET)

    def answer(self, serve):
        trouble = self.server.trouble.pop(0) if self.server.trouble else None
        if isinstance(trouble, int):
            self.send_error(trouble)
        else:
            serve()

    def send_header(self, keyword, value):
        if keyword != "Last-Modified" or self.server.sends_version:
            super().send_header(keyword, value)

    def copyfile(self, source, outputfile):
        content = source.read()
        outputfile.write(content[: len(content) // 2] if self.server.cuts > 0 else content)
        self.server.cuts -= 1

    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path):
    (tmp_path / "served").mkdir()
    handler = functools.partial(Handler, directory=str(tmp_path / "served"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        running.trouble, running.heads, running.gets, running.cuts = [], 0, 0, 0
        running.sends_version = True
        running.folder = tmp_path / "served"
        running.url = f"http://127.0.0.1:{running.server_port}"
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def downloads(folder):
    return [path for path in (folder / ".scratch" / "downloads").rglob("*") if path.is_file()]


def test_a_file_is_downloaded_once_and_again_when_it_changes(read_file, server, reviews_csv, tmp_path):
    content, rows = reviews_csv
    (server.folder / "reviews.csv").write_bytes(content)
    url = f"{server.url}/reviews.csv?version=1"
    read = read_file(url)
    assert read.rows == rows
    assert read.manifest.source == f"file {url}"
    assert read.manifest.files[0].name == "reviews.csv"
    gets = server.gets
    assert read_file(url).rows == rows
    assert server.gets == gets
    (server.folder / "reviews.csv").write_bytes(b"text,label\nnew,1\n")
    os.utime(server.folder / "reviews.csv", (1, 1))
    assert read_file(url).rows == [("new", "1")]
    assert len(downloads(tmp_path)) == 1


@pytest.mark.parametrize("sends_version", [False, True])
@pytest.mark.parametrize("name", ["all.zip", "download"])
def test_a_zip_file_is_requested_once_for_all_files_inside_it(read_file, server, name, sends_version):
    server.sends_version = sends_version
    with zipfile.ZipFile(server.folder / name, "w") as archive:
        for number in range(3):
            archive.writestr(f"{number}.csv", f"text,label\nrow {number},{number}\n")
    for gets, heads in [(1, 0), (1, 1) if sends_version else (2, 1)]:  # a second reading asks first whether it has changed
        assert read_file(f"{server.url}/{name}").rows == [(f"row {number}", str(number)) for number in range(3)]
        assert (server.gets, server.heads) == (gets, heads)


def test_a_download_of_another_process_is_left_alone(read_file, server, reviews_csv, tmp_path):
    content, rows = reviews_csv
    (server.folder / "reviews.csv").write_bytes(content)
    url = f"{server.url}/reviews.csv"
    read_file(url)
    (copy,) = downloads(tmp_path)
    other = copy.with_name("other.partial")
    other.write_text("another process writes it")
    os.utime(server.folder / "reviews.csv", (1, 1))
    assert read_file(url).rows == rows
    assert other.is_file()
    assert not copy.exists()


def test_temporary_server_errors_are_retried(read_file, server, reviews_csv):
    content, rows = reviews_csv
    (server.folder / "reviews.csv").write_bytes(content)
    server.trouble = [503, 429, 500, 408]
    assert read_file(f"{server.url}/reviews.csv").rows == rows
    server.trouble = [503, 503]  # this time, for the question whether the file has changed
    assert read_file(f"{server.url}/reviews.csv").rows == rows
    assert server.trouble == []


def test_an_incomplete_download_is_not_used(read_file, refusal, server, reviews_csv, tmp_path):
    content, rows = reviews_csv
    (server.folder / "reviews.csv").write_bytes(content)
    server.cuts = network.ATTEMPTS
    assert "cannot be downloaded" in refusal(f"{server.url}/reviews.csv")
    assert downloads(tmp_path) == []
    server.cuts = 2
    assert read_file(f"{server.url}/reviews.csv").rows == rows


def test_a_refusal_is_not_retried(refusal, server):
    assert "does not exist" in refusal(f"{server.url}/nowhere.csv")
    (server.folder / "secret.csv").write_text("text,label\n")
    server.trouble = [403] * 3
    assert "cannot be downloaded: 403" in refusal(f"{server.url}/secret.csv")
    assert len(server.trouble) == 2


def test_an_unreachable_server_is_one_line(refusal):
    message = refusal("http://127.0.0.1:9/reviews.csv")
    assert message.startswith("http://127.0.0.1:9/reviews.csv: cannot be downloaded: [Errno 111] Connection refused, 5 ")
    assert message.endswith("check the network, data.path and your credentials, and run again")


def test_a_url_with_an_unknown_protocol_is_an_error(refusal):
    assert refusal("nosuch://x/a.csv").startswith("data.path: nosuch://x/a.csv cannot be opened: Protocol not known")


def test_globs_choose_files_of_a_remote_folder(read_file, refusal):
    store = fsspec.filesystem("memory")
    for name in ("b.csv", "a.csv", "deep/test.csv", "notes.txt"):
        store.pipe_file(f"/headway-folder/{name}", f"text,label\n{name},1\n".encode())
    try:
        read = read_file("memory://headway-folder", test_files="**/test.csv")
        assert read.rows == [("deep/test.csv", "1"), ("a.csv", "1"), ("b.csv", "1")]
        assert read.manifest.ignored_files == ["notes.txt"]
        assert "matches 'c*'" in refusal("memory://headway-folder", files="c*")
    finally:
        store.rm("/headway-folder", recursive=True)


def test_a_download_of_the_wrong_size_is_retried_and_then_refused(read_file, refusal, monkeypatch):
    store = fsspec.filesystem("memory")
    store.pipe_file("/headway-cut.csv", b"text,label\nfine,1\ndull,0\n")
    attempts = []

    def cut(path, target, **more):
        attempts.append(path)
        with open(target, "wb") as file:
            file.write(store.cat_file(path)[: -7 if len(attempts) <= network.ATTEMPTS else None])

    monkeypatch.setattr(store, "get_file", cut)
    try:
        assert "cannot be downloaded: 18 of 25 bytes arrived" in refusal("memory://headway-cut.csv")
        assert len(attempts) == network.ATTEMPTS
        assert read_file("memory://headway-cut.csv").rows == [("fine", "1"), ("dull", "0")]
    finally:
        store.rm("/headway-cut.csv")


@pytest.fixture(scope="module")
def bucket():
    with s3_of_this_process() as store:
        store.mkdir("headway-reviews")
        yield store


def test_files_on_s3_are_checked_against_their_md5(read_file, refusal, bucket, reviews_csv, tmp_path, monkeypatch):
    content, rows = reviews_csv
    bucket.pipe_file("headway-reviews/all/reviews.csv", content)
    bucket.pipe_file("headway-reviews/all/more.jsonl", b'{"text": "one more", "label": "positive"}\n')
    assert read_file("s3://headway-reviews/all/reviews.csv").rows == rows
    assert read_file("s3://headway-reviews/all").rows == [("one more", "positive"), *rows]
    for path in downloads(tmp_path):
        path.unlink()
    store, _ = fsspec.core.url_to_fs("s3://headway-reviews")  # the one that is used there, too
    whole = store.get_file

    def damaged(path, target, **more):
        whole(path, target, **more)
        with open(target, "r+b") as file:
            file.seek(20)
            file.write(b"~")

    monkeypatch.setattr(store, "get_file", damaged)
    assert "its MD5 differs from the store's" in refusal("s3://headway-reviews/all/reviews.csv")


def test_a_file_missing_on_s3_is_an_error(refusal, bucket):
    assert "does not exist" in refusal("s3://headway-reviews/nowhere.csv")
