"""Events of a database are published once, in order for each world, whatever happens to replicas, broker and database."""

import asyncio
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from gameai.bus import subjects
from gameai.bus.admin import NatsAdmin
from gameai.bus.batches import parsed
from gameai.bus.log import Log, RefusedError
from gameai.bus.streams import LOG
from gameai.kit import relay
from gameai_devcluster import postgres
from gameai_devcluster.broker import Broker
from support.bounties import Example, Places, refused
from support.bus import MOOR, declared, worlds
from support.outbox import (
    KEPT,
    Refusing,
    copied,
    end_relay,
    golds,
    lose,
    posted,
    published,
    running,
)


async def test_events_of_transactions_are_published_in_order_and_of_failed_ones_never(
    example: Example, database: str, log: Log
) -> None:
    async with running(example, database, log, MOOR) as service:
        await posted(service, 2)
        await refused(service.post(1, 13))
        await posted(service, 1)
        assert await golds(log, MOOR, 3, example) == [1, 2, 3]
    # What was committed is published by the next replica.
    async with running(example, database, log, MOOR) as service:
        await posted(service, 1)
        assert await golds(log, MOOR, 4, example) == [1, 2, 3, 4]


async def test_no_event_comes_before_its_cause_and_two_replicas_publish_each_once(
    example: Example, database: str, nats: NatsAdmin
) -> None:
    async with (
        running(example, database, nats, MOOR) as one,
        running(example, database, nats, MOOR) as other,
    ):
        # Each transaction sees what the one before it has written.
        await asyncio.gather(
            *(posted(one, 25) for _ in range(4)), *(posted(other, 25) for _ in range(4))
        )
        assert await golds(nats, MOOR, 200, example) == list(range(1, 201))


async def test_another_replica_publishes_when_one_has_lost_its_connection(
    example: Example, database: str, nats: NatsAdmin
) -> None:
    async with (
        running(example, database, nats, MOOR) as one,
        running(example, database, nats, MOOR) as other,
    ):
        for _ in range(3):
            await posted(one, 5)
            await end_relay(database)
            await posted(other, 5)
            await asyncio.sleep(1.5)
        assert await golds(nats, MOOR, 30, example) == list(range(1, 31))


@pytest.mark.parametrize("then", ["another event", "another relay"])
async def test_what_the_broker_has_lost_is_published_again_before_anything_else(
    example: Example, database: str, nats: NatsAdmin, then: str
) -> None:
    async with running(example, database, nats, MOOR) as service:
        for gold in range(1, 6):
            await posted(service, 1)
            assert await golds(nats, MOOR, gold, example) == list(range(1, gold + 1))
        await asyncio.sleep(0.3)
        await lose(nats, [4, 5])
        if then == "another event":
            await posted(service, 1)
            assert await golds(nats, MOOR, 6, example) == [1, 2, 3, 4, 5, 6]
        else:
            await end_relay(database)
            assert await golds(nats, MOOR, 5, example) == [1, 2, 3, 4, 5]


async def test_a_stream_that_was_lost_has_the_last_events_again(
    example: Example, database: str, nats: NatsAdmin
) -> None:
    async with running(example, database, nats, MOOR) as service:
        await posted(service, 4)
        assert await golds(nats, MOOR, 4, example) == [1, 2, 3, 4]
        await asyncio.sleep(0.3)
        await nats._js.delete_stream(LOG.name)
        await declared(nats, [KEPT])
        await posted(service, 1)
        assert await golds(nats, MOOR, 5, example) == [1, 2, 3, 4, 5]


async def test_what_was_purged_is_published_again_while_the_broker_knows_its_ids(
    example: Example, database: str, nats: NatsAdmin
) -> None:
    async with running(example, database, nats, MOOR) as service:
        await posted(service, 5)
        assert await golds(nats, MOOR, 5, example) == [1, 2, 3, 4, 5]
        await asyncio.sleep(0.3)
        await nats._js.purge_stream(LOG.name)
        await posted(service, 1)
        assert await golds(nats, MOOR, 6, example) == [1, 2, 3, 4, 5, 6]


async def test_events_wait_for_a_broker_that_is_away(
    example: Example, database: str, nats: NatsAdmin, server: Broker
) -> None:
    async with running(example, database, nats, MOOR) as service:
        await posted(service, 2)
        server.kill()
        # Mutations need no bus.
        await posted(service, 3)
        server.start()
        await posted(service, 2)
        assert await golds(nats, MOOR, 7, example) == list(range(1, 8))


async def test_a_database_that_was_restored_numbers_its_events_in_another_epoch(
    example: Example, nats: NatsAdmin, tmp_path: Path
) -> None:
    folder, copy = tmp_path / "postgres", tmp_path / "copy"
    server = postgres.start(folder)
    try:
        url = server.database("kit")
        async with running(example, url, nats, MOOR) as service:
            await posted(service, 2)
            before = await published(nats, MOOR, 2, example)
        server.stop()
        copied(server.folder, copy)
        server = postgres.start(folder, server.port)
        async with running(example, url, nats, MOOR) as service:
            await posted(service, 2)
            await published(nats, MOOR, 4, example)
        server.stop()
        shutil.rmtree(server.folder)
        copied(copy, server.folder)
        server = postgres.start(folder, server.port)
        async with running(example, url, nats, MOOR) as service:
            await posted(service, 1)
            found = await published(nats, MOOR, 5, example)
        assert [gold for _, gold in found] == [1, 2, 3, 4, 3]
        assert found[:2] == before
        assert found[4][0] not in {epoch for epoch, _ in found[:4]}
    finally:
        server.stop()


async def test_a_hundred_worlds_of_a_process_do_not_wait_for_each_other(
    example: Example, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "_STUCK_SECONDS", 0.5)
    many = worlds(100)
    names = [f"{each.namespace}/{each.name}" for each in many]
    nats = Refusing(RefusedError("no"), "world-0")
    async with running(example, database, nats, *many) as service:
        await asyncio.gather(*(posted(service, 3, each) for each in names))
        for world in many[1:]:
            assert await golds(nats, world, 3, example) == [1, 2, 3]
        assert await nats.last(LOG, subjects.log(many[0], "bounties")) is None
        nats.names = ()
        assert await golds(nats, many[0], 3, example) == [1, 2, 3]


async def test_worlds_with_replicas_of_their_own_share_a_database(
    example: Example, database: str, nats: NatsAdmin
) -> None:
    one, other = worlds(2)
    async with (
        running(example, database, nats, one) as first,
        running(example, database, nats, other) as second,
    ):
        await posted(first, 3)
        await posted(second, 3)
        assert await golds(nats, one, 3, example) == [1, 2, 3]
        assert await golds(nats, other, 3, example) == [1, 2, 3]


async def test_a_world_that_gets_another_knowledge_base_publishes_under_its_new_subject(
    example: Example, database: str, nats: NatsAdmin
) -> None:
    moved = replace(MOOR, world_set="moor_lore")
    places = Places(MOOR)
    async with running(example, database, nats, MOOR, places=places) as service:
        await posted(service, 2)
        assert await golds(nats, MOOR, 2, example) == [1, 2]
        places.worlds["moor/aldermoor"] = moved
        await posted(service, 2)
        subject = subjects.log(moved, "bounties")
        async with asyncio.timeout(20):
            while not await nats.last_sequence(LOG, subject):
                await asyncio.sleep(0.05)
        # Of the same epoch: consumers know its numbers.
        (message,) = [await nats.first(LOG, subject)]
        assert message
        assert parsed(message.payload).first_sequence == 3
