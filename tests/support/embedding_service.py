"""An embedding service for tests: the API of OpenAI over HTTP, with the vectors of the real local model."""

import base64
import contextlib
import itertools
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import numpy as np
from gameai.knowledge.embedding.local import DIMENSIONS, LocalEmbedder

KEY = "sk-test-0123456789"
MODEL = "text-embedding-3-small"


@dataclass
class EmbeddingService:
    """What it does, and what it was asked."""

    embedder: LocalEmbedder
    # Statuses of the next answers, each with the value of Retry-After; then it answers well.
    refusals: list[tuple[int, str]] = field(default_factory=list)
    body: bytes | None = None
    delay_seconds: float = 0.0
    numbers: bool = False
    most_texts: int = 2048
    # Written instead of an answer, byte after byte.
    raw: bytes | None = None
    raw_pause_seconds: float = 0.0
    # Vectors are shortened to what is asked for, else they have this length.
    dimensions: int = DIMENSIONS
    requests: list[dict[str, Any]] = field(default_factory=list)
    url: str = ""

    ends: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def texts(self) -> int:
        """Texts of all requests."""
        return sum(len(each["input"]) for each in self.requests)

    def vectors(self, texts: list[str], dimensions: int) -> list[Any]:
        with self.lock:
            made = self.embedder.embed(texts)
        # A longer vector repeats the model's.
        longer = np.tile(made, (1, -(-dimensions // DIMENSIONS)))[:, :dimensions]
        if self.numbers:
            return [each.tolist() for each in longer]
        return [base64.b64encode(each.astype("<f4").tobytes()).decode() for each in longer]


class _Handler(BaseHTTPRequestHandler):
    """One connection; `service` is set by the server that uses a subclass of it."""

    protocol_version = "HTTP/1.1"
    service: ClassVar[EmbeddingService]

    def do_POST(self) -> None:
        """Every way of the API is a POST."""
        given = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.service.requests.append(given)
        self.service.ends.wait(self.service.delay_seconds)
        if self.service.raw is not None:
            self._trickle(self.service.raw)
            return
        code, body, pause = self._decided(given)
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(code)
        self.send_header("content-length", str(len(data)))
        if pause:
            self.send_header("retry-after", pause)
        self.end_headers()
        self.wfile.write(data)

    def _trickle(self, given: bytes) -> None:
        """These bytes, one by one, again and again: the client must end it."""
        self.close_connection = True
        with contextlib.suppress(OSError):
            for byte in itertools.cycle(given):
                self.wfile.write(bytes([byte]))
                if self.service.ends.wait(self.service.raw_pause_seconds):
                    return

    def _decided(self, given: dict[str, Any]) -> tuple[int, Any, str]:
        """Status, body, and Retry-After."""
        if self.path != "/v1/embeddings":
            return 404, _fault(f"Invalid URL (POST {self.path})"), ""
        key = self.headers.get("authorization")
        if key != f"Bearer {KEY}":
            return 401, _fault(f"Incorrect API key provided: {key}."), ""
        if len(given["input"]) > self.service.most_texts or "refused" in given["input"]:
            return 413, _fault(f"batch size {len(given['input'])}"), ""
        if self.service.refusals:
            code, pause = self.service.refusals.pop(0)
            return code, _fault(f"status {code} for {given['input'][0][:5]}"), pause
        return 200, self.service.body or self._good(given), ""

    def _good(self, given: dict[str, Any]) -> dict[str, Any]:
        length = given.get("dimensions", self.service.dimensions)
        data = [
            {"object": "embedding", "index": index, "embedding": each}
            for index, each in enumerate(self.service.vectors(given["input"], length))
        ]
        return {"object": "list", "data": data, "model": given["model"]}

    def log_message(self, *_: object) -> None:
        """Tests look at `requests`."""


def _fault(message: str) -> dict[str, Any]:
    return {"error": {"message": message}}


@contextmanager
def embedding_service(embedder: LocalEmbedder) -> Iterator[EmbeddingService]:
    """A service that runs in threads of this process."""
    made = EmbeddingService(embedder)
    handler = type("Handler", (_Handler,), {"service": made})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        made.url = f"http://127.0.0.1:{server.server_port}/v1"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield made
        made.ends.set()
        server.shutdown()
