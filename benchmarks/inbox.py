"""Events of the bus that take effect in PostgreSQL: publish, then ordered consumers with one transaction a batch.

Batches of 16 events of 64 worlds, read by 4 consumers of 16 shards each; a transaction marks the batch in the inbox and adds
to a row of its world. In turns with them, one consumer of single JSON messages with the same transaction. The server of the bus,
PostgreSQL and the consumers share the cores of this machine.
"""

import asyncio
import json
import tempfile
import time
from pathlib import Path

import psycopg
import uvloop
from gameai.bus import subjects
from gameai.bus.admin import NatsAdmin
from gameai.bus.batches import Limits
from gameai.bus.consumer import Consumer
from gameai.bus.group import Group, Handler, Received
from gameai.bus.log import Outgoing
from gameai.bus.metrics import BusMetrics
from gameai.bus.nats import NatsLog
from gameai.bus.publisher import Publisher
from gameai.bus.streams import LOG, Durable
from gameai.bus.subjects import SHARDS, world
from gameai.bus.types import Types
from gameai.client import Inbox
from gameai.client.inbox import CREATE_TABLE
from gameai.events.v1 import events_pb2
from gameai_devcluster import postgres
from gameai_devcluster.broker import SMALL, broker
from prometheus_client import CollectorRegistry

from benchmarks.report import Row, median, write

ROUNDS, EVENTS, SINGLE, WORLDS, BATCH, CONSUMERS = 5, 48_000, 1_000, 64, 16, 4
METRICS = BusMetrics(CollectorRegistry())
MANY = [world("moor", f"world-{each}", f"uid-{each}") for each in range(WORLDS)]
TYPES = Types([events_pb2])
TABLE = "CREATE TABLE deaths (world text PRIMARY KEY, number bigint NOT NULL)"
ADD = """
INSERT INTO deaths (world, number) VALUES (%s, %s)
ON CONFLICT (world) DO UPDATE SET number = deaths.number + EXCLUDED.number
"""


async def connected(url: str) -> psycopg.AsyncConnection:
    return await psycopg.AsyncConnection.connect(url, autocommit=True)


async def published(log: NatsLog) -> None:
    limits = Limits(batch_events=BATCH)
    async with Publisher(log, TYPES, "game-server", 31, metrics=METRICS, limits=limits) as bus:
        for number in range(EVENTS // BATCH):
            for each in range(BATCH):
                event = events_pb2.EntityKilled(victim=number * BATCH + each)
                await bus.publish(MANY[number % WORLDS], event, world_us=number)


async def consumed(log: NatsLog, url: str, turn: int) -> float:
    """Events a second of the consumers together."""
    inbox, number, enough = Inbox(f"bench-{turn}"), 0, asyncio.Event()

    def handler(connection: psycopg.AsyncConnection) -> Handler:
        async def handle(received: Received) -> None:
            nonlocal number
            async with connection.transaction():
                fresh = await inbox.fresh(connection, received)
                deaths = sum(TYPES.message(event) is not None for _, event in fresh)
                await connection.execute(ADD, (received.address.world, deaths))
            number += deaths
            if number >= EVENTS:
                enough.set()

        return handle

    connections = [await connected(url) for _ in range(CONSUMERS)]
    each_reads = SHARDS // CONSUMERS
    began = time.perf_counter()
    tasks = [
        asyncio.create_task(
            Consumer(
                log,
                Group(
                    world_set="none",
                    consumer=f"bench-{turn}",
                    services=("game-server",),
                    shards=tuple(range(place * each_reads, (place + 1) * each_reads)),
                ),
                handler(connection),
                metrics=METRICS,
            ).run()
        )
        for place, connection in enumerate(connections)
    ]
    await enough.wait()
    found = EVENTS / (time.perf_counter() - began)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for connection in connections:
        await connection.close()
    return found


async def consumed_json(log: NatsLog, url: str, turn: int) -> float:
    """Events a second of a consumer of single JSON messages, with a transaction and an answer each."""
    durable = Durable(
        name=f"json-{turn}", stream=LOG, filters=(subjects.events_of(MANY[0], "json"),)
    )
    subscription = await log.subscribe(durable)
    connection = await connected(url)
    began = time.perf_counter()
    for _ in range(SINGLE):
        (delivery,) = await subscription.fetch(1, 10.0)
        event = json.loads(delivery.message.payload)
        async with connection.transaction():
            await connection.execute(ADD, (event["world"], 1))
        await delivery.done()
    found = SINGLE / (time.perf_counter() - began)
    await subscription.close()
    await connection.close()
    return found


async def measure(url: str) -> list[Row]:
    found: dict[str, list[float]] = {"ours": [], "ratio": [], "json": []}
    connection = await connected(url)
    await connection.execute(CREATE_TABLE)
    await connection.execute(TABLE)
    await connection.close()
    with tempfile.TemporaryDirectory() as folder, broker(Path(folder)) as server:
        await server.answers()
        async with NatsAdmin(server.url) as log:
            await log.declare(SMALL)
            for turn in range(ROUNDS):
                await log._js.purge_stream(LOG.name)  # noqa: SLF001 - of the benchmark's own server
                await published(log)
                payload = json.dumps({"type": "EntityKilled", "world": "world-0", "victim": "7"})
                message = Outgoing(subject=subjects.log(MANY[0], "json"), payload=payload.encode())
                for _ in range(SINGLE):
                    await log.store(message)
                ours = await consumed(log, url, turn)
                single = await consumed_json(log, url, turn)
                found["ours"].append(ours)
                found["json"].append(single)
                found["ratio"].append(ours / single)
    batches = "events of ordered consumers, a transaction for each batch of 16"
    messages = "events of a consumer of single JSON messages, a transaction each"
    return [
        median(batches, found["ours"], limit=20_000, unit="/s", least=True),
        median(messages, found["json"], limit=None, unit="/s"),
        median("the first / the second", found["ratio"], limit=10, unit="x", least=True),
    ]


def main() -> None:
    with tempfile.TemporaryDirectory() as name, postgres.running(Path(name) / "pg") as server:
        write("inbox", uvloop.run(measure(server.database("bench"))))
