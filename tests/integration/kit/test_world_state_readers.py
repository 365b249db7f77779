"""Readers of WorldStateService: watches, replicas, and a database that is away."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import psycopg
from gameai.bus.log import Log
from gameai.testing.bus import MemoryLog
from gameai.world_state.v1 import world_state_pb2 as pb
from gameai_devcluster import postgres
from grpc import aio
from support.bounties import refused, until_answered
from support.bus import MOOR
from support.live_world_state import WorldState, killed, killing, proposal, rule, serving


async def watched(
    facts: WorldState, seen: dict[tuple[str, str], int], revisions: list[int]
) -> None:
    """What a watcher knows; it forgets what a complete message lacks."""
    async for message in facts.stub.WatchFacts(pb.WatchFactsRequest()):
        if message.complete:
            seen.clear()
        revisions.append(message.revision)
        seen.update({(each.name, each.region): each.value for each in message.facts})


@contextlib.asynccontextmanager
async def watching(
    facts: WorldState,
) -> AsyncIterator[tuple[dict[tuple[str, str], int], list[int]]]:
    seen: dict[tuple[str, str], int] = {}
    revisions: list[int] = []
    task = asyncio.create_task(watched(facts, seen, revisions))
    try:
        yield seen, revisions
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_a_watcher_sees_the_newest_and_never_an_older_revision(
    database: str, log: Log
) -> None:
    async with serving(database, log, MOOR) as facts, serving(database, log, MOOR) as other:
        await facts.declare(rule(maximum=10_000, reactions=[killing(1)]), rule("fog"))
        async with watching(facts) as (seen, revisions), watching(other) as (also, _):
            for each in range(10):
                await other.happen(*[killed()] * 20)
                await facts.propose(proposal("coast", add=1), proposal(fact="fog", set=each))
            await facts.until(200)
            async with asyncio.timeout(20):
                while seen != {
                    ("danger", "moor"): 200,
                    ("danger", "coast"): 10,
                    ("fog", "moor"): 9,
                    ("fog", "coast"): 0,
                }:
                    await asyncio.sleep(0.05)
            assert revisions == sorted(revisions)
            async with asyncio.timeout(20):
                while also != seen:
                    await asyncio.sleep(0.05)
            # Removed facts are forgotten.
            await other.declare(removed=("danger",))
            async with asyncio.timeout(20):
                while seen.keys() != {("fog", "moor"), ("fog", "coast")}:
                    await asyncio.sleep(0.05)


async def test_who_joins_during_many_changes_has_the_facts_of_each_revision(
    database: str,
) -> None:
    names = [f"f-{each}" for each in range(64)]
    seed = random.randrange(1 << 32)
    print("seed", seed)
    chance = random.Random(seed)
    async with serving(database, MemoryLog(), MOOR) as facts:
        revision = await facts.declare(
            *(rule(each, per_region=False, maximum=10**6) for each in names)
        )
        reference = {revision: dict.fromkeys(names, 0)}

        async def write() -> None:
            for _ in range(120):
                values = {each: chance.randrange(10**6) for each in names}
                given = [proposal("", each, set=value) for each, value in values.items()]
                reference[(await facts.propose(*given)).revision] = values

        async def join(delay: float) -> list[tuple[int, dict[str, int]]]:
            await asyncio.sleep(delay)
            seen: list[tuple[int, dict[str, int]]] = []
            values: dict[str, int] = {}
            watch = facts.stub.WatchFacts(pb.WatchFactsRequest())
            while not seen or seen[-1][0] < revision + 120:
                message = await asyncio.wait_for(watch.read(), 20)
                values.update({each.name: each.value for each in message.facts})
                seen.append((message.revision, dict(values)))
            watch.cancel()
            return seen

        writing = asyncio.create_task(write())
        joined = await asyncio.gather(*(join(chance.uniform(0.0, 2.0)) for _ in range(10)))
        await writing
    found = [each for seen in joined for each in seen]
    assert len(found) > 50
    assert all(values == reference[at] for at, values in found)


async def test_a_drain_ends_watches(facts: WorldState) -> None:
    watch = facts.stub.WatchFacts(pb.WatchFactsRequest())
    assert (await watch.read()).complete
    facts.live.drain()
    error = await refused(watch.read())
    assert error.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_drain_ends_watches_though_facts_change_all_the_time(facts: WorldState) -> None:
    await facts.declare(rule(maximum=10_000))

    async def change() -> None:
        while True:
            await facts.propose(proposal(add=1))

    changing = asyncio.create_task(change())
    watch = facts.stub.WatchFacts(pb.WatchFactsRequest())
    await watch.read()
    facts.live.drain()

    async def ended() -> None:
        while await watch.read() is not aio.EOF:
            pass

    error = await asyncio.wait_for(refused(ended()), 20)
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    changing.cancel()


async def test_another_replica_has_a_fact_that_was_declared_just_now(database: str) -> None:
    log = MemoryLog()
    async with serving(database, log, MOOR) as one, serving(database, log, MOOR) as other:
        await one.declare(rule("fog"))
        assert (await other.snapshot(facts=["fog"])).facts


# The server is on another port meanwhile, so that the service does not reach it.
_RESTORED = """
UPDATE svc_world_state.fact SET value = 50, revision = 1;
UPDATE svc_world_state.head SET revision = 9, token = gen_random_uuid()
"""


async def test_readers_are_answered_while_the_database_is_away_and_events_wait(
    tmp_path: Path,
) -> None:
    server = postgres.start(tmp_path / "postgres")
    port = server.port
    try:
        async with serving(server.database("kit"), MemoryLog(), MOOR) as facts:
            await facts.declare(rule(reactions=[killing(1)]))
            await facts.propose(proposal(set=3))
            watch = facts.stub.WatchFacts(pb.WatchFactsRequest(regions=["moor"]))
            assert (await watch.read()).complete
            server.kill()
            assert await facts.present() == 3
            error = await refused(facts.propose(proposal(add=1)))
            assert error.code() is grpc.StatusCode.UNAVAILABLE
            await facts.happen(killed())
            async with asyncio.timeout(50):
                while not (await facts.snapshot()).stale:
                    await asyncio.sleep(0.2)
            assert await facts.present() == 3
            # A backup is restored that has fewer changes, and then more.
            server = postgres.start(tmp_path / "postgres", 0)
            async with await psycopg.AsyncConnection.connect(server.database("kit")) as database:
                await database.execute(_RESTORED)
            server.stop()
            server = postgres.start(tmp_path / "postgres", port)

            async def propose() -> Any:
                return await facts.propose(proposal("coast", add=1))

            stale = await asyncio.wait_for(watch.read(), 20)
            assert (stale.stale, len(stale.facts)) == (True, 0)
            await until_answered(propose)
            # It has a value of a higher revision than what was restored.
            restored = await asyncio.wait_for(watch.read(), 20)
            assert restored.complete
            await facts.until(51)
            assert not (await facts.snapshot()).stale
    finally:
        server.stop()
