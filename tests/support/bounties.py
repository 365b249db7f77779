"""The example of a service with state, in this process or in one of its own."""

import asyncio
import contextlib
import importlib
import random
import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path
from types import ModuleType
from typing import Any

import grpc
from gameai.bus.subjects import World
from gameai.client import Bus
from gameai.kit import Database, Kit, handlers
from gameai.serving.interceptor import Interceptor
from gameai.testing.worlds import FixedWorlds
from grpc import aio
from grpc_tools import protoc  # type: ignore[import-untyped] # it has no types

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "bounties"


@dataclass(frozen=True, kw_only=True)
class Example:
    """The generated modules of the example, its program, and the folder with all of them."""

    folder: Path
    wire: Any
    grpc: Any
    service: Any


@contextlib.contextmanager
def compiled(folder: Path) -> Iterator[Example]:
    """Compile the example as its page says, and import it."""
    common = str(distribution("googleapis-common-protos").locate_file(""))
    well_known = str(distribution("grpcio-tools").locate_file("grpc_tools/_proto"))
    includes = [f"-I{each}" for each in (ROOT / "proto", EXAMPLE, common, well_known)]
    outputs = [f"--{each}_out={folder}" for each in ("python", "grpc_python")]
    assert protoc.main(["protoc", *includes, *outputs, "bounties.proto"]) == 0
    (folder / "bounties_service.py").write_text((EXAMPLE / "service.py").read_text())
    sys.path.insert(0, str(folder))
    try:
        yield Example(
            folder=folder,
            wire=importlib.import_module("bounties_pb2"),
            grpc=importlib.import_module("bounties_pb2_grpc"),
            service=importlib.import_module("bounties_service"),
        )
    finally:
        sys.path.remove(str(folder))
        for each in ("bounties_pb2", "bounties_pb2_grpc", "bounties_service"):
            sys.modules.pop(each, None)


class Places(FixedWorlds):
    """Worlds of a process by name; those in `away` are not on the bus."""

    def __init__(self, *worlds: World) -> None:
        super().__init__(*worlds, now_us=7_000_000)
        self.away: set[str] = set()

    def on_bus(self, name: str) -> World | None:
        return None if name in self.away else super().on_bus(name)


@dataclass(frozen=True, kw_only=True)
class Bounties:
    """A running service, and calls of it."""

    example: Example
    kit: Kit
    target: str
    channel: aio.Channel

    @property
    def stub(self) -> Any:
        return self.example.grpc.BountyServiceStub(self.channel)

    def post(self, victim: int, gold: int, request_id: str | None = None, world: str = "") -> Any:
        """A call that posts a bounty."""
        drawn = str(uuid.UUID(int=random.getrandbits(128))) if request_id is None else request_id
        request = self.example.wire.PostBountyRequest(request_id=drawn, victim=victim, gold=gold)
        return self.stub.PostBounty(request, metadata=_of(world), timeout=20)

    async def gold(self, victim: int, world: str = "") -> int:
        request = self.example.wire.GetBountyRequest(victim=victim)
        answer = await self.stub.GetBounty(request, metadata=_of(world), timeout=20)
        return int(answer.gold)


def _of(world: str) -> tuple[tuple[str, str], ...]:
    return (("gameai-world", world),) if world else ()


@contextlib.asynccontextmanager
async def bounties(
    example: Example,
    url: str,
    worlds: Places,
    bus: Bus | None = None,
    service: type[Any] | None = None,
) -> AsyncIterator[Bounties]:
    """The service behind gRPC, with all of its kit."""
    module: Any = example.service
    server = aio.server(interceptors=[Interceptor()])
    async with Kit.opened(
        module.NAME,
        module.SOURCE,
        Database(url, connections=4),
        worlds,
        tables=[module.TABLE],
        bus=bus,
        types=[example.wire],
    ) as kit:
        made = (service or module.Bounties)(kit)
        example.grpc.add_BountyServiceServicer_to_server(made, server)
        target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        await server.start()
        running = asyncio.create_task(kit.run(handlers(made)))
        async with aio.insecure_channel(target) as channel:
            try:
                yield Bounties(example=example, kit=kit, target=target, channel=channel)
            finally:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)
                await server.stop(0)


def types_of(example: Example) -> list[ModuleType]:
    """The modules of its event types."""
    found: ModuleType = example.wire
    return [found]


async def refused(call: Any) -> aio.AioRpcError:
    """The error of a call that must fail."""
    try:
        answer = await call
    except aio.AioRpcError as error:
        return error
    raise AssertionError(f"the call was answered: {answer}")


async def until_answered(make: Any, *, full: bool = False) -> Any:
    """The answer of a call that is made again while the service cannot answer it, as its clients do."""
    again = [grpc.StatusCode.RESOURCE_EXHAUSTED] if full else []
    again += [
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
    ]
    async with asyncio.timeout(60):
        while True:
            try:
                return await make()
            except aio.AioRpcError as error:
                if error.code() not in again:
                    raise
            await asyncio.sleep(0.05)
