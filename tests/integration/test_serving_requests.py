"""Requests that never arrive, arrive in part, or are no messages: their callers take no place of others."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from gameai.errors import ExhaustedError, UnavailableError
from gameai.serving import requests
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.echo import ECHO, Running, counted, simple

# More than the 1,000 calls that a service takes at a time; a quarter of these may be health watches.
FLOOD, LONG_CALLS = 1200, 250


async def test_calls_that_never_send_their_request_leave_places_to_others(tmp_path: Path) -> None:
    running = Running(tmp_path, simple)
    await running.wait((200, "ok\n"))
    address = f"127.0.0.1:{running.port}"
    for path in (f"/{ECHO}/One", "/grpc.health.v1.Health/Check"):
        async with aio.insecure_channel(address) as silent, aio.insecure_channel(address) as other:
            # A call of one message that its client keeps back: for gRPC's client it is a stream.
            calls: list[Any] = [silent.stream_unary(path)() for _ in range(FLOOD)]
            ask: Any = other.unary_unary(f"/{ECHO}/One")
            # The silent ones leave one after the other: then there is always room.
            async with asyncio.timeout(10 * requests.SHORT_SECONDS):
                answered = 0
                while answered < 20:
                    try:
                        assert await ask(b"here") == b"here"
                        answered += 1
                    except aio.AioRpcError:
                        answered = 0
                        await asyncio.sleep(0.05)
            said = [asyncio.ensure_future(each.details()) for each in calls]
            done, left = await asyncio.wait(said, timeout=1)
            assert any("many calls wait for theirs" in (each.result() or "") for each in done)
            for each in left:
                each.cancel()
            for call in calls:
                call.cancel()
    await running.end()


async def test_a_request_that_never_arrives_ends_its_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "SECONDS", 0.2)
    running = Running(tmp_path, simple)
    await running.wait((200, "ok\n"))
    before = counted("One", "UNAVAILABLE")
    async with aio.insecure_channel(f"127.0.0.1:{running.port}") as channel:
        call: Any = channel.stream_unary(f"/{ECHO}/One")()
        with pytest.raises(aio.AioRpcError) as raised:
            await call
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "not arrived within 0.2 s" in (raised.value.details() or "")
    assert counted("One", "UNAVAILABLE") == before + 1
    await running.end()


async def test_calls_whose_time_ends_together_do_no_harm_to_the_next_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(requests, "SECONDS", 0.1)
    arrivals = requests.Arrivals(20)

    async def silent() -> AsyncIterator[bytes]:
        await asyncio.sleep(60)
        yield b""

    async def quick() -> AsyncIterator[bytes]:
        yield b"here"

    waiting = [asyncio.ensure_future(arrivals.only(silent())) for _ in range(20)]
    await asyncio.sleep(0)
    # Their timers fire in one iteration of the loop, and the next call comes before they have left.
    time.sleep(0.2)  # noqa: ASYNC251 - the loop is to be late
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert await arrivals.only(quick()) == b"here"
    found = await asyncio.gather(*waiting, return_exceptions=True)
    assert {type(each) for each in found} == {ExhaustedError, UnavailableError}
    assert not arrivals._waiting


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
            stub.Watch(health_pb2.HealthCheckRequest()) for _ in range(LONG_CALLS)
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
