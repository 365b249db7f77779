"""What a hostile tenant, engine or stranger can do to a gateway: nothing that others notice."""

import asyncio
import contextlib
import json
import time
from dataclasses import replace
from typing import Any

import grpc
import pytest
from aiohttp import web
from gameai.gateway.rpc import sinks
from gameai.inference.v1 import inference_pb2 as pb
from gameai.inference.v1 import inference_pb2_grpc
from grpc import aio
from support.attacked import ENGINE, MEBI, Named, ask, http
from support.inference import (
    BARD,
    Served,
    engine,
    eventually,
    gateway,
    question,
    view,
)


@pytest.mark.parametrize("status", [401, 404, 405, 500])
async def test_a_replica_that_fails_at_once_does_not_swallow_a_tier(status: int) -> None:
    asked = 0

    async def refuse(_: web.Request) -> web.Response:
        nonlocal asked
        asked += 1
        return web.json_response({"error": {"message": "no"}}, status=status)

    async with (
        http(refuse) as bad,
        engine() as (_, good),
        gateway(view([bad, good])) as served,
    ):
        answers = [await ask(served, BARD, role="reaction", npc=str(n)) for n in range(100)]
        replica = served.dispatcher.schedulers["shared/gold"].replicas[bad]
        # Its health is well, so it is tried again, and left alone at its first failure.
        assert replica.breaker.opened is not None or asked < 10
    assert sum(each.source == ENGINE for each in answers) >= 94
    assert asked <= 6


async def test_what_a_full_and_mute_replica_holds_is_answered_by_another() -> None:
    async with (
        engine("silver") as (mute, first),
        engine("silver") as (_, second),
    ):
        seen = view([], [first, second])
        tiers = {key: _with_slots(each, 1) for key, each in seen.tiers.items()}
        async with gateway(type(seen)(tiers=tiers, worlds=seen.worlds)) as served:
            mute.mute = True
            began = time.monotonic()
            calls = [ask(served, BARD, npc=str(n), deadline_ms=60_000) for n in range(6)]
            answers = await asyncio.gather(*calls)
            assert time.monotonic() - began < 40
            assert served.dispatcher.metrics.engine_failures["shared/silver", "silent"] >= 1
    assert {each.source for each in answers} == {ENGINE}


def _with_slots(tier: Any, slots: int) -> Any:
    return replace(tier, slots=slots)


async def test_an_engine_that_never_stops_is_cut_off() -> None:
    sent = 0

    async def flood(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        choice = {"delta": {"content": "x" * 1000}, "finish_reason": None}
        event = b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"
        with contextlib.suppress(ConnectionError):
            while sent < 100 * MEBI:
                await response.write(event)
                sent += len(event)
        return response

    async with http(flood) as address, gateway(view([], [address])) as served:
        call = served.stub.GenerateText(pb.GenerateTextRequest(question=BARD))
        parts = [part async for part in call]
        assert served.dispatcher.ledger.total == 0
    assert parts[-1].end.degraded_reason == pb.DEGRADED_REASON_ENGINE_FAILED
    assert sum(len(part.text) for part in parts) < 40_000
    assert sent < 8 * MEBI


async def test_an_engine_is_read_no_faster_than_its_text_is_taken() -> None:
    sent, many = 0, 2000

    async def speak(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for number in range(many):
            finish = "stop" if number == many - 1 else None
            choice = {"delta": {"content": "x" * 250}, "finish_reason": finish}
            await response.write(b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n")
            sent += 1
        usage = {"prompt_tokens": 1, "completion_tokens": many}
        await response.write(
            b"data: " + json.dumps({"choices": [], "usage": usage}).encode() + b"\n\n"
        )
        return response

    async with http(speak) as address, gateway(view([], [address])) as served:
        like = question(BARD, max_tokens=2048, deadline_ms=60_000)
        call = served.stub.GenerateText(pb.GenerateTextRequest(question=like))
        parts = [part async for part in call]
    assert parts[-1].end.source == ENGINE
    assert not parts[-1].end.truncated
    assert sum(len(part.text) for part in parts) == 250 * many


async def test_a_stream_of_an_engine_ends_at_its_first_fault() -> None:
    ended = asyncio.Event()

    async def nothing(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            for _ in range(1000):
                await response.write(b"data: {}\n\n")
                await asyncio.sleep(0.01)
        except ConnectionError:
            ended.set()
        return response

    async with http(nothing) as address, gateway(view([], [address])) as served:
        call = served.stub.GenerateText(pb.GenerateTextRequest(question=BARD))
        [part] = [part async for part in call]
        await asyncio.wait_for(ended.wait(), 5)
        assert served.dispatcher.metrics.engine_failures["shared/silver", "unfinished"] == 1
    assert part.end.degraded_reason == pb.DEGRADED_REASON_ENGINE_FAILED


async def test_long_replies_are_read_in_turns() -> None:
    """The replies of 60 calls are whole in the same pass of the loop, each with half a MiB of numbers."""
    text = b'{"choices": [' + b"1.5," * 130_000 + b"0]}"
    asked = 0

    async def silence(_: web.Request) -> web.Response:
        nonlocal asked
        asked += 1
        await asyncio.sleep(60)
        return web.Response()

    async with http(silence) as address, gateway(view([], [address])) as served:
        [replica] = served.dispatcher.schedulers["shared/silver"].replicas.values()
        replica.slots = served.dispatcher.schedulers["shared/silver"].queue.slots = 60
        like = question(BARD, max_tokens=2048, deadline_ms=60_000)
        calls = [asyncio.create_task(ask(served, like)) for _ in range(60)]
        await eventually(lambda: asked == 60)
        late, began, done = 0.0, time.monotonic(), asyncio.gather(*calls)
        for each in list(replica._callers):
            each.replied(200, text)
        assert served.dispatcher.ledger.total > 30 * MEBI // 4
        while not done.done():
            await asyncio.sleep(0)
            late, began = max(late, time.monotonic() - began), time.monotonic()
        answers = await done
        assert served.dispatcher.ledger.total == 0
    assert {each.degraded_reason for each in answers} == {pb.DEGRADED_REASON_ENGINE_FAILED}
    # Some milliseconds on a quiet machine; 6 s without turns.
    assert late < 0.5, late


async def test_a_text_that_is_not_read_is_counted_and_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sinks, "STUCK_SECONDS", 2.0)

    async def speak(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        choice = {"delta": {"content": "x" * 50_000}, "finish_reason": None}
        for _ in range(100):
            await response.write(b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n")
        return response

    async with http(speak) as address, gateway(view([], [address])) as served:
        like = question(BARD, max_tokens=2048, deadline_ms=60_000)
        options = [("grpc.http2.lookahead_bytes", 1 << 16), ("grpc.http2.bdp_probe", 0)]
        async with aio.insecure_channel(served.address, options=options) as channel:
            stub = inference_pb2_grpc.InferenceServiceStub(channel)
            call = stub.GenerateText(pb.GenerateTextRequest(question=like))
            await call.initial_metadata()
            await eventually(lambda: served.dispatcher.ledger.total > 50_000)
            await eventually(lambda: served.dispatcher.metrics.events["stream not read",] == 1)
            await eventually(lambda: served.dispatcher.ledger.total == 0)
            await read_out(call)
            assert await call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert await call.details() == "the answers are not read"


async def test_a_text_that_is_not_read_ends_as_soon_as_memory_is_full() -> None:
    async def speak(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        choice = {"delta": {"content": "x" * 60_000}, "finish_reason": None}
        for _ in range(5):
            await response.write(b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n")
        await asyncio.sleep(60)
        return response

    async with http(speak) as address, gateway(view([], [address]), Named()) as served:
        ledger = served.dispatcher.ledger
        like = question(BARD, max_tokens=2048, deadline_ms=60_000)
        options = [("grpc.http2.lookahead_bytes", 1 << 16), ("grpc.http2.bdp_probe", 0)]
        async with aio.insecure_channel(served.address, options=options) as channel:
            stub = inference_pb2_grpc.InferenceServiceStub(channel)
            call = stub.GenerateText(pb.GenerateTextRequest(question=like, world="games/eldermoor"))
            await call.initial_metadata()
            await eventually(lambda: ledger.total > 60_000)
            ledger.most = 1000
            for inquiry in {each.inquiry for each in _attempts(served)}:
                inquiry.sink.append(inquiry.question, "y" * 200_000)
            # Long before the 30 s after which any unread text ends.
            await eventually(lambda: served.dispatcher.metrics.events["stream not read",] == 1, 5)
            await eventually(lambda: ledger.total == 0)
            # In a few of a hundred runs a client of C-core that paused gets neither the rest nor the end; the gateway is
            # done with the stream then, which is what this test is about.
            if await read_out(call, seconds=10):
                assert await call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def read_out(call: Any, seconds: float = 60) -> bool:
    """Read to the end of a stream; whether it came in time."""
    try:
        async with asyncio.timeout(seconds):
            while await call.read() is not aio.EOF:
                pass
    except TimeoutError:
        return False
    except aio.AioRpcError:
        return True
    return True


def _attempts(served: Served) -> list[Any]:
    schedulers = served.dispatcher.schedulers.values()
    return [each for one in schedulers for replica in one.replicas.values() for each in replica._callers]  # fmt: skip


async def test_a_connection_that_was_paused_at_its_end_is_read_again() -> None:
    """One piece holds more text than may wait, and the end."""
    choice = {"delta": {"content": "x" * 20_000}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 1, "completion_tokens": 9}
    events = [{"choices": [choice]}, {"choices": [], "usage": usage}]
    body = b"".join(b"data: " + json.dumps(each).encode() + b"\n\n" for each in events)
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    reply = head + b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                asked = await reader.readuntil(b"\r\n\r\n")
                length = int(asked.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
                await reader.readexactly(length)
                writer.write(reply)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, gateway(view([], [address])) as served:
        like = question(BARD, max_tokens=2048, deadline_ms=5000)
        for _ in range(2):
            call = served.stub.GenerateText(pb.GenerateTextRequest(question=like))
            parts = [part async for part in call]
            assert parts[-1].end.source == ENGINE
            assert not parts[-1].end.truncated
    # The server's side closes in the loop's next passes.
    await asyncio.sleep(0.05)
