"""Events, worlds, publishers and consumers for tests of the bus."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace

from gameai.bus import subjects
from gameai.bus.admin import NatsAdmin
from gameai.bus.batches import Limits, parsed
from gameai.bus.consumer import Consumer
from gameai.bus.group import Group, Handler, Received, WorldGroup
from gameai.bus.log import BusError, Log, Start, Stored
from gameai.bus.metrics import BusMetrics
from gameai.bus.nats import NatsLog
from gameai.bus.publisher import Publisher
from gameai.bus.streams import DEAD_LETTERS, LOG, Stream
from gameai.bus.subjects import World, world
from gameai.bus.types import Types
from gameai.bus.v1.bus_pb2 import OVERFLOW_DROP_OLDEST, Event, EventBatch
from gameai.events.v1 import events_pb2
from gameai.testing.bus import MemoryLog
from gameai.weather.v1.weather_pb2 import SKY_CLEAR, Sky
from gameai_devcluster.broker import SMALL, Broker
from google.protobuf.message import Message
from prometheus_client import CollectorRegistry

GROUP = Group(world_set="none", consumer="quests", services=("game-server",))
LETTERS = subjects.dead_letters_of("none", "quests")
METRICS = BusMetrics(CollectorRegistry())
REGISTRY = Types([events_pb2])
MOOR = world("moor", "aldermoor", "uid-of-aldermoor")


def killed(victim: int) -> Message:
    """An event that is never lost."""
    return events_pb2.EntityKilled(victim=victim)


def weather(region: int, sky: "Sky.ValueType" = SKY_CLEAR) -> Message:
    """An event of which the last about a region counts."""
    return events_pb2.WeatherChanged(region=region, sky=sky)


def worlds(number: int) -> list[World]:
    """So many worlds."""
    return [world("moor", f"world-{each}", f"uid-{each}") for each in range(number)]


async def published(log: Log, of: World, service: str, number: int) -> list[Message]:
    """The first events of a service in a world, once there are so many."""
    found: list[Message] = []
    async with asyncio.timeout(20):
        async for message in log.replay(LOG, subjects.log(of, service), Start(sequence=1)):
            events = parsed(message.payload).events
            found += [each for each in map(REGISTRY.message, events) if each is not None]
            if len(found) >= number:
                return found
    raise AssertionError(found)


def victim_of(event: Event) -> int:
    """Who was killed."""
    found = REGISTRY.message(event)
    assert isinstance(found, events_pb2.EntityKilled)
    return found.victim


def sky_of(event: Event) -> int:
    """The sky that has come."""
    found = REGISTRY.message(event)
    assert isinstance(found, events_pb2.WeatherChanged)
    return found.sky


def publisher(log: Log, limits: Limits | None = None, types: Types = REGISTRY) -> Publisher:
    return Publisher(log, types, "game-server", 31, metrics=METRICS, limits=limits)


def _loose() -> Types:
    """The types, of which kills may be lost."""
    found = Types([events_pb2])
    kill = found.of(killed(1))
    found._by_name[kill.name] = replace(kill, overflow=OVERFLOW_DROP_OLDEST)
    return found


LOOSE = _loose()


Fails = Callable[[Received, int], Awaitable[None]]


class Handled:
    """What a consumer's replicas have handled: world and victim, in order; `fails` may raise for a victim."""

    def __init__(self, fails: Fails | None = None) -> None:
        self.events: list[tuple[str, int]] = []
        self.batches: list[Received] = []
        self.tried: list[int] = []
        self._fails = fails

    async def __call__(self, received: Received) -> None:
        for each in received.batch.events:
            victim = victim_of(each)
            self.tried.append(victim)
            if self._fails is not None:
                await self._fails(received, victim)
            self.events.append((received.address.world, victim))
        self.batches.append(received)

    def of(self, world: World) -> list[int]:
        return [victim for name, victim in self.events if name == world.name]

    async def reach(self, number: int, seconds: float = 60) -> None:
        async with asyncio.timeout(seconds):
            while len(self.events) < number:
                await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def consuming(
    log: Log,
    handled: Handler,
    replicas: int = 1,
    handler_seconds: float = 20.0,
    group: Group | WorldGroup = GROUP,
) -> AsyncIterator[None]:
    tasks = [
        asyncio.create_task(
            Consumer(log, group, handled, metrics=METRICS, handler_seconds=handler_seconds).run()
        )
        for _ in range(replicas)
    ]
    try:
        yield
    finally:
        for each in tasks:
            each.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def letters(log: Log) -> list[Stored]:
    """Every dead letter there is."""
    found, sequence = [], 1
    while letter := await log.first(DEAD_LETTERS, LETTERS, sequence):
        found.append(letter)
        sequence = letter.sequence + 1
    return found


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(60):
        while not await holds():
            await asyncio.sleep(0.02)


async def publish(log: Log, *victims: int, world: World = MOOR) -> None:
    """Each in a batch of its own."""
    async with publisher(log) as events:
        for each in victims:
            await events.publish(world, killed(each), world_us=each)
            await events.flush()


def fails_at(victim: int, error: BaseException, times: int = 10**9) -> Fails:
    left = [times]

    async def fails(received: Received, given: int) -> None:
        if given == victim and left[0] > 0:
            left[0] -= 1
            raise error

    return fails


def batch_of(victim: int) -> bytes:
    message = killed(victim)
    batch = EventBatch(world=MOOR.number, source=31, epoch=1, first_sequence=1)
    batch.events.add(schema=1, type=497, body=message.SerializeToString())
    return batch.SerializeToString()


def first_victim(message: Stored) -> int:
    return victim_of(parsed(message.payload).events[0])


async def replayed(log: Log, start: Start, number: int) -> list[int]:
    found = []
    async with asyncio.timeout(20):
        async for each in log.replay(LOG, "log.>", start):
            found.append(first_victim(each))
            if len(found) == number:
                break
    return found


async def has_letters(log: Log, number: int) -> bool:
    return len(await letters(log)) == number


async def was_tried(handled: Handled, victim: int, times: int) -> bool:
    return handled.tried.count(victim) >= times


async def is_longer(found: list[Received], number: int) -> bool:
    return len(found) > number


@contextlib.asynccontextmanager
async def emptied(server: Broker) -> AsyncIterator[NatsAdmin]:
    """A connection to a server whose streams are empty."""
    await asyncio.wait_for(server.answers(), 10)
    async with NatsAdmin(server.url) as found:
        for each in SMALL:
            with contextlib.suppress(Exception):
                await found._js.delete_stream(each.name)
        await declared(found, SMALL)
        yield found


async def declared(nats: NatsAdmin, streams: Sequence[Stream]) -> None:
    """Declare streams. A server may not have removed the files of a stream that was just deleted."""
    async with asyncio.timeout(20):
        while True:
            with contextlib.suppress(BusError):
                await nats.declare(streams)
                return
            await asyncio.sleep(0.1)


class Bus:
    """A bus, whose streams may be changed."""

    def __init__(self, log: Log) -> None:
        self.log = log

    async def without(self, stream: Stream) -> Log:
        if isinstance(self.log, MemoryLog):
            return MemoryLog([each for each in SMALL if each.name != stream.name])
        assert isinstance(self.log, NatsLog)
        await self.log._js.delete_stream(stream.name)
        return self.log

    async def declared(self, stream: Stream) -> Log:
        if isinstance(self.log, MemoryLog):
            return MemoryLog([stream if each.name == stream.name else each for each in SMALL])
        assert isinstance(self.log, NatsAdmin)
        await declared(self.log, [stream])
        return self.log

    async def made_again(self, stream: Stream) -> Log:
        if isinstance(self.log, MemoryLog):
            kept = self.log._of(stream)
            kept.messages.clear()
            kept.known.clear()
            kept.sequence = kept.bytes = 0
            self.log._positions.clear()
            return self.log
        await self.without(stream)
        return await self.declared(next(each for each in SMALL if each.name == stream.name))
