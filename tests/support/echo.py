"""A service of this process with a method of each kind, for tests of the server of game services."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import grpc
from gameai.errors import NotFoundError
from gameai.serving import GameService, Runtime
from gameai.serving.live import read
from gameai.serving.main import Options, serve
from gameai_devcluster.processes import free_port
from grpc import aio
from prometheus_client import REGISTRY

from support.worlds import configuration

ECHO = "gameai.test.v1.EchoService"


class Echo:
    """A service with a method of each kind; `wrong` is not found."""

    async def one(self, request: bytes, context: object) -> bytes:
        return _known(request)

    async def split(self, request: bytes, context: object) -> AsyncIterator[bytes]:
        for each in request.split():
            yield _known(each)

    async def join(self, requests: AsyncIterator[bytes], context: object) -> bytes:
        return b" ".join([_known(each) async for each in requests])

    async def talk(self, requests: AsyncIterator[bytes], context: object) -> AsyncIterator[bytes]:
        async for each in requests:
            yield _known(each)


def _known(text: bytes) -> bytes:
    if text == b"wrong":
        raise NotFoundError("no such word", field="word")
    return text


def add(server: aio.Server, echo: Echo) -> None:
    handlers: dict[str, Any] = {
        "One": grpc.unary_unary_rpc_method_handler(echo.one),
        "Split": grpc.unary_stream_rpc_method_handler(echo.split),
        "Join": grpc.stream_unary_rpc_method_handler(echo.join),
        "Talk": grpc.stream_stream_rpc_method_handler(echo.talk),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(ECHO, handlers),))


class Running:
    """A service in this process."""

    def __init__(
        self, folder: Path, lifespan: Callable[[Runtime], Any], drain_seconds: float = 0.1
    ) -> None:
        config = folder / "world.json"
        config.write_text(configuration(seed=42, services=[{"name": "time-manager"}]))
        self.port, self.health_port = free_port(), free_port()
        options = Options(
            config=config,
            settings_hash="",
            address="127.0.0.1",
            port=self.port,
            health_port=self.health_port,
            port_file=None,
            drain_seconds=drain_seconds,
        )
        # A name of the catalogue, for its settings.
        service = GameService(name="time-manager", wire_name=ECHO, lifespan=lifespan)
        self.stop = asyncio.Event()
        self.task = asyncio.create_task(serve(service, options, read(config), self.stop))

    async def ready(self) -> tuple[int, str]:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{self.health_port}/readyz") as reply,
        ):
            return reply.status, await reply.text()

    async def wait(self, wanted: tuple[int, str]) -> None:
        async with asyncio.timeout(20):
            while True:
                with contextlib.suppress(aiohttp.ClientError):
                    if await self.ready() == wanted:
                        return
                await asyncio.sleep(0.02)

    async def end(self) -> None:
        self.stop.set()
        await asyncio.wait_for(self.task, 60)


def counted(method: str, code: str) -> float:
    labels = {"method": f"/{ECHO}/{method}", "code": code}
    return REGISTRY.get_sample_value("gameai_service_requests_total", labels) or 0.0


@contextlib.asynccontextmanager
async def simple(runtime: Runtime) -> AsyncIterator[None]:
    add(runtime.server, Echo())
    yield


async def words(*texts: bytes) -> AsyncIterator[bytes]:
    for each in texts:
        yield each
