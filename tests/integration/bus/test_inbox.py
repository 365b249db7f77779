"""Each event takes effect once in the database of a service, whatever ends in between."""

import asyncio
import contextlib
import random
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import psycopg
import pytest
from gameai.bus import subjects
from gameai.bus.admin import NatsAdmin
from gameai.bus.group import PoisonError, Received, RetryError
from gameai.bus.publisher import Publisher
from gameai.bus.v1.bus_pb2 import EventBatch
from gameai.client import Inbox
from gameai.client.inbox import CREATE_TABLE
from gameai_devcluster.broker import SMALL, broker
from gameai_devcluster.postgres import Postgres
from support.bus import METRICS, MOOR, REGISTRY, killed, worlds

INBOX = Inbox("quests")
# A service with a database, in a process of its own.
REPLICA = """
import asyncio, sys
import psycopg
from gameai.bus.consumer import Consumer
from gameai.bus.group import Group
from gameai.bus.metrics import of_process
from gameai.bus.nats import NatsLog
from gameai.bus.types import Types
from gameai.client import Inbox
from gameai.events.v1 import events_pb2

TYPES, INBOX = Types([events_pb2]), Inbox("quests")

async def main(url, database):
    async with NatsLog(url) as log, await psycopg.AsyncConnection.connect(database) as connection:
        async def handle(received):
            async with connection.transaction():
                for _, event in await INBOX.fresh(connection, received):
                    victim = TYPES.message(event).victim
                    await connection.execute(
                        "INSERT INTO applied (world, victim) VALUES (%s, %s)",
                        (received.address.world, victim),
                    )
        await connection.set_autocommit(True)
        group = Group(world_set="none", consumer="quests", services=("game-server",))
        print("ready", flush=True)
        await Consumer(log, group, handle, metrics=of_process(), handler_seconds=2.0).run()

asyncio.run(main(*sys.argv[1:]))
"""


def batch(first: int, number: int, *, epoch: int = 7) -> Received:
    found = EventBatch(world=MOOR.number, source=31, epoch=epoch, first_sequence=first)
    for each in range(number):
        body = killed(first + each).SerializeToString()
        found.events.add(schema=1, type=497, body=body)
    address = subjects.parsed(subjects.log(MOOR, "game-server"))
    return Received(address=address, batch=found, sequence=1, deliveries=1)


@pytest.fixture
async def database(database_server: Postgres, request: pytest.FixtureRequest) -> str:
    url = database_server.database(f"inbox-{abs(hash(request.node.name)) % 10**9}")
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute(CREATE_TABLE)
        await connection.execute(
            "CREATE TABLE applied (id bigserial PRIMARY KEY, world text, victim bigint)"
        )
    return url


@pytest.fixture
async def connection(database: str) -> AsyncIterator[psycopg.AsyncConnection]:
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as found:
        yield found


async def numbers(connection: psycopg.AsyncConnection, received: Received) -> list[int]:
    async with connection.transaction():
        return [number for number, _ in await INBOX.fresh(connection, received)]


async def test_a_batch_that_comes_again_has_no_fresh_events(
    connection: psycopg.AsyncConnection,
) -> None:
    assert await numbers(connection, batch(1, 3)) == [1, 2, 3]
    assert await numbers(connection, batch(1, 3)) == []
    # Some of it is new where a publisher has sent a part of it before.
    assert await numbers(connection, batch(2, 4)) == [4, 5]
    assert await numbers(connection, batch(4, 1)) == []
    assert await numbers(connection, batch(1, 1, epoch=8)) == [1]
    async with connection.transaction():
        assert await Inbox("other").fresh(connection, batch(1, 1))


async def test_a_transaction_that_fails_marks_nothing(connection: psycopg.AsyncConnection) -> None:

    async def fails() -> None:
        async with connection.transaction():
            assert len(await INBOX.fresh(connection, batch(1, 3))) == 3
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fails()
    assert await numbers(connection, batch(1, 3)) == [1, 2, 3]


async def test_two_replicas_with_the_same_batch_apply_it_once(
    connection: psycopg.AsyncConnection, database: str
) -> None:
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as other:
        async with connection.transaction():
            assert len(await INBOX.fresh(connection, batch(1, 2))) == 2
            waiting = asyncio.create_task(numbers(other, batch(1, 2)))
            await asyncio.sleep(0.2)
            assert not waiting.done()
        with pytest.raises(RetryError):
            await waiting
        assert await numbers(other, batch(1, 2)) == []
        async with connection.transaction():
            assert len(await INBOX.fresh(connection, batch(3, 2))) == 2
            waiting = asyncio.create_task(numbers(other, batch(3, 2)))
            await asyncio.sleep(0.2)
        assert await waiting == []


async def test_marks_of_publishers_that_are_gone_are_forgotten(
    connection: psycopg.AsyncConnection,
) -> None:
    await numbers(connection, batch(1, 1))
    await INBOX.prune(connection, days=1)
    assert await numbers(connection, batch(1, 1)) == []
    await connection.execute("UPDATE gameai_inbox SET handled_at = now() - interval '2 days'")
    await INBOX.prune(connection, days=1)
    assert await numbers(connection, batch(1, 1)) == [1]


async def test_a_number_that_no_column_holds_is_poison(connection: psycopg.AsyncConnection) -> None:
    with pytest.raises(PoisonError, match="does not fit"):
        await numbers(connection, batch(2**63, 1))


@contextlib.asynccontextmanager
async def killed_often(url: str, database: str, chance: random.Random) -> AsyncIterator[None]:
    """Two replicas, each killed again and again, some seconds after it has started: a start takes long on a busy machine."""

    async def one() -> None:
        while True:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", REPLICA, url, database),
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
            )
            assert process.stdout
            try:
                await asyncio.wait_for(process.stdout.readline(), 60)
                await asyncio.wait_for(process.wait(), chance.uniform(0.5, 3.0))
            except TimeoutError:
                pass
            finally:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()

    tasks = [asyncio.create_task(one()) for _ in range(2)]
    try:
        yield
    finally:
        for each in tasks:
            each.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize("events", [4000, pytest.param(200_000, marks=pytest.mark.soak)])
async def test_each_event_takes_effect_once_and_in_order_while_replicas_and_the_server_are_killed(
    database: str, connection: psycopg.AsyncConnection, tmp_path: Path, events: int
) -> None:
    seed = random.randrange(1 << 32)
    print("seed", seed)
    chance, given = random.Random(seed), worlds(5)
    with broker(tmp_path) as server:
        await asyncio.wait_for(server.answers(), 30)
        async with (
            NatsAdmin(server.url) as log,
            Publisher(
                log, REGISTRY, "game-server", 31, metrics=METRICS, ack_seconds=1.0
            ) as publisher,
        ):
            await log.declare(SMALL)
            async with killed_often(server.url, database, chance):
                for number in range(events):
                    await publisher.publish(given[number % 5], killed(number), world_us=number)
                    if number % 20 == 0:
                        await asyncio.sleep(0.03)
                    if number == events // 2:
                        server.kill()
                        server.start()
                await publisher.flush()
                async with asyncio.timeout(200):
                    while await count(connection) < events:
                        await asyncio.sleep(0.2)
                await asyncio.sleep(1.0)
    for index, world in enumerate(given):
        cursor = await connection.execute(
            "SELECT victim FROM applied WHERE world = %s ORDER BY id", (world.name,)
        )
        found = [row[0] for row in await cursor.fetchall()]
        assert found == list(range(index, events, 5))


async def count(connection: psycopg.AsyncConnection) -> int:
    row = await (await connection.execute("SELECT count(*) FROM applied")).fetchone()
    assert row
    return int(row[0])
