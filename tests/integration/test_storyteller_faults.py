"""The storyteller while something is wrong or two act at once: what is kept is kept once."""

import asyncio
import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from gameai.client import Memory as Client
from gameai.client.memory_connection import MemoryConnection
from gameai.errors import ConflictError
from gameai.knowledge.v1 import concepts_pb2
from gameai.services.storyteller.archive import Archive
from gameai.services.storyteller.author import Author
from gameai.services.storyteller.planner import Planner
from gameai.services.storyteller.resolver import Resolver
from gameai.services.storyteller.rules import records
from gameai.storyteller.v1 import storyteller_pb2 as pb
from gameai_devcluster.processes import free_port
from gameai_devcluster.services import Service
from support.concepts import Concepts
from support.history import History
from support.memory import Memory, Served, served
from support.stories import ARC, WORLD, Stage, stage


@pytest.fixture
def untold(memory: Memory, tmp_path: Path) -> Iterator[Stage]:
    with stage(memory, tmp_path, "") as made:
        made.call("WriteArc", arc=ARC)
        yield made


class DyingConnection(MemoryConnection):
    """The connection of a process that dies at a call, before or after the memory has done it."""

    at, after = 0, False

    async def call(self, service: str, name: str, request: Any, timeout_seconds: float) -> Any:
        self.at -= 1
        # Two calls may be open at the same time.
        dies = self.at == 0
        if dies and not self.after:
            raise KilledError
        try:
            return await super().call(service, name, request, 20)
        finally:
            if dies:
                raise KilledError


class Dying(Client):
    """A client with such a connection."""

    def __init__(self, address: str, *, world: str, at: int, after: bool) -> None:
        super().__init__(address, world=world)
        self._connection = DyingConnection(address, None)
        self._connection.at, self._connection.after = at, after


class KilledError(Exception):
    """The process is gone."""


CHANGES = [
    pb.ConceptChange(kind="person", name=name, summary=f"{name} fled.") for name in ("Ada", "Bran")
]


# The memory keeps it without the address.
FELL = "The bridge fell, says ilda@carrow.example."


async def play(
    address: str, world: str, at: int, *, after: bool, now: int = 1000, who: str = "riders"
) -> bool:
    """Plan a beat and resolve it; False: killed at that call of the memory."""
    async with Dying(address, world=world, at=at, after=after) as memory:
        archive = Archive(memory)
        author = Author(None, role="story", tokens=64)
        planner, resolver = (
            Planner(archive, author, lambda: now, 6000),
            Resolver(archive, lambda: now),
        )
        try:
            await archive.write_arc(ARC, 0, now)
            beat, _ = await planner.plan("r1", "siege", "It is night.", lambda: 5.0)
            request = pb.ResolveBeatRequest(
                beat=beat.name, expected_version=1, changes=CHANGES, participants=[who]
            )
            await resolver.resolve(request, FELL)
        except KilledError:
            return False
        return True


def left(kept: Served, world: str) -> tuple[Any, ...]:
    """What is kept of a world, without its time."""
    events = [(e.sequence, e.event.summary) for e in History(kept, world).all()]
    listed = Concepts(kept, world).call("ListConcepts").versions
    return events, [(each.concept, each.version, each.cause_sequence) for each in listed]


def test_a_storyteller_that_is_killed_at_any_call_of_the_memory_does_everything_once(
    memory: Memory, tmp_path: Path
) -> None:
    with served(memory.url, tmp_path) as kept:
        assert asyncio.run(play(kept.address, "games/whole", 0, after=False))
        whole = left(kept, "games/whole")
        assert (len(whole[0]), len(whole[1])) == (1, 4)
        deaths = 0
        for after in (False, True):
            for at in itertools.count(1):
                world = f"games/w{at}-{after}".lower()
                if asyncio.run(play(kept.address, world, at, after=after)):
                    break
                deaths += 1
                # The next call comes later, by another process.
                assert asyncio.run(play(kept.address, world, 0, after=False, now=1007))
                assert left(kept, world) == whole, f"killed at call {at}"
        assert deaths >= 30


def test_of_outcomes_at_the_same_time_one_becomes_history(untold: Stage) -> None:
    beat = untold.plan().beat.name
    history = History(untold.memory, WORLD)

    def resolve(number: int) -> str:
        outcome = {"dropped": True} if number == 0 else {"happened": f"Outcome {number}."}
        try:
            found = untold.call("ResolveBeat", beat=beat, expected_version=1, **outcome)
        except grpc.RpcError as error:
            return error.code().name
        return str(found.beat.text)

    with ThreadPoolExecutor(6) as pool:
        said = list(pool.map(resolve, range(6)))
    # Three calls write at a time.
    won = [each for each in said if each not in ("ABORTED", "RESOURCE_EXHAUSTED")]
    assert len(won) == 1
    assert [each.event.summary for each in history.all()] in ([], won)


def test_a_retry_does_not_undo_what_was_learnt_since(memory: Memory, tmp_path: Path) -> None:
    world = "games/moor"
    with served(memory.url, tmp_path) as kept:
        concepts = Concepts(kept, world)
        for at in itertools.count(12):
            assert not asyncio.run(play(kept.address, world, at, after=True))
            try:
                version = concepts.get("Ada").version
            except grpc.RpcError:
                continue
            break
        concepts.evolve("Ada is queen.", version, name="Ada", world_seconds=1005)
        assert asyncio.run(play(kept.address, world, 0, after=False, now=1007, who="scouts"))
        assert concepts.get("Ada").concept.summary == "Ada is queen."
        [recorded] = History(kept, world).all()
        assert list(recorded.event.participants) == ["riders"], "what was appended stays"
        assert concepts.get("Bran").concept.summary == "Bran fled."


def test_a_beat_that_is_resolving_is_completed_with_the_text_that_is_kept(
    memory: Memory, tmp_path: Path
) -> None:
    async def resolve(version: int, happened: str) -> tuple[pb.Beat, list[str]]:
        async with Client(kept.address, world="games/moor") as client:
            request = pb.ResolveBeatRequest(beat=name, expected_version=version)
            return await Resolver(Archive(client), lambda: 1007).resolve(request, happened)

    async def claimed(at: int) -> pb.Beat | None:
        assert not await play(kept.address, "games/moor", at, after=True)
        async with Client(kept.address, world="games/moor") as client:
            found = await Archive(client).kept_beat(name)
            return found.beat if found and found.beat.state == pb.BEAT_STATE_RESOLVING else None

    name = records.beat_name("siege", "r1")
    with served(memory.url, tmp_path) as kept:
        beat = next(filter(None, (asyncio.run(claimed(at)) for at in itertools.count(8))))
        assert "ilda@" not in beat.text
        with pytest.raises(ConflictError, match="another call began to resolve it"):
            asyncio.run(resolve(beat.version, "Another outcome."))
        done, refused = asyncio.run(resolve(beat.version, beat.text))
        assert (done.state, refused) == (pb.BEAT_STATE_HAPPENED, [])
        assert asyncio.run(resolve(1, FELL)) == (done, []), "the call that began"
        assert len(History(kept, "games/moor").all()) == 1


def test_two_replicas_plan_one_beat_for_a_request(untold: Stage) -> None:
    log = untold.folder / "second.log"
    launch = replace(untold.service.launch, log=log)
    second = Stage(
        folder=untold.folder,
        memory=untold.memory,
        config=untold.config,
        service=Service(launch).wait_serving(),
    )
    try:
        with ThreadPoolExecutor(4) as pool:
            planned = list(pool.map(lambda each: each.plan().beat, [untold, second] * 2))
        assert len({each.text for each in planned}) == 1
        assert {each.version for each in planned} == {1}
        both = [untold, second] * 2
        outcome = {"beat": planned[0].name, "expected_version": 1, "happened": "It fell."}
        with ThreadPoolExecutor(4) as pool:
            done = list(pool.map(lambda each: each.call("ResolveBeat", **outcome).beat, both))
        assert {each.version for each in done} == {3}
        assert len(History(untold.memory, WORLD).all()) == 1
    finally:
        second.close()


def test_a_gateway_that_is_gone_degrades_a_call_before_its_deadline(
    memory: Memory, tmp_path: Path
) -> None:
    # Nothing listens there.
    with stage(memory, tmp_path, "", gateway=f"127.0.0.1:{free_port()}") as told:
        told.call("WriteArc", arc=ARC)
        told.timeout = 6
        assert told.plan().beat.degraded_reason == pb.DEGRADED_REASON_NO_TIER
        found = told.call("AnswerQuestion", question="Who built the bridge?")
        assert found.degraded_reason == pb.DEGRADED_REASON_NO_TIER
        told.timeout = 3
        with pytest.raises(grpc.RpcError, match="give a longer deadline"):
            told.plan("r2")


def test_concepts_of_all_worlds_hide_no_beat_and_end_no_list(untold: Stage) -> None:
    beat = untold.plan().beat
    shared = Concepts(untold.memory, "")
    digest = records.beats_of("siege", 0)
    for number in range(101):
        concept = concepts_pb2.Concept(
            kind="story-beat", name=f"a-{number:03}", summary="Of all worlds.", attributes=digest
        )
        shared.call("EvolveConcept", concept=concept)
    listed = untold.call("ListBeats", arc="siege")
    assert ([each.name for each in listed.beats], listed.more) == ([beat.name], False)
    assert untold.plan("r2").beat.stage == 2
