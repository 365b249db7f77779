"""A memory for tests: databases of one real Postgres, the real model, and the service as a process."""

import contextlib
import itertools
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import grpc
import psycopg
import urllib3
from gameai.knowledge.embedding.embedder import Embedder
from gameai.knowledge.embedding.local import tokenizer
from gameai.knowledge.ingestion.chunking import cutter
from gameai.knowledge.ingestion.pipeline import ingest
from gameai.knowledge.migrations import migrate
from gameai.knowledge.records import Report, Source
from gameai.knowledge.store.writing import connect
from gameai.knowledge.v1 import knowledge_pb2 as pb
from gameai.knowledge.v1 import knowledge_pb2_grpc
from gameai_devcluster.postgres import Postgres
from gameai_devcluster.processes import start_in_background
from gameai_devcluster.testing.waiting import until

_NUMBERS = itertools.count(1)
COMMAND = (sys.executable, "-m", "gameai.knowledge")


class Memory:
    """A migrated database, and what a test does with it."""

    def __init__(self, postgres: Postgres, embedder: Embedder) -> None:
        self.postgres = postgres
        self.embedder = embedder
        self.name = f"memory{next(_NUMBERS)}"
        self.url = postgres.database(self.name)
        migrate(self.url, embedder.model, embedder.dimensions)
        self.cut = cutter(tokenizer())

    def ingest(
        self, documents: Mapping[str, str], name: str = "lore", world: str = "", trust: int = 90
    ) -> Report:
        source = Source(name=name, world=world, trust=trust)
        encoded = {key: text.encode() for key, text in documents.items()}
        with connect(self.url) as connection:
            return ingest(connection, source, encoded, self.embedder, self.cut)

    def rows(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """As a superuser, whom no policy stops."""
        with psycopg.connect(self.postgres.url(self.name), autocommit=True) as connection:
            return connection.execute(statement, values).fetchall()

    def chunks(self) -> list[tuple[Any, ...]]:
        """Everything that an ingestion decides, in order."""
        return self.rows(
            "SELECT scope, source, document, chunk_no, title, section, content, content_sha256, document_sha256, begin_byte,"
            " end_byte, trust, status, reasons, model, embedding::text FROM memory.narrative_documents"
            " ORDER BY scope, source, document, chunk_no"
        )


class Served:
    """The service as a process."""

    def __init__(self, url: str, folder: Path, *flags: str) -> None:
        self._ports_file = folder / f"ports-{next(_NUMBERS)}"
        self._ports_file.unlink(missing_ok=True)
        self.log = folder / "memory.log"
        own = [
            "--port=0",
            "--health-port=0",
            f"--port-file={self._ports_file}",
            "--drain-seconds=0.2",
        ]
        self.process: subprocess.Popen[bytes] = start_in_background(
            [*COMMAND, "serve", f"--database={url}", *own, *flags], self.log, die_with_parent=True
        )
        until("it serves", self._ports_file.exists, seconds=60)
        self._ports = json.loads(self._ports_file.read_text())
        self.address = f"127.0.0.1:{self._ports['grpc']}"
        self.channel = grpc.insecure_channel(self.address)
        self.knowledge = knowledge_pb2_grpc.KnowledgeServiceStub(self.channel)
        self.ingestion = knowledge_pb2_grpc.IngestionServiceStub(self.channel)

    def search(self, text: str, **request: Any) -> pb.SearchResponse:
        answer: pb.SearchResponse = self.knowledge.Search(
            pb.SearchRequest(text=text, **request), timeout=20
        )
        return answer

    def get(self, path: str) -> tuple[int, str]:
        answer = urllib3.request("GET", f"http://127.0.0.1:{self._ports['health']}{path}")
        return answer.status, answer.data.decode()

    def close(self) -> None:
        self.channel.close()
        self.process.terminate()
        assert self.process.wait(20) == 0
        assert "this is a bug" not in self.log.read_text()


@contextlib.contextmanager
def served(url: str, folder: Path, *flags: str) -> Iterator[Served]:
    made = Served(url, folder, *flags)
    try:
        yield made
    finally:
        made.close()
