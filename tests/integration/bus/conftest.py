"""An empty bus, in memory and on a real server."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator

import pytest
from gameai.bus.admin import NatsAdmin
from gameai.bus.log import Log
from gameai.testing.bus import MemoryLog
from gameai_devcluster.broker import SMALL, Broker, broker
from support.bus import Bus


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with broker(tmp_path_factory.mktemp("nats")) as found:
        yield found


@contextlib.asynccontextmanager
async def emptied(server: Broker) -> AsyncIterator[NatsAdmin]:
    await asyncio.wait_for(server.answers(), 10)
    async with NatsAdmin(server.url) as found:
        for each in SMALL:
            with contextlib.suppress(Exception):
                await found._js.delete_stream(each.name)
        await found.declare(SMALL)
        yield found


@pytest.fixture
async def nats(server: Broker) -> AsyncIterator[NatsAdmin]:
    async with emptied(server) as found:
        yield found


@pytest.fixture(params=["memory", "nats"])
async def log(request: pytest.FixtureRequest) -> AsyncIterator[Log]:
    if request.param == "memory":
        yield MemoryLog()
        return
    async with emptied(request.getfixturevalue("server")) as found:
        yield found


@pytest.fixture
async def bus(log: Log) -> Bus:
    return Bus(log)
