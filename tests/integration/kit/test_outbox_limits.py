"""No world, no replica and no amount of events keeps others from being published."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import grpc
import psycopg
import pytest
from gameai.bus import subjects
from gameai.bus.admin import NatsAdmin
from gameai.bus.log import BusError, Log, Outgoing, RefusedError
from gameai.bus.streams import LOG
from gameai.bus.subjects import World
from gameai.client import Bus
from gameai.kit import outbox, relay
from gameai.kit.forgetting import forget_world
from gameai.kit.measuring import measure_once
from gameai.testing.bus import MemoryLog
from support.bounties import Example, Places, bounties, refused, types_of
from support.bus import MOOR, worlds
from support.outbox import Refusing, end_relay, golds, posted, published, running, telling


@pytest.mark.parametrize("fault", [RefusedError("no"), BusError("no answer")])
async def test_a_world_that_the_bus_does_not_take_holds_up_no_other(
    example: Example, database: str, fault: BusError
) -> None:
    one, other = worlds(2)
    log = Refusing(fault)
    async with running(example, database, log, one, other) as service:
        await posted(service, 2, "moor/world-0")
        assert await golds(log, one, 2, example) == [1, 2]
        await asyncio.sleep(0.3)
    log.names = ("world-0",)
    # It is verified first, since something of it was stored lately.
    async with running(example, database, log, one, other) as service:
        for _ in range(3):
            await posted(service, 1, "moor/world-0")
            await posted(service, 1, "moor/world-1")
            await asyncio.sleep(0.5)
        found = await published(log, other, 3, example)
        assert [gold for _, gold in found] == [1, 2, 3]
        assert len({epoch for epoch, _ in found}) == 1
        assert 1 <= log.asked < 15


async def test_a_slow_bus_does_not_cost_the_lock_and_what_waits_is_measured(
    example: Example, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "_ROUND_SECONDS", 0.5)
    monkeypatch.setattr(relay, "_IDLE_SECONDS", 2.0)

    class Slow(MemoryLog):
        async def store(self, message: Outgoing, *, after: int | None = None) -> int:
            await asyncio.sleep(0.2)
            return await super().store(message, after=after)

    log = Slow()
    async with running(example, database, log, MOOR) as service:
        # Each has a batch of its own.
        for number in range(20):
            service.kit._worlds.now_us = 7_000_000 + number * 2_000_000  # type: ignore[attr-defined] # those of tests
            await posted(service, 1)
        await measure_once(service.kit.database, service.kit._worlds, service.kit._metrics)
        assert service.kit._metrics.oldest._value.get() > 0
        found = await published(log, MOOR, 20, example)
        assert [gold for _, gold in found] == list(range(1, 21))
        assert len({epoch for epoch, _ in found}) == 1
        await asyncio.sleep(1.0)
        await measure_once(service.kit.database, service.kit._worlds, service.kit._metrics)
        assert service.kit._metrics.oldest._value.get() == 0


async def test_a_replica_that_does_not_reach_the_bus_leaves_the_outbox_to_others(
    example: Example, database: str, nats: NatsAdmin
) -> None:

    @contextlib.asynccontextmanager
    async def never() -> AsyncIterator[tuple[Log, World]]:
        await asyncio.Event().wait()
        yield nats, MOOR

    away = Bus(never, "bounties", types_of(example))
    async with (
        bounties(example, database, Places(MOOR), away, service=telling(example)) as one,
        running(example, database, nats, MOOR) as other,
    ):
        await posted(one, 2)
        await posted(other, 1)
        assert await golds(nats, MOOR, 3, example) == [1, 2, 3]


async def test_a_relay_that_has_lost_its_lock_does_not_store_behind_another_one(
    example: Example, database: str
) -> None:

    class Late(MemoryLog):
        """Another relay stores meanwhile, and this one has lost its connection to the database."""

        async def store(self, message: Outgoing, *, after: int | None = None) -> int:
            if not self._kept[0].sequence:
                await super().store(Outgoing(subject=message.subject, payload=message.payload))
                await end_relay(database)
            return await super().store(message, after=after)

    log = Late()
    async with running(example, database, log, MOOR) as service:
        await posted(service, 1)
        await asyncio.sleep(1.5)
        assert await log.last_sequence(LOG, subjects.log(MOOR, "bounties")) == 1


async def test_events_that_are_large_are_taken_in_rounds(
    example: Example, database: str, log: Log
) -> None:
    body = (
        example.wire.BountyClaimed(gold=7).SerializeToString() + b"\x7a\xe0\xd4\x03" + b"x" * 60_000
    )
    async with running(example, database, log, MOOR) as service:
        await posted(service, 1)
        async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
            await connection.execute(
                "INSERT INTO gameai_outbox (world, type, schema, at_us, world_us, body)"
                " SELECT 'moor/aldermoor', 529, 1, 0, 0, %s FROM generate_series(1, 400)",
                (body,),
            )
        assert await golds(log, MOOR, 401, example) == [1, *[7] * 400]


async def test_events_of_worlds_that_are_not_here_fill_no_outbox_of_others(
    example: Example, database: str, nats: NatsAdmin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "_MEASURE_SECONDS", 0.0)
    async with running(example, database, nats, MOOR) as service:
        service.kit._outbox._most = 12
        async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
            await connection.execute(
                "INSERT INTO gameai_outbox (world, type, schema, at_us, world_us, body)"
                " SELECT 'moor/gone', 529, 1, 0, 0, '' FROM generate_series(1, 100)"
            )
            await posted(service, 3)
            assert await golds(nats, MOOR, 3, example) == [1, 2, 3]
            await forget_world(service.kit.database, "moor/gone")
            cursor = await connection.execute("SELECT count(*) FROM gameai_outbox")
            assert await cursor.fetchone() == (0,)


async def test_a_full_outbox_refuses_changes_until_the_bus_takes_events_again(
    example: Example, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "_MEASURE_SECONDS", 0.0)
    monkeypatch.setattr(relay, "_STUCK_SECONDS", 0.5)
    log = Refusing(BusError("away"), "aldermoor")
    async with running(example, database, log, MOOR) as service:
        service.kit._outbox._most = 12
        await posted(service, 1)
        await asyncio.sleep(0.3)
        await posted(service, 3)
        error = await refused(service.post(1, 1))
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "3 events of moor/aldermoor" in str(error.details())
        log.names = ()
        assert await golds(log, MOOR, 4, example) == [1, 2, 3, 4]
        await posted(service, 1)


async def test_events_are_not_kept_in_a_cluster_without_a_bus(
    example: Example, database: str
) -> None:
    places = Places(MOOR)
    places.away.add("moor/aldermoor")
    async with running(example, database, MemoryLog(), MOOR, places=places) as service:
        await posted(service, 3)
        async with await psycopg.AsyncConnection.connect(database) as connection:
            cursor = await connection.execute("SELECT count(*) FROM gameai_outbox")
            assert await cursor.fetchone() == (0,)
