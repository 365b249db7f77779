"""A bus, and the file of a gateway's tiers and worlds."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from gameai_devcluster.broker import Broker, broker
from support.bus import emptied
from support.jobs import View


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with broker(tmp_path_factory.mktemp("nats")) as found:
        yield found


@pytest.fixture
async def bus(server: Broker) -> AsyncIterator[Broker]:
    async with emptied(server):
        yield server


@pytest.fixture
def view(tmp_path: Path) -> View:
    return View(tmp_path / "view.yaml")
