"""Three servers with the chart's configuration: what was acknowledged is handled, in order, while each of them is killed."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from gameai.bus import subjects
from gameai.bus.consumer import redrive
from gameai.bus.group import PoisonError, Received, WorldGroup
from gameai.bus.log import BusError, Log
from gameai.bus.publisher import Publisher
from gameai.bus.streams import AMBIENT, DEAD_LETTERS
from gameai.bus.subjects import World
from gameai_devcluster.api import Api
from gameai_devcluster.testing.waiting import until as until_
from support.bus import METRICS, REGISTRY, Handled, consuming, killed, until
from support.live import world
from support.managed_bus import Bus, clustered

pytestmark = pytest.mark.usefixtures("operator")

SERVER = {"name": "game-server", "image": "registry.example/server:1", "port": 9000}
QUESTS = {"name": "quests", "image": "registry.example/quests:1", "consumes": ["game-server"]}
EVENTS = 300


@pytest.fixture
async def bus(api: Api, namespace: str, tmp_path: Path) -> AsyncIterator[Bus]:
    async with clustered(api, namespace, tmp_path, [SERVER, QUESTS]) as found:
        yield found


async def until_redriven(received: Received, victim: int) -> None:
    """The first dead letter may not be stored, and then the batch is tried once more."""
    if victim == 50 and not received.redriven:
        raise PoisonError("no")


async def is_parked(admin: Log, group: WorldGroup, *, parked: bool) -> bool:
    """Whether there is a dead letter, or none. A server that came back may not have found the others yet."""
    with contextlib.suppress(BusError):
        return (await admin.first(DEAD_LETTERS, group.own_letters) is not None) is parked
    return False


async def is_redriven(admin: Log, world: World, group: WorldGroup) -> bool:
    """Order a redrive, and look."""
    with contextlib.suppress(BusError):
        await redrive(admin, subjects.own(world, group.consumer), group.consumer)
        await asyncio.sleep(1.0)
    return await is_parked(admin, group, parked=False)


async def test_events_are_handled_in_order_while_each_server_is_killed(bus: Bus) -> None:
    moor = bus.world()
    group = WorldGroup(world=moor, consumer="quests")
    handled = Handled(until_redriven)

    async def killing() -> None:
        for each in bus.servers:
            await asyncio.sleep(1.0)
            each.kill()
            await asyncio.sleep(3.0)
            each.start()
            await asyncio.wait_for(each.answers(), 30)
            await asyncio.sleep(3.0)

    async with (
        bus.connection() as one,
        bus.connection() as other,
        bus.connection() as log,
        consuming(one, handled, group=group),
        consuming(other, handled, group=group),
        Publisher(log, REGISTRY, "game-server", 31, metrics=METRICS) as events,
    ):
        kills = asyncio.create_task(killing())
        for number in range(EVENTS):
            await events.publish(moor, killed(number), world_us=number)
            await asyncio.sleep(0.06)
        await events.flush()
        await kills
        # What came after the poison is parked behind it.
        async with bus.streams() as admin:
            await until(lambda: is_parked(admin, group, parked=True))
            await until(lambda: is_redriven(admin, moor, group))

        async def complete() -> bool:
            return set(handled.of(moor)) == set(range(EVENTS))

        await until(complete)
    # A batch may be handled twice, but not after a later one was handled first.
    seen: list[int] = []
    for victim in handled.of(moor):
        assert victim <= len(seen), f"{victim} came before {len(seen)}"
        if victim == len(seen):
            seen.append(victim)
    assert seen == list(range(EVENTS))


async def test_a_world_that_comes_while_a_server_is_away_is_served(bus: Bus) -> None:
    # The only server that has the stream of events that may be lost: the streams on three go on.
    away = await bus.server_of(AMBIENT)
    away.kill()
    # The controller has noticed: it compares every 10 s.
    async with asyncio.timeout(60):
        while AMBIENT.name not in await bus.ready():
            await asyncio.sleep(0.1)
    bus.api.apply(world(bus.namespace, "fen", services=[SERVER, QUESTS]), manager="kubectl")
    until_("fen is published", lambda: bus.api.find("WorldView", bus.namespace, "fen"), seconds=30)
    fen, handled = bus.world("fen"), Handled()
    group = WorldGroup(world=fen, consumer="quests")
    async with (
        bus.later_connection("fen-world") as log,
        consuming(log, handled, group=group),
        Publisher(log, REGISTRY, "game-server", 31, metrics=METRICS) as events,
    ):
        await events.publish(fen, killed(1), world_us=1)
        # A consumer that is not declared yet is tried again after 10, 30 and 70 s.
        await handled.reach(1, seconds=120)
    assert handled.of(fen) == [1]
    assert AMBIENT.name in await bus.ready()
    away.start()
    await bus.until_ready()
