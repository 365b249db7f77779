"""The server of game services: every kind of call, and the order in which a service opens and closes what it needs."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
from gameai.errors import NotFoundError
from gameai.serving import GameService, Runtime, requests
from gameai.serving.live import read
from gameai.serving.main import Options, serve
from gameai_devcluster.processes import free_port
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
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


async def test_every_kind_of_call_is_counted_and_its_errors_have_details(tmp_path: Path) -> None:
    running = Running(tmp_path, simple)
    await running.wait((200, "ok\n"))
    async with aio.insecure_channel(f"127.0.0.1:{running.port}") as channel:
        one: Any = channel.unary_unary(f"/{ECHO}/One")
        split: Any = channel.unary_stream(f"/{ECHO}/Split")
        join: Any = channel.stream_unary(f"/{ECHO}/Join")
        talk: Any = channel.stream_stream(f"/{ECHO}/Talk")
        assert await one(b"a") == b"a"
        assert [each async for each in split(b"a b")] == [b"a", b"b"]
        assert await join(words(b"a", b"b")) == b"a b"
        assert [each async for each in talk(words(b"a", b"b"))] == [b"a", b"b"]

        async def drained(stream: Any) -> None:
            async for _ in stream:
                pass

        for call in (
            one(b"wrong"),
            drained(split(b"a wrong")),
            join(words(b"wrong")),
            drained(talk(words(b"a", b"wrong"))),
        ):
            with pytest.raises(aio.AioRpcError) as raised:
                await call
            assert raised.value.code() is grpc.StatusCode.NOT_FOUND
            details = dict(raised.value.trailing_metadata() or ())
            assert "grpc-status-details-bin" in details
    for method in ("One", "Split", "Join", "Talk"):
        assert (counted(method, "OK"), counted(method, "NOT_FOUND")) == (1, 1)
    await running.end()


async def test_a_call_that_its_handler_aborts_is_counted_by_its_status(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Aborts(Echo):
        async def one(self, request: bytes, context: Any) -> bytes:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "no")
            return request

    @contextlib.asynccontextmanager
    async def lifespan(runtime: Runtime) -> AsyncIterator[None]:
        add(runtime.server, Aborts())
        yield

    running = Running(tmp_path, lifespan)
    await running.wait((200, "ok\n"))
    async with aio.insecure_channel(f"127.0.0.1:{running.port}") as channel:
        one: Any = channel.unary_unary(f"/{ECHO}/One")
        with pytest.raises(aio.AioRpcError) as raised:
            await one(b"a")
    assert raised.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert counted("One", "FAILED_PRECONDITION") == 1
    assert "this is a bug" not in caplog.text
    await running.end()


async def test_a_service_is_not_ready_before_it_serves(tmp_path: Path) -> None:
    opening = asyncio.Event()

    @contextlib.asynccontextmanager
    async def lifespan(runtime: Runtime) -> AsyncIterator[None]:
        await opening.wait()
        add(runtime.server, Echo())
        yield

    running = Running(tmp_path, lifespan)
    await running.wait((503, "starting\n"))
    opening.set()
    await running.wait((200, "ok\n"))
    await running.end()


async def test_a_stop_while_a_service_opens_what_it_needs_is_obeyed(tmp_path: Path) -> None:
    cleaned = asyncio.Event()

    @contextlib.asynccontextmanager
    async def lifespan(runtime: Runtime) -> AsyncIterator[None]:
        try:
            await asyncio.sleep(3600)
            yield
        finally:
            cleaned.set()

    running = Running(tmp_path, lifespan)
    await running.wait((503, "starting\n"))
    await running.end()
    assert cleaned.is_set()


async def test_an_error_while_a_service_opens_ends_it(tmp_path: Path) -> None:
    @contextlib.asynccontextmanager
    async def lifespan(runtime: Runtime) -> AsyncIterator[None]:
        raise ConnectionError("no store")
        yield

    running = Running(tmp_path, lifespan)
    with pytest.raises(ConnectionError, match="no store"):
        await asyncio.wait_for(running.task, 60)


async def test_a_drain_goes_from_the_callers_to_the_resources(tmp_path: Path) -> None:
    order: list[str] = []
    store = ["connecting"]

    @contextlib.asynccontextmanager
    async def lifespan(runtime: Runtime) -> AsyncIterator[None]:
        async def consume() -> None:
            try:
                await asyncio.sleep(3600)
            finally:
                order.append("consumer ended")

        class Noted(Echo):
            async def one(self, request: bytes, context: object) -> bytes:
                await asyncio.sleep(0.3)
                order.append("call answered")
                return request

        order.append("store opened")
        runtime.readiness.add("store", lambda: store[0])
        add(runtime.server, Noted())
        runtime.background.start("consumer", consume())
        yield
        order.append("store closed")

    running = Running(tmp_path, lifespan)
    await running.wait((503, "store: connecting\n"))
    store[0] = ""
    await running.wait((200, "ok\n"))
    async with aio.insecure_channel(f"127.0.0.1:{running.port}") as channel:
        one: Any = channel.unary_unary(f"/{ECHO}/One")
        call = asyncio.ensure_future(one(b"a"))
        await asyncio.sleep(0.1)
        running.stop.set()
        await running.wait((503, "draining\n"))
        assert await call == b"a"
    await running.end()
    assert order == ["store opened", "call answered", "consumer ended", "store closed"]


async def test_a_service_ends_with_the_error_of_a_task_and_closes_what_it_opened(
    tmp_path: Path,
) -> None:
    closed, broken_now = asyncio.Event(), asyncio.Event()

    @contextlib.asynccontextmanager
    async def lifespan(runtime: Runtime) -> AsyncIterator[None]:
        async def broken() -> None:
            await broken_now.wait()
            raise ConnectionError("the bus is gone")

        class Slow(Echo):
            async def one(self, request: bytes, context: object) -> bytes:
                broken_now.set()
                await asyncio.sleep(0.5)
                return request

        add(runtime.server, Slow())
        runtime.background.start("consumer", broken())
        try:
            yield
        finally:
            closed.set()

    running = Running(tmp_path, lifespan, drain_seconds=1.0)
    await running.wait((200, "ok\n"))
    async with aio.insecure_channel(f"127.0.0.1:{running.port}") as channel:
        one: Any = channel.unary_unary(f"/{ECHO}/One")
        call = asyncio.ensure_future(one(b"a"))
        await running.wait((503, "draining\n"))
        assert await call == b"a", "a call that runs is answered"
    with pytest.raises(ConnectionError, match="the bus is gone"):
        await asyncio.wait_for(running.task, 60)
    assert closed.is_set()


# More than a service takes at a time.
FLOOD = 1200


async def test_calls_that_never_send_their_request_leave_places_to_others(tmp_path: Path) -> None:
    running = Running(tmp_path, simple)
    await running.wait((200, "ok\n"))
    address = f"127.0.0.1:{running.port}"
    for path in (f"/{ECHO}/One", "/grpc.health.v1.Health/Check"):
        async with aio.insecure_channel(address) as silent, aio.insecure_channel(address) as other:
            # A call of one message that its client keeps back: for gRPC's client it is a stream.
            calls: list[Any] = [silent.stream_unary(path)() for _ in range(FLOOD)]
            ask: Any = other.unary_unary(f"/{ECHO}/One")
            async with asyncio.timeout(10 * requests.SHORT_SECONDS):
                while True:
                    with contextlib.suppress(aio.AioRpcError):
                        assert await ask(b"here") == b"here"
                        break
                    await asyncio.sleep(0.05)
            assert [await ask(b"here") for _ in range(20)] == [b"here"] * 20
            with pytest.raises(aio.AioRpcError) as raised:
                await calls[0]
            assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert "the request has not arrived in time" in (raised.value.details() or "")
            for call in calls:
                call.cancel()
    await running.end()


async def test_a_burst_of_honest_calls_is_answered_in_full(tmp_path: Path) -> None:
    running = Running(tmp_path, simple)
    await running.wait((200, "ok\n"))
    async with aio.insecure_channel(f"127.0.0.1:{running.port}") as channel:
        ask: Any = channel.unary_unary(f"/{ECHO}/One")
        for _ in range(3):
            answers = await asyncio.gather(*[ask(b"here") for _ in range(900)])
            assert answers == [b"here"] * 900
    await running.end()


async def test_a_call_without_a_request_is_refused(tmp_path: Path) -> None:
    running = Running(tmp_path, simple)
    await running.wait((200, "ok\n"))
    async with aio.insecure_channel(f"127.0.0.1:{running.port}") as channel:
        for path in (f"/{ECHO}/One", f"/{ECHO}/Split", "/grpc.health.v1.Health/Check"):
            call: Any = channel.stream_stream(path)(iter(()))
            with pytest.raises(aio.AioRpcError) as raised:
                await anext(aiter(call))
            assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert raised.value.details() == "the call has no message"
    await running.end()


async def test_bytes_that_are_no_message_are_refused_by_health_and_reflection(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    running = Running(tmp_path, simple)
    await running.wait((200, "ok\n"))
    async with aio.insecure_channel(f"127.0.0.1:{running.port}") as channel:
        for path in (
            "/grpc.health.v1.Health/Check",
            "/grpc.health.v1.Health/Watch",
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        ):
            method: Any = channel.stream_stream(path)
            call = method(iter([b"\xff\xff\xff"]))
            with pytest.raises(aio.AioRpcError) as raised:
                await anext(aiter(call))
            assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    await running.end()
    assert "Traceback" not in caplog.text


async def test_health_watches_are_limited_and_leave_their_places(tmp_path: Path) -> None:
    running = Running(tmp_path, simple)
    await running.wait((200, "ok\n"))
    async with aio.insecure_channel(f"127.0.0.1:{running.port}") as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        watches: list[Any] = [
            stub.Watch(health_pb2.HealthCheckRequest()) for _ in range(requests.MOST_LONG_CALLS)
        ]
        for watch in watches:
            await anext(aiter(watch))
        with pytest.raises(aio.AioRpcError) as raised:
            await anext(aiter(stub.Watch(health_pb2.HealthCheckRequest())))
        assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert (await stub.Check(health_pb2.HealthCheckRequest())).status == 1
        for watch in watches:
            watch.cancel()
        async with asyncio.timeout(20):
            while True:
                with contextlib.suppress(aio.AioRpcError):
                    await anext(aiter(stub.Watch(health_pb2.HealthCheckRequest())))
                    break
                await asyncio.sleep(0.05)
    await running.end()
