"""What a hostile tenant, engine or stranger can do to a gateway: nothing that others notice."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import jwt
import psutil
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import rsa
from gameai.errors import ExhaustedError
from gameai.gateway.memory import MemoryLedger
from gameai.gateway.rpc import service, sinks
from gameai.gateway.rpc.identity import Caller
from gameai.gateway.rpc.stream import Session
from gameai.inference.v1 import inference_pb2 as pb
from gameai.inference.v1 import inference_pb2_grpc
from grpc import aio
from support.inference import (
    BARD,
    GUARD,
    Served,
    engine,
    eventually,
    gateway,
    program,
    question,
    view,
    world,
    write_view,
)

ENGINE, DEFAULT = pb.SOURCE_ENGINE, pb.SOURCE_DEFAULT
MEBI = 1 << 20


async def ask(served: Served, like: pb.Question = GUARD, **more: Any) -> pb.Answer:
    return await served.infer(question(like, **more))


@asynccontextmanager
async def http(answer: Any) -> AsyncIterator[str]:
    """An engine of a tenant's choice; its health is always well."""
    app = web.Application()

    async def health(_: web.Request) -> web.Response:
        return web.Response()

    app.router.add_get("/health", health)
    app.router.add_post("/v1/chat/completions", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


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
            for job in {each.job for each in _attempts(served)}:
                job.sink.append(job.question, "y" * 200_000)
            # Long before the 30 s after which any unread text ends.
            await eventually(lambda: served.dispatcher.metrics.events["stream not read",] == 1, 5)
            await eventually(lambda: ledger.total == 0)
            await read_out(call)
            assert await call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def read_out(call: Any) -> None:
    with contextlib.suppress(aio.AioRpcError):
        while await call.read() is not aio.EOF:
            pass


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


async def test_unread_answers_of_one_namespace_leave_others_their_memory() -> None:
    """Its streams stay below what ends one, as many as it may have."""
    async with gateway(view([]), Named()) as served:
        ledger = served.dispatcher.ledger
        hoarders = [
            Session(served.dispatcher, lambda _: world(), holder="games/") for _ in range(128)
        ]
        big = pb.Answer(text="x" * 10_000)
        for each in hoarders:
            while not each.stuck.done() and each._charged < 1 * MEBI:
                each.answer(big, last=True)
        assert ledger.total < 3 * ledger.most
        assert not ledger.full("others/world")
        calm = Session(served.dispatcher, lambda _: world("others/world"), holder="others/")
        frame = pb.StreamAnswersRequest(
            questions=[question(GUARD, n, prompt=pb.Prompt(parts=["x" * 900])) for n in range(100)]
        )
        await calm.take(frame.SerializeToString())
        for each in (*hoarders, calm):
            each.close()
        assert ledger.total == 0


def test_an_answer_that_is_refused_for_memory_is_not_counted() -> None:
    class Context:
        def add_done_callback(self, _: Any) -> None:
            raise AssertionError("nothing to release")

    ledger = MemoryLedger(1000)
    context: Any = Context()
    with pytest.raises(ExhaustedError):
        sinks.hold_until_sent(context, ledger, "games/", pb.Answer(text="x" * 5000))
    assert ledger.total == 0


async def test_first_frames_find_no_more_memory_than_their_namespace_has() -> None:
    async with gateway(view([]), Named()) as served:
        ledger, most = served.dispatcher.ledger, 0
        ledger.most = 4 * MEBI
        served.dispatcher.pacer.add(lambda: time.sleep(0.02), "others/a")
        large = pb.StreamAnswersRequest(
            questions=[question(GUARD, n, prompt=pb.Prompt(parts=["x" * 4000])) for n in range(200)]
        ).SerializeToString()
        sessions = [
            Session(served.dispatcher, lambda _: world(), holder="games/") for _ in range(60)
        ]
        taking = [asyncio.create_task(each.take(large)) for each in sessions]
        await asyncio.sleep(0)
        most = ledger.total
        ended = await asyncio.gather(*taking, return_exceptions=True)
        for each in sessions:
            each.close()
        assert ledger.total == 0
    assert most < ledger.most + 2 * MEBI
    assert sum(isinstance(each, ExhaustedError) for each in ended) >= 50


@pytest.mark.parametrize("content", [None, "", "  \n ", "<think>hm", {"a": 1}])
async def test_what_a_model_does_not_say_is_no_answer_and_is_not_cached(content: Any) -> None:
    async def blank(_: web.Request) -> web.Response:
        choice = {"message": {"content": content}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 1, "completion_tokens": 1}
        return web.json_response({"choices": [choice], "usage": usage})

    async with http(blank) as address, gateway(view([], [address])) as served:
        answers = [await ask(served, BARD, deadline_ms=3000) for _ in range(2)]
        assert len(served.dispatcher.cache) == 0
    assert {(each.text, each.source) for each in answers} == {("Hm?", DEFAULT)}
    assert {each.degraded_reason for each in answers} == {pb.DEGRADED_REASON_ENGINE_FAILED}


async def test_falling_deadlines_of_one_key_cost_no_more_than_equal_ones() -> None:
    async with gateway(view([])) as served:
        moor = served.dispatcher.view.worlds["games/eldermoor"]

        class Nowhere:
            closed, defers = False, False

            def answer(self, answer: pb.Answer, *, last: bool) -> None: ...

            def append(self, question: int, text: str) -> bool:
                return True

        def frame(falling: bool, threat: int) -> float:
            asked = [
                question(
                    GUARD,
                    n + 1,
                    fields={"threat": str(threat)},
                    deadline_ms=60_000 - falling * n * 10,
                )
                for n in range(1024)
            ]
            sink: Any = Nowhere()
            began = time.perf_counter()
            for each in asked:
                served.dispatcher.ask(moor, each, sink)
            return time.perf_counter() - began

        pairs = [(frame(True, 20 * n), frame(False, 20 * n + 10)) for n in range(5)]
    ratio = sorted(falling / equal for falling, equal in pairs)[2]
    assert ratio < 6, pairs


class Named:
    """Everybody is the account that a header names."""

    def caller(self, metadata: Any) -> Caller:
        return Caller(str(metadata.get("account", "games/server")), float("inf"))


async def test_a_namespace_has_only_so_many_streams_at_a_gateway(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(service, "MOST_STREAMS", 3)
    foreign = world("others/world")
    async with gateway(view([], [], world(), foreign), Named()) as served:
        calls = [served.stub.StreamAnswers() for _ in range(3)]
        await asyncio.gather(*(call.initial_metadata() for call in calls))
        beyond = served.stub.StreamAnswers()
        assert await beyond.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "namespace games has 3 streams open" in await beyond.details()
        calls[0].cancel()
        await eventually(lambda: served.service.streams == 2)
        again = served.stub.StreamAnswers()
        await again.initial_metadata()
        for call in (*calls, again):
            call.cancel()
        await eventually(lambda: not served.service._streams_of)


async def test_a_stranger_who_sends_no_token_fills_no_memory(tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()
    public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key))
    keys.write_text(json.dumps({"keys": [public | {"kid": "k1", "alg": "RS256"}]}))
    file = write_view(tmp_path)
    flags = ("--view", str(file), "--keys", str(keys), "--address", "127.0.0.1", "--port", "0", "--health-port", "0")  # fmt: skip
    async with AsyncExitStack() as stack:
        made, ports = await stack.enter_async_context(program("gameai.gateway", *flags))
        process = psutil.Process(made.pid)
        address = f"127.0.0.1:{ports[0]}"

        async def pour(number: int) -> None:
            """Most of a message whose end never comes."""
            options = [("grpc.use_local_subchannel_pool", 1)]
            channel = await stack.enter_async_context(
                aio.insecure_channel(address, options=options)
            )
            method: Any = channel.stream_unary(
                "/gameai.inference.v1.InferenceService/GenerateAnswer", request_serializer=bytes
            )
            calls = [method() for _ in range(50)]
            for call in calls:
                with contextlib.suppress(aio.AioRpcError, asyncio.InvalidStateError):
                    await call.write(b"x" * (900 << 10))
                # A write into a call that has just ended is the client's own INTERNAL.
                assert await call.code() in (
                    grpc.StatusCode.UNAUTHENTICATED,
                    grpc.StatusCode.INTERNAL,
                )

        before = process.memory_info().rss
        await asyncio.gather(*(pour(number) for number in range(4)))
        grown = process.memory_info().rss - before
    assert grown < 64 * MEBI, grown
