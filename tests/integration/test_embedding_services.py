"""A memory whose vectors come from an embedding service: real HTTP, a real Postgres, and the command as users run it."""

import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from gameai.knowledge.embedding import openai_wire, remote
from gameai.knowledge.embedding.embedder import EmbeddingError, RefusedTextError
from gameai.knowledge.embedding.local import LocalEmbedder
from gameai.knowledge.embedding.remote import INGESTING, Patience, RemoteEmbedder, Service
from gameai_contract.embedding import MOST_DIMENSIONS
from gameai_contract.names import EMBEDDING_KEY_ENVIRONMENT
from gameai_devcluster import postgres
from gameai_devcluster.testing.waiting import until
from support.concepts import Concepts
from support.embedding_service import KEY, MODEL, EmbeddingService, embedding_service
from support.history import History, days, event
from support.memory import Memory, served
from support.steps import step

LORE = "# Bridges\n\n## Carrow\n\nThe bridge of Carrow has nine arches of black stone.\n"
Client = Callable[..., RemoteEmbedder]
ONE_TRY = Patience(seconds=5, attempts=1, texts=64, breaks=False)


@pytest.fixture
def service(embedder: LocalEmbedder, monkeypatch: pytest.MonkeyPatch) -> Iterator[EmbeddingService]:
    monkeypatch.setenv(EMBEDDING_KEY_ENVIRONMENT, f"{KEY}\n")
    with embedding_service(embedder) as made:
        yield made


def flags(service: EmbeddingService, dimensions: int = 384, *more: str) -> list[str]:
    return [
        f"--embedding-url={service.url}",
        f"--embedding-model={MODEL}",
        f"--embedding-dimensions={dimensions}",
        *more,
    ]


@pytest.fixture
def client(service: EmbeddingService) -> Iterator[Client]:
    """Makes embedders that ask the service; what is given changes how."""
    made: list[RemoteEmbedder] = []

    def begin(
        patience: Patience = ONE_TRY, sleep: Callable[[float], None] = time.sleep, **how: Any
    ) -> RemoteEmbedder:
        given = {"url": service.url, "model": MODEL, "dimensions": 384, "key": KEY, **how}
        made.append(RemoteEmbedder(Service(**given), patience, sleep=sleep))
        return made[-1]

    yield begin
    for each in made:
        each.close()


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return step(*arguments)


def test_a_memory_ingests_searches_and_remembers_with_the_model_of_a_service(
    service: EmbeddingService, database_server: postgres.Postgres, tmp_path: Path
) -> None:
    url = f"--database={database_server.database('remote')}"
    (tmp_path / "lore").mkdir()
    (tmp_path / "lore" / "bridges.md").write_text(LORE)
    steps = ["ingest", f"--source=lore={tmp_path / 'lore'}", url]
    # A length that the service does not give is found before a database is made for it.
    wrong = run("migrate", url, *flags(service, 1536))
    assert (wrong.returncode, "vectors of 384 dimensions, not 1536" in wrong.stderr) == (1, True)
    assert run("migrate", url, *flags(service)).returncode == 0
    done = run(*steps, *flags(service))
    assert "lore: 1 documents, 1 chunks, 0 in quarantine (1 embedded)" in done.stdout
    # What is there already is not asked for again.
    before = service.texts
    assert "(unchanged)" in run(*steps, *flags(service)).stdout
    assert service.texts == before
    with served(url.partition("=")[2], tmp_path, *flags(service)) as memory:
        found = memory.search("How many arches?")
        assert [each.provenance.section for each in found.hits] == ["Carrow"]
        assert not found.degraded
        assert History(memory).append(event(), *days())[0].sequence == 1
        assert History(memory).search("burned bridge")[0].event.event.kind == "battle"
        Concepts(memory, "").evolve("A mason.")
        assert KEY not in memory.log.read_text()
    assert {each["model"] for each in service.requests} == {MODEL}
    assert not any("dimensions" in each for each in service.requests)


def test_a_memory_answers_by_words_while_its_service_is_away_and_by_meaning_again_later(
    service: EmbeddingService, client: Client, database_server: postgres.Postgres, tmp_path: Path
) -> None:
    memory = Memory(database_server, client())
    memory.ingest({"bridges.md": LORE})
    with served(memory.url, tmp_path, *flags(service)) as running:
        assert not running.search("nine arches").degraded
        service.refusals = [(503, "")] * 100
        assert running.search("arches of black stone").degraded
        with pytest.raises(grpc.RpcError) as raised:
            History(running).append(event())
        assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
        for number in range(20):
            assert running.search(f"stone {number}").degraded
        # It is left alone after a few failures, not asked 22 times.
        assert 100 - len(service.refusals) < 10
        assert KEY not in running.log.read_text()
        service.refusals = []
        numbers = iter(range(1000))
        until(
            "it searches by meaning",
            lambda: not running.search(f"bridge {next(numbers)}").degraded,
            seconds=50,
        )
        assert History(running).append(event())[0].sequence == 1


def test_a_service_that_hangs_keeps_no_caller_waiting(
    service: EmbeddingService, client: Client, database_server: postgres.Postgres, tmp_path: Path
) -> None:
    memory = Memory(database_server, client())
    memory.ingest({"bridges.md": LORE})
    with served(memory.url, tmp_path, *flags(service)) as running:
        service.delay_seconds = 30
        began = time.monotonic()
        assert running.search("arches of black stone").degraded
        assert time.monotonic() - began < 10 * 2


def test_an_ingestion_waits_for_a_busy_service(service: EmbeddingService, client: Client) -> None:
    pauses: list[float] = []
    service.refusals = [
        (429, "7"),
        (500, ""),
        (503, "99999"),
        (429, "Mon, 30 Nov 2026 00:00:00 GMT"),
    ]
    made = client(INGESTING, sleep=pauses.append).embed(["a", "b"])
    assert made.shape == (2, 384)
    assert pauses == [7.0, 2.0, 30.0, 8.0]
    service.refusals = [(500, "")] * 20
    with pytest.raises(EmbeddingError, match="answered HTTP 500: status 500"):
        client(INGESTING, sleep=pauses.append).embed(["a"])
    assert 20 - len(service.refusals) <= INGESTING.attempts


def test_a_caller_is_told_what_is_wrong_and_never_the_key(
    service: EmbeddingService, client: Client
) -> None:
    def words(**how: Any) -> str:
        with pytest.raises(EmbeddingError) as raised:
            client(**how).embed(["a text"])
        assert how.get("key", KEY) not in str(raised.value)
        return str(raised.value)

    assert f"refuses the key (HTTP 401): is it right, and may it use {MODEL}?" in words(key="sk-no")
    assert "answered HTTP 404: Invalid URL (POST /v2/embeddings)" in words(
        url=service.url.replace("v1", "v2")
    )
    assert "vectors of 384 dimensions, not 512" in words(dimensions=512)
    assert "does not answer" in words(url="http://127.0.0.1:9/v1")
    service.body = b"<html>a portal</html>"
    assert "is the URL that of its API" in words()
    service.body = b"x" * (openai_wire.most_bytes(1, 384) + 1)
    assert "more than" in words()


def test_a_text_that_the_model_does_not_take_is_the_callers_and_hurts_no_other(
    service: EmbeddingService, client: Client, database_server: postgres.Postgres, tmp_path: Path
) -> None:
    memory = Memory(database_server, client())
    memory.ingest({"bridges.md": LORE})
    service.refusals = [(400, "")]
    more = {"a.md": "# A\n\nToo long for it.\n", "bridges.md": LORE, "c.md": "# C\n\nShort.\n"}
    report = memory.ingest(more)
    assert [each.partition(":")[0] for each in report.failed] == ["a.md"]
    assert report.documents == 2
    with served(memory.url, tmp_path, *flags(service)) as running:
        for _ in range(5):
            service.refusals = [(413, "")]
            with pytest.raises(grpc.RpcError) as raised:
                History(running).append(event())
            assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert "may be too long for the model" in (raised.value.details() or "")
        # The service is well.
        assert History(running).append(event())[0].sequence == 1
        assert not running.search("nine arches").degraded


@pytest.mark.parametrize(
    ("raw", "pause"),
    [
        (b"HTTP/1.1 200 OK\r\nx-slow: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n", 0.05),
        (b"HTTP/1.1 100 Continue\r\n\r\n", 0.0),
        (b"HTTP/1.1 103 Early Hints\r\nset-cookie: a=b\r\n\r\n", 0.0),
    ],
    ids=["header", "continue", "hints"],
)
def test_an_answer_that_never_ends_is_given_up(
    service: EmbeddingService, client: Client, raw: bytes, pause: float
) -> None:
    service.raw, service.raw_pause_seconds = raw, pause
    made, began = client(Patience(seconds=1, attempts=1, texts=8, breaks=True)), time.monotonic()
    with pytest.raises(EmbeddingError):
        made.embed(["a"])
    assert time.monotonic() - began < 10
    service.raw = None
    assert made.embed(["a"]).shape == (1, 384)


def test_a_key_that_is_quoted_in_an_odd_answer_is_in_no_message(
    service: EmbeddingService, client: Client
) -> None:
    key = "sk-" + "0123456789" * 20
    service.raw = f"HTTP/1.1 200 OK\r\n{key}\r\n\r\n".encode()
    with pytest.raises(EmbeddingError) as raised:
        client(key=key).embed(["a"])
    assert "0123456789" not in str(raised.value)
    assert len(str(raised.value)) < 400


def test_texts_are_asked_for_in_batches_and_lengths_only_where_the_model_shortens_them(
    service: EmbeddingService, client: Client, embedder: LocalEmbedder
) -> None:
    texts = [f"text {number}" for number in range(150)]
    service.numbers = True
    made = client(dimensions=100, request_dimensions=True).embed(texts)
    assert [len(each["input"]) for each in service.requests] == [64, 64, 22]
    assert {each["dimensions"] for each in service.requests} == {100}
    wanted = embedder.embed(texts)[:, :100]
    wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    assert np.allclose(made, wanted, atol=1e-5)
    assert client().embed([]).shape == (0, 384)


def test_a_service_that_takes_fewer_texts_gets_fewer(
    service: EmbeddingService, client: Client, embedder: LocalEmbedder
) -> None:
    service.most_texts = 20
    texts = [f"text {number}" for number in range(70)]
    made = client().embed(texts)
    assert np.allclose(made, embedder.embed(texts), atol=1e-5)
    # And one that refuses a single text is asked for the others: the error is of that text alone.
    service.requests.clear()
    with pytest.raises(RefusedTextError, match="batch size 1"):
        client().embed([*texts[:9], "refused"])


def test_threads_share_a_service(service: EmbeddingService, client: Client) -> None:
    service.delay_seconds = 0.5
    made = client()
    began = time.monotonic()
    threads = [
        threading.Thread(target=made.embed, args=([f"text {number}"],))
        for number in range(remote.RemoteEmbedder.concurrency)
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert time.monotonic() - began < 0.5 * remote.RemoteEmbedder.concurrency


def test_the_longest_vectors_fit_into_a_row(
    service: EmbeddingService,
    client: Client,
    database_server: postgres.Postgres,
    tmp_path: Path,
) -> None:
    service.dimensions = MOST_DIMENSIONS
    memory = Memory(database_server, client(dimensions=MOST_DIMENSIONS))
    long = "\n\n".join(f"## Part {n}\n\n{'a long story of bridges. ' * 60}" for n in range(20))
    # Random letters: a text that cannot be compressed.
    noise = "".join(map(chr, np.random.default_rng(1).integers(0x4E00, 0x9FFF, 1500)))
    memory.ingest({"long.md": f"# Long\n\n{long}", "bridges.md": LORE, "n.md": f"# N\n\n{noise}"})
    memory.ingest({"own.md": f"# N\n\n{noise}"}, name="own", world="games/moor")
    with served(memory.url, tmp_path, *flags(service, MOST_DIMENSIONS)) as running:
        assert running.search("nine arches").hits[0].provenance.section == "Carrow"
        assert History(running).append(event())[0].sequence == 1


def test_a_database_keeps_its_model_and_says_how_to_another_one(
    service: EmbeddingService,
    database_server: postgres.Postgres,
    embedder: LocalEmbedder,
    tmp_path: Path,
) -> None:
    memory = Memory(database_server, embedder)
    memory.ingest({"bridges.md": LORE})
    before = memory.chunks()
    (tmp_path / "lore").mkdir()
    (tmp_path / "lore" / "bridges.md").write_text(LORE)
    url = f"--database={memory.url}"
    for name, more in (("migrate", []), ("ingest", [f"--source=lore={tmp_path / 'lore'}"])):
        refused = run(name, url, *more, *flags(service))
        assert refused.returncode == 1
        assert f"vectors of the model all-MiniLM-L6-v2-int8, not of {MODEL}" in refused.stderr
        assert "fill another database with the new one" in refused.stderr
    refused = run("migrate", url, *flags(service, 1536))
    assert f"for vectors of 384 dimensions, and {MODEL} has 1536" in refused.stderr
    assert memory.chunks() == before


def test_an_archive_of_another_model_gets_vectors_of_the_new_one(
    service: EmbeddingService,
    client: Client,
    database_server: postgres.Postgres,
    embedder: LocalEmbedder,
    tmp_path: Path,
) -> None:
    memory, file = Memory(database_server, embedder), tmp_path / "history.jsonl"
    with served(memory.url, tmp_path) as running:
        History(running).append(event(), *days())
        Concepts(running).evolve("A mason of the moor.")
    assert run("export", f"--database={memory.url}", f"--file={file}").returncode == 0
    service.dimensions = 768
    other = Memory(database_server, client(dimensions=768))
    load = ["import", f"--database={other.url}", f"--file={file}", *flags(service, 768)]
    # All, half of them, and one.
    service.refusals = [(400, "")] * 3
    failed = run(*load)
    assert failed.returncode == 1
    assert "or shortly before: the embedding service" in failed.stderr
    done = run(*load)
    assert "imported: 0 worlds, 4 events, 1 versions of concepts" in done.stderr
    # Once more: what is there is not computed again.
    before = service.texts
    assert "imported: 0 worlds, 0 events, 0 versions of concepts" in run(*load).stderr
    assert service.texts == before
    models = "SELECT DISTINCT model, vector_dims(embedding) FROM memory."
    for table in ("story_events", "concept_versions"):
        assert other.rows(f"{models}{table}") == [(MODEL, 768)]
    with served(other.url, tmp_path, *flags(service, 768)) as running:
        assert History(running).search("burned bridge")[0].event.event.kind == "battle"
        assert Concepts(running).search("Who works stone?") == ["A mason of the moor."]
