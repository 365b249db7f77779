"""The client of the bus on a log in memory, as tests of studios use it."""

import asyncio

from gameai.bus.group import Received
from gameai.client import Bus
from gameai.events.v1 import events_pb2
from gameai.testing.bus import MemoryLog
from support.bus import MOOR


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
