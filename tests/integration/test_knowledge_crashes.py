"""The memory's service and its database are killed while worlds write: every write is there once, as without a kill."""

import random
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any, cast

import grpc
import pytest
from gameai.knowledge.embedding.local import LocalEmbedder
from gameai_devcluster import postgres
from gameai_devcluster.postgres import Postgres
from gameai_devcluster.processes import free_port
from support.concepts import Concepts
from support.history import History, event
from support.killed_database import restarted
from support.memory import COMMAND, Memory, Served, served
from support.relations import Relations
from support.rows import CONCEPTS, EVENTS, RELATIONS

SAMPLE, ALL = 6, 100
DOCUMENTS = 20
# The limit of one relation, and less than that of one concept.
VERSIONS = 1000
# For a part to come back and take a call.
PATIENCE_SECONDS = 60.0
# A client calls again after these: none says that nothing was written.
AGAIN = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
)


@dataclass
class Channel:
    """What the stubs need of a service: a channel to its address, whichever process serves there."""

    channel: grpc.Channel


@dataclass
class Stage:
    """A server and a service of this test alone, on ports that stay."""

    folder: Path
    embedder: LocalEmbedder
    server: Postgres
    memory: Memory = field(init=False)
    service: Served = field(init=False)
    port: int = field(default_factory=free_port)

    def __post_init__(self) -> None:
        self.memory = Memory(self.server, self.embedder)
        self.serve()

    def serve(self) -> None:
        self.service = Served(self.memory.url, self.folder, f"--port={self.port}")

    def kill_service(self) -> None:
        self.service.process.kill()
        self.service.process.wait(10)
        self.service.channel.close()
        self.serve()

    def kill_database(self) -> None:
        """The first process alone: the others end when they notice, and a new server waits for that."""
        self.server.process.kill()
        self.server = restarted(self.server, self.folder / "own")


@contextmanager
def stage(folder: Path, embedder: LocalEmbedder) -> Iterator[Stage]:
    with postgres.running(folder / "own") as first:
        made = Stage(folder, embedder, first)
        try:
            yield made
        finally:
            made.service.close()
            made.server.stop()


def acknowledged(call: Callable[[], Any], interrupted: list[str]) -> Any:
    """The answer to a call that is made again until there is one. Raises grpc.RpcError if that takes too long."""
    end = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return call()
        except grpc.RpcError as error:
            if error.code() not in AGAIN or time.monotonic() > end:
                raise
            interrupted.append(str(error.code()))
            time.sleep(0.05)


@dataclass
class Writers:
    """Writes whose results follow from how many there were, so that another database can be given the same."""

    service: Served
    ended: Event = field(default_factory=Event)
    interrupted: list[str] = field(default_factory=list)

    def events(self) -> int:
        """Batches of events."""
        return self._repeated(partial(append, History(self.service)))

    def concepts(self) -> int:
        """Versions of concepts, each of which needs the one before."""
        return self._repeated(partial(evolve, Concepts(self.service)))

    def relations(self) -> int:
        """Versions of relations between concepts of all worlds, of each as many as it may have."""
        return self._repeated(partial(relate, Relations(self.service)))

    def _repeated(self, write: Callable[[int], object]) -> int:
        """Write the first, the second and so on until it is enough; how many."""
        done = 0
        while not self.ended.is_set():
            acknowledged(partial(write, done), self.interrupted)
            done += 1
        return done


def append(history: History, number: int) -> None:
    """A batch of two; the sequences of all have no gap."""
    days = range(2 * number, 2 * number + 2)
    batch = [event(f"Day {day} passed.", key=f"day-{day}", world_seconds=day) for day in days]
    found = history.append(*batch)
    assert [each.sequence for each in found] == [day + 1 for day in days]


def evolve(concepts: Concepts, number: int) -> None:
    name, version = divmod(number, VERSIONS)
    concepts.evolve(f"She is {number} days old.", expected=version, name=f"Ilda {name}")


def relate(relations: Relations, number: int) -> None:
    kind, version = divmod(number, VERSIONS)
    relations.write("Tam", f"trusts_{kind}", "Orr", number % 100, expected=version)


def ingested(memory: Memory, folder: Path, ended: Event) -> int:
    """An ingestion Job that is run again until it ends well, and then for another edition; how many editions there were."""
    done = 0
    command = [*COMMAND, "ingest", f"--database={memory.url}", f"--source=lore={folder}"]
    while not ended.is_set():
        edition(folder, done)
        end = time.monotonic() + PATIENCE_SECONDS
        while (run := subprocess.run(command, capture_output=True, check=False)).returncode:
            assert time.monotonic() < end, run.stderr.decode()
            time.sleep(0.05)
        done += 1
    return done


def edition(folder: Path, number: int) -> None:
    folder.mkdir(exist_ok=True)
    for each in range(DOCUMENTS):
        text = f"# D\n\n## S{each}\n\nIn year {number}, number {each} is known.\n"
        (folder / f"{each:02}.md").write_text(text)


def begin(service: Served) -> None:
    for name in ("Tam", "Orr"):
        Concepts(service, "").evolve(f"{name} lives in Carrow.", name=name)


def sweep(folder: Path, embedder: LocalEmbedder, chance: random.Random, kills: int) -> None:
    with stage(folder, embedder) as killed:
        begin(killed.service)
        options = [("grpc.max_reconnect_backoff_ms", 200)]
        with grpc.insecure_channel(killed.service.address, options) as channel:
            writers = Writers(cast("Served", Channel(channel)))
            done = written(killed, writers, chance, kills)
        assert writers.interrupted, "no kill met a write"
        whole = Memory(killed.server, embedder)
        repeat(whole, folder, done)
        for statement in (EVENTS, CONCEPTS, RELATIONS):
            assert timeless(killed.memory.rows(statement)) == timeless(whole.rows(statement))
        assert killed.memory.chunks() == whole.chunks()
        print(f"{kills} kills, {len(writers.interrupted)} calls made again, {done} written")


def timeless(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Rows without the times at which they were written."""
    return [tuple(each for each in row if not isinstance(each, datetime)) for row in rows]


def written(
    killed: Stage, writers: Writers, chance: random.Random, kills: int
) -> tuple[int, int, int, int]:
    """Write while parts are killed; how often each writer has written."""
    lore = killed.folder / "lore"
    with ThreadPoolExecutor(4) as pool:
        running: list[Future[int]] = [
            pool.submit(each) for each in (writers.events, writers.concepts, writers.relations)
        ]
        running.append(pool.submit(ingested, killed.memory, lore, writers.ended))
        try:
            for number in range(kills):
                time.sleep(chance.uniform(0.1, 2.0))
                # In turn: of either there are some in any sample.
                (killed.kill_database if number % 2 else killed.kill_service)()
        finally:
            writers.ended.set()
        first, second, third, fourth = (each.result(60) for each in running)
    return first, second, third, fourth


def repeat(whole: Memory, folder: Path, done: tuple[int, int, int, int]) -> None:
    """The same writes, each once, with nothing killed."""
    events, concepts, relations, editions = done
    with served(whole.url, folder) as service:
        begin(service)
        for number in range(events):
            append(History(service), number)
        for number in range(concepts):
            evolve(Concepts(service), number)
        for number in range(relations):
            relate(Relations(service), number)
    lore = folder / "lore"
    edition(lore, editions - 1)
    whole.ingest({each.name: each.read_text() for each in sorted(lore.iterdir())})


@pytest.mark.timeout(300)
def test_kills_of_service_and_database_lose_no_write_and_repeat_none(
    tmp_path: Path, embedder: LocalEmbedder, seed: int
) -> None:
    sweep(tmp_path, embedder, random.Random(seed), SAMPLE)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_a_hundred_kills_lose_no_write_and_repeat_none(
    tmp_path: Path, embedder: LocalEmbedder, seed: int
) -> None:
    sweep(tmp_path, embedder, random.Random(seed), ALL)
