"""A gateway of one Bronze tier and two worlds on a real bus, as a process."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import aiohttp
from gameai.client import Gateway
from gameai_devcluster.broker import Broker

from support.inference import program

ROLES = [
    {"name": "chronicle", "tier": "bronze", "deadlineMs": 600_000},
    {"name": "reaction", "tier": "gold", "deadlineMs": 5000},
]


@dataclass
class View:
    """The file with tiers and worlds, which a gateway follows."""

    file: Path
    namespace: str = "default"

    def write(
        self,
        bronze: Sequence[str],
        worlds: Sequence[str] = ("moor", "fen"),
        *,
        slots: int = 4,
        more: Sequence[tuple[str, str, str]] = (),
        moved: Mapping[str, str] = MappingProxyType({}),
        callers: Sequence[str] = (),
    ) -> None:
        """`more` are tiers with name, class and address; `moved` worlds have another tier for their jobs."""
        place = {"namespace": self.namespace}
        tiers: list[dict[str, object]] = [
            {"name": "bronze", "class": "Bronze", "slots": slots, "endpoints": list(bronze)},
            {"name": "gold", "class": "Gold"},
            *({"name": n, "class": c, "slots": 4, "endpoints": [a]} for n, c, a in more),
        ]
        document = {
            "tiers": [each | place for each in tiers],
            "worlds": [
                {
                    "name": each,
                    "roles": [ROLES[0] | {"tier": moved.get(each, "bronze")}, ROLES[1]],
                    "callers": [f"{self.namespace}/{account}" for account in callers],
                }
                | place
                for each in worlds
            ],
        }
        fresh = self.file.with_suffix(".new")
        fresh.write_text(json.dumps(document))
        fresh.replace(self.file)


@dataclass
class Served:
    """A gateway, and its process."""

    process: asyncio.subprocess.Process
    address: str
    health: str

    def client(self, world: str = "default/moor") -> Gateway:
        return Gateway(self.address, world=world)

    async def metric(self, name: str) -> float:
        """The sum of a metric's series."""
        async with aiohttp.ClientSession() as session, session.get(f"{self.health}/metrics") as got:
            lines = (await got.text()).splitlines()
        return sum(float(each.rsplit(" ", 1)[1]) for each in lines if each.startswith(name))


@asynccontextmanager
async def gateway(
    view: View, server: Broker, *flags: str, identity: str = "--insecure-no-identity"
) -> AsyncIterator[Served]:
    arguments = ("--address=127.0.0.1", "--port=0", "--health-port=0", "--log-level=WARNING")
    async with program(
        *("gameai.gateway", f"--view={view.file}", identity, *arguments),
        *(f"--bus={server.url}", *flags),
    ) as (process, (port, health)):
        yield Served(process, f"127.0.0.1:{port}", f"http://127.0.0.1:{health}")


def unused_address() -> str:
    """An address where nothing listens."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{one.getsockname()[1]}"
