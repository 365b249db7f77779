"""The server of game services: every kind of call, and the order in which a service opens and closes what it needs."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from gameai.serving import Runtime
from grpc import aio
from support.echo import ECHO, Echo, Running, add, counted, simple, words


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
