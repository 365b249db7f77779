"""The example of a service with state, and databases of its own."""

import itertools
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from gameai.bus.admin import NatsAdmin
from gameai.bus.log import Log
from gameai.testing.bus import MemoryLog
from gameai_devcluster.broker import Broker, broker
from gameai_devcluster.postgres import Postgres
from support import live_world_state
from support.bounties import Example, compiled
from support.bus import MOOR, emptied, worlds
from support.live_settings import Settings, serving
from support.live_world_state import WorldState

_NUMBERS = itertools.count()


@pytest.fixture(scope="session")
def example(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Example]:
    with compiled(tmp_path_factory.mktemp("bounties")) as found:
        yield found


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
def new_database(database_server: Postgres) -> Callable[[], str]:
    return lambda: database_server.database(f"kit-{next(_NUMBERS)}")


@pytest.fixture
def database(new_database: Callable[[], str]) -> str:
    return new_database()


@pytest.fixture
async def facts(database: str, log: Log) -> AsyncIterator[WorldState]:
    async with live_world_state.serving(database, log, MOOR, *worlds(1)) as found:
        yield found


@pytest.fixture
async def settings(database: str) -> AsyncIterator[Settings]:
    async with serving(database, MOOR, *worlds(1)) as found:
        yield found
