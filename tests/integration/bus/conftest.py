"""An empty bus, in memory and on a real server."""

from collections.abc import AsyncIterator, Iterator

import pytest
from gameai.bus.admin import NatsAdmin
from gameai.bus.log import Log
from gameai.testing.bus import MemoryLog
from gameai_devcluster.broker import Broker, broker
from support.bus import Bus, emptied


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with broker(tmp_path_factory.mktemp("nats")) as found:
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
