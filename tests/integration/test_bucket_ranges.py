"""A bucket whose server answers ranges, as S3 does: a large archive is read in requests of its pieces, however slowly."""

import threading
from collections.abc import Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from gameai.knowledge.backups import repositories

OWNER, NAME = "games/lore", "20261129T030000Z.5d1f0c2a.1.1.jsonl.gz"
PATH = f"/backups/studio/{OWNER}/{NAME}"


class Ranged(BaseHTTPRequestHandler):
    """One object; signatures are not checked."""

    protocol_version = "HTTP/1.1"
    data = b""
    ranges: list[str] = []  # noqa: RUF012 - each test has a subclass

    def do_HEAD(self) -> None:
        self._head(200, len(self.data))

    def do_GET(self) -> None:
        if self.path != PATH:
            self._head(404, 0)
            return
        given = self.headers.get("range", "")
        self.ranges.append(given)
        first, _, last = given.removeprefix("bytes=").partition("-")
        part = self.data[int(first) : int(last) + 1] if given else self.data
        about = {"content-range": f"bytes {given.removeprefix('bytes=')}/{len(self.data)}"}
        self._head(206 if given else 200, len(part), about if given else {})
        self.wfile.write(part)

    def _head(self, code: int, size: int, more: dict[str, str] | None = None) -> None:
        self.send_response(code)
        about = {
            "content-length": str(size),
            "etag": '"1"',
            "last-modified": formatdate(0, usegmt=True),
        }
        for name, value in {**about, **(more or {})}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Tests look at `ranges`."""


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Ranged]]:
    made = type("Bucket", (Ranged,), {"ranges": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), made) as server:
        environment = {
            "AWS_REGION": "eu-central-1",
            "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{server.server_port}",
            "AWS_ACCESS_KEY_ID": "reader",
            "AWS_SECRET_ACCESS_KEY": "s3cret",
        }
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield made
        server.shutdown()


@pytest.mark.parametrize(
    ("size", "ranges"),
    [
        (1000, [""]),
        (1001, ["bytes=0-0", "bytes=0-999", "bytes=1000-1000"]),
        (2000, ["bytes=0-0", "bytes=0-999", "bytes=1000-1999"]),
        (2500, ["bytes=0-0", "bytes=0-999", "bytes=1000-1999", "bytes=2000-2499"]),
    ],
)
def test_each_piece_of_a_large_archive_is_a_request(
    bucket: type[Ranged], monkeypatch: pytest.MonkeyPatch, size: int, ranges: list[str]
) -> None:
    monkeypatch.setattr(repositories, "_PIECE_BYTES", 1000)
    bucket.data = (bytes(range(250)) * 10)[:size]
    place = repositories.repository("s3://backups/studio", OWNER)
    assert b"".join(place.read(NAME)) == bucket.data
    assert bucket.ranges == ranges
