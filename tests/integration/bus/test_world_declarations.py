"""The controller declares the consumers of worlds at the servers of the bus, whatever happens there and in the cluster."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from gameai.bus import subjects
from gameai.bus.log import Outgoing
from gameai.bus.nats import NatsLog
from gameai.bus.streams import LOG, ORDERS
from gameai.bus.subjects import World
from gameai.bus.v1.bus_pb2 import EventBatch
from gameai_devcluster.api import Api
from gameai_devcluster.testing.proxy import Proxy
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from support.bus import (
    Handled,
    batch_of,
    consuming,
    until,
)
from support.live import world
from support.managed_bus import QUESTS, SERVER, Bus, controller, group, with_quests

pytestmark = pytest.mark.usefixtures("operator")


@pytest.fixture
async def bus(api: Api, namespace: str, tmp_path: Path) -> AsyncIterator[Bus]:
    async with with_quests(api, namespace, tmp_path) as found:
        yield found


async def test_a_consumer_that_cannot_be_declared_keeps_no_other_from_it(bus: Bus) -> None:
    barrow = group(bus.world("barrow"))
    async with bus.streams() as admin:
        await admin._js.delete_consumer(LOG.name, barrow.name)
        # The policy of a consumer cannot be changed, so that each declaration fails.
        await admin._js.add_consumer(
            LOG.name,
            ConsumerConfig(
                durable_name=barrow.name,
                deliver_policy=DeliverPolicy.NEW,
                ack_policy=AckPolicy.EXPLICIT,
                metadata={"gameai-world": f"{bus.namespace}/barrow", "gameai-digest": "x"},
            ),
        )
        services = [SERVER, QUESTS | {"consumes": ["game-server", "quests"]}]
        bus.api.apply(world(bus.namespace, services=services), manager="kubectl")
        wanted = replace(group(bus.world()), services=("game-server", "quests")).durable()

        async def declared() -> bool:
            found = {each.name: each.digest for each in await admin.consumers(LOG)}
            return found[wanted.name] == wanted.digest and found[barrow.name] == "x"

        await until(declared)
        await bus.until_ready()


async def test_a_controller_with_a_late_watch_changes_no_consumer_back(bus: Bus) -> None:
    """Events of a service that is read no longer for a moment would be lost for the consumer."""
    credentials = bus.api.credentials
    assert credentials.ca_file
    proxy = Proxy(credentials.server, credentials.ca_file)
    seen = set()
    async with (
        controller(
            bus.api, bus.namespace, bus.folder, bus.servers[0].port, server=proxy.url
        ) as late,
        bus.streams() as admin,
    ):
        await replace(bus, health=late).until_ready()
        proxy.sieve = lambda _path, _event: False
        services = [SERVER, QUESTS | {"consumes": ["game-server", "quests"]}]
        bus.api.apply(world(bus.namespace, services=services), manager="kubectl")
        wanted = replace(group(bus.world()), services=("game-server", "quests")).durable()

        async def digest() -> str:
            found = {each.name: each.digest for each in await admin.consumers(LOG)}
            return found[wanted.name]

        async def declared() -> bool:
            return await digest() == wanted.digest

        await until(declared)
        # Two comparisons of the late one.
        for _ in range(220):
            seen.add(await digest())
            await asyncio.sleep(0.1)
    assert seen == {wanted.digest}


async def test_a_consumer_follows_what_its_world_names_and_goes_with_it(bus: Bus) -> None:
    moor = bus.world()
    chat = {"name": "chat", "image": "registry.example/chat:1"}

    async def reads(*services: str) -> bool:
        async with bus.streams() as log:
            found = {each.name: each.digest for each in await log.consumers(LOG)}
        wanted = replace(group(moor), services=services).durable().digest if services else None
        return found.get(group(moor).name) == wanted

    await until(lambda: reads("game-server"))
    services = [SERVER, chat, QUESTS | {"consumes": ["chat", "game-server"]}]
    bus.api.apply(world(bus.namespace, services=services), manager="kubectl")
    await until(lambda: reads("chat", "game-server"))
    bus.api.delete("GameWorld", bus.namespace, "moor")
    # The fixture's controller keeps them for ten minutes; this one for no time.
    async with controller(
        bus.api, bus.namespace, bus.folder, bus.server.port, "--consumer-retention-seconds=0"
    ):
        await until(reads)
        async with bus.streams() as log:
            assert [each.world for each in await log.consumers(LOG)] == [f"{bus.namespace}/barrow"]
            assert len(await log.consumers(ORDERS)) == 1


async def test_consumers_of_streams_that_were_lost_are_declared_again(bus: Bus) -> None:
    moor, handled = bus.world(), Handled()
    async with bus.streams() as admin:
        for each in (LOG, ORDERS):
            await admin._js.delete_stream(each.name)
    async with (
        bus.connection("quests") as own,
        bus.connection() as log,
        consuming(own, handled, group=group(moor)),
    ):
        await until(lambda: stored(log, moor))
        await handled.reach(1)


async def stored(log: NatsLog, of: World) -> bool:
    """Whether the stream takes an event again."""
    try:
        await log.store(
            Outgoing(subject=subjects.log(of, "game-server"), payload=_batch(of)),
        )
    except Exception:  # noqa: BLE001 - the stream is away
        return False
    return True


def _batch(of: World) -> bytes:
    found = EventBatch.FromString(batch_of(7))
    found.world = of.number
    return found.SerializeToString()
