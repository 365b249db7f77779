"""The client of the bus on a log in memory, as tests of studios use it."""

import asyncio
import contextlib

import pytest
from gameai.bus.group import Received
from gameai.bus.log import BusError, Stored
from gameai.bus.streams import Stream
from gameai.client import Bus
from gameai.events.v1 import events_pb2
from gameai.testing.bus import MemoryLog
from support.bus import MOOR


class Deaf(MemoryLog):
    """A cancellation that comes with an answer is lost, as in requests of Python 3.11."""

    def __init__(self, answer: Exception | None) -> None:
        super().__init__()
        self.asked = asyncio.Event()
        self._given = answer

    async def last(self, stream: Stream, subject: str) -> Stored | None:
        self.asked.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        if self._given:
            raise self._given
        return await super().last(stream, subject)


@pytest.mark.parametrize("answer", [BusError("the stream is away"), None])
async def test_a_consumer_ends_though_its_cancellation_was_lost(answer: Exception | None) -> None:
    log = Deaf(answer)
    rumours = Bus.of_log(log, MOOR, service="rumours")

    async def handle(received: Received) -> None:
        """Nothing is to be done."""

    async with Bus.of_log(log, MOOR, service="game-server").publisher(source=31) as events:
        await events.publish(events_pb2.EntityKilled(victim=7), world_us=0)
    consuming = asyncio.create_task(rumours.consume(handle))
    await asyncio.wait_for(log.asked.wait(), 10)
    consuming.cancel()
    await asyncio.wait([consuming], timeout=10)
    assert consuming.cancelled()


async def test_a_handler_is_tested_with_the_client_that_a_pod_uses() -> None:
    log = MemoryLog()
    servers = Bus.of_log(log, MOOR, service="game-server")
    rumours = Bus.of_log(log, MOOR, service="rumours")
    victims: list[int] = []

    async def handle(received: Received) -> None:
        found = [rumours.message(each) for each in received.batch.events]
        victims.extend(each.victim for each in found if isinstance(each, events_pb2.EntityKilled))

    async with servers.publisher(source=31) as events:
        await events.publish(events_pb2.EntityKilled(victim=7), world_us=0)
    consuming = asyncio.create_task(rumours.consume(handle))
    async with asyncio.timeout(10):
        while not victims:
            await asyncio.sleep(0.01)
    consuming.cancel()
    await asyncio.gather(consuming, return_exceptions=True)
    assert victims == [7]
