"""The event bus on one server with files, compared with JSON: one awaited message an event, and batches of 64 events.

Publisher and server share the cores of this machine. Rounds are interleaved.
"""

import asyncio
import json
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop
from gameai.bus.admin import NatsAdmin
from gameai.bus.consumer import Consumer
from gameai.bus.group import Group, Received
from gameai.bus.log import Outgoing
from gameai.bus.metrics import BusMetrics
from gameai.bus.nats import NatsLog
from gameai.bus.publisher import Publisher
from gameai.bus.streams import LOG
from gameai.bus.subjects import log as subject
from gameai.bus.subjects import world
from gameai.bus.types import Types
from gameai.events.v1 import events_pb2
from gameai_devcluster.broker import SMALL, broker
from prometheus_client import CollectorRegistry

from benchmarks.report import Row, median, write

ROUNDS, EVENTS, AWAITED, WORLDS, BATCH = 5, 64_000, 2_000, 10_000, 64
METRICS = BusMetrics(CollectorRegistry())
MOOR = world("moor", "aldermoor", "uid")
MANY = [world("moor", f"world-{each}", f"uid-{each}") for each in range(WORLDS)]
TYPES = Types([events_pb2])


def event(number: int) -> events_pb2.EntityKilled:
    return events_pb2.EntityKilled(
        killer=2**63 + number, victim=2**62 + number, victim_archetype=7, region=5, weapon=300
    )


def as_json(number: int) -> dict[str, object]:
    """The same event as services write it that have no schema."""
    return {
        "type": "EntityKilled", "world": "moor/aldermoor", "sequence": number, "at": time.time(),
        "killer": f"{2**63 + number:x}", "victim": f"{2**62 + number:x}",
        "victim_archetype": "7", "region": "5", "weapon": 300,
    }  # fmt: skip


async def rate(number: int, work: Callable[[], Awaitable[None]]) -> float:
    began = time.perf_counter()
    await work()
    return number / (time.perf_counter() - began)


class Bench:
    """One round of each way to publish, in turns."""

    def __init__(self, log: NatsLog, bus: Publisher) -> None:
        self._log, self._bus = log, bus

    async def ours(self) -> None:
        for number in range(EVENTS):
            await self._bus.publish(MOOR, event(number), world_us=number)
        await self._bus.flush()

    async def of_many_worlds(self) -> None:
        for each in MANY:
            await self._bus.publish(each, event(1), world_us=1)
        await self._bus.flush()

    async def awaited_json(self) -> None:
        for number in range(AWAITED):
            payload = json.dumps(as_json(number)).encode()
            await self._log.store(Outgoing(subject=subject(MOOR, "json"), payload=payload))

    async def batched_json(self) -> None:
        """Batches of 64, each awaited."""
        for first in range(0, EVENTS, BATCH):
            payload = json.dumps([as_json(first + each) for each in range(BATCH)]).encode()
            await self._log.store(Outgoing(subject=subject(MOOR, "json"), payload=payload))

    async def consumed(self, turn: int) -> float:
        """Events a second of a new ordered consumer, in batches as they are stored."""
        number, enough = 0, asyncio.Event()

        async def handle(received: Received) -> None:
            nonlocal number
            for each in received.batch.events:
                TYPES.message(each)
            number += len(received.batch.events)
            if number >= EVENTS:
                enough.set()

        group = Group(world_set="none", consumer=f"bench-{turn}", services=("game-server",))
        began = time.perf_counter()
        task = asyncio.create_task(Consumer(self._log, group, handle, metrics=METRICS).run())
        await enough.wait()
        found = number / (time.perf_counter() - began)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return found


async def measure() -> list[Row]:
    found: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder, broker(Path(folder)) as server:
        await server.answers()
        async with NatsAdmin(server.url) as log:
            await log.declare(SMALL)
            async with Publisher(log, TYPES, "game-server", 31, metrics=METRICS) as bus:
                bench = Bench(log, bus)
                for turn in range(ROUNDS):
                    await log._js.purge_stream(LOG.name)  # noqa: SLF001 - of the benchmark's own server
                    ours = await rate(EVENTS, bench.ours)
                    found.setdefault("stored", []).append(await stored(log) / EVENTS)
                    consumed = await bench.consumed(turn)
                    awaited = await rate(AWAITED, bench.awaited_json)
                    batched = await rate(EVENTS, bench.batched_json)
                    many = await rate(WORLDS, bench.of_many_worlds)
                    values = {
                        "ours": ours, "ratio": ours / awaited, "json": batched / awaited,
                        "consumed": consumed, "many": many,
                    }  # fmt: skip
                    for name, value in values.items():
                        found.setdefault(name, []).append(value)
    return [
        median("acknowledged events of one world", found["ours"], limit=80_000, unit="/s", least=True),
        median("the same / awaited JSON", found["ratio"], limit=10, unit="x", least=True),
        median("batches of 64 in JSON / awaited JSON", found["json"], limit=None, unit="x"),
        median("10,000 worlds, one event a message", found["many"], limit=15_000, unit="/s", least=True),
        median("events of an ordered consumer, no transaction", found["consumed"], limit=None, unit="/s"),
        median("bytes stored an event, 64 a batch", found["stored"], limit=100, unit="B"),
    ]  # fmt: skip


async def stored(log: NatsLog) -> float:
    info = await log._js.stream_info(LOG.name)  # noqa: SLF001 - of the benchmark's own server
    return float(info.state.bytes)


def main() -> None:
    write("bus", uvloop.run(measure()))
