"""Memory and streams of a gateway under attack stay within each namespace's part."""

import asyncio
import contextlib
import json
import time
from contextlib import AsyncExitStack
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
from gameai.gateway.rpc.stream import Session
from gameai.inference.v1 import inference_pb2 as pb
from grpc import aio
from support.attacked import DEFAULT, MEBI, Named, ask, http
from support.inference import (
    BARD,
    GUARD,
    eventually,
    gateway,
    program,
    question,
    view,
    world,
    write_view,
)


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
            closed, defers, timed = False, False, True

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
