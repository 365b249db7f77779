"""Deadlines, breakers and unread answers of a gateway, in sequences that once went wrong."""

import asyncio
import contextlib
import time
from collections import Counter
from typing import Any

import grpc
import pytest
from gameai.gateway.dispatch import dispatcher
from gameai.gateway.rpc import service as gateway_service
from gameai.gateway.rpc.stream import Session
from gameai.inference.v1 import inference_pb2 as pb
from gameai_vllm.engine import Engine, Latency, Limits
from grpc import aio
from support.inference import (
    FAST,
    GUARD,
    Served,
    engine,
    eventually,
    gateway,
    question,
    view,
    world,
)

ENGINE, FRESH, DEFAULT = pb.SOURCE_ENGINE, pb.SOURCE_FRESH_CACHE, pb.SOURCE_DEFAULT


SAME = question(GUARD, fields={"threat": "1"}, deadline_ms=3000)


async def ask(served: Served, like: pb.Question = SAME, **more: Any) -> pb.Answer:
    return await served.infer(question(like, **more))


async def test_open_questions_hold_no_more_memory_than_there_is_for_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dispatcher, "QUESTION_BYTES", 0)
    other = world("games/other")
    async with gateway(view([], [], world(), other)) as served:
        served.dispatcher.ledger.most = 10_000

        async def asked(name: str, number: int) -> pb.Answer:
            like = question(GUARD, prompt=pb.Prompt(parts=[f"{number:02}" * 500]), deadline_ms=4000)
            response = await served.stub.GenerateAnswer(
                pb.GenerateAnswerRequest(world=name, question=like)
            )
            found: pb.Answer = response.answer
            return found

        calls = [asyncio.create_task(asked("games/eldermoor", n)) for n in range(30)]
        await eventually(lambda: served.dispatcher.open == 9)
        # One that holds little has its part although another holds all.
        assert (await asked("games/other", 99)).degraded_reason == pb.DEGRADED_REASON_NO_REPLICA
        answers = await asyncio.gather(*calls)
        assert served.dispatcher.ledger.total == 0
    reasons = Counter(each.degraded_reason for each in answers)
    assert reasons == {pb.DEGRADED_REASON_NO_REPLICA: 9, pb.DEGRADED_REASON_QUEUE_FULL: 21}


async def test_no_question_of_a_player_is_the_trial_of_a_replica() -> None:
    async with engine() as (surface, address), gateway(view([address])) as served:
        replica = served.dispatcher.schedulers["shared/gold"].replicas[address]
        surface.engine.kill()
        replica.breaker.condemned(time.monotonic() - 10)
        answers = [await ask(served, GUARD, deadline_ms=200) for _ in range(3)]
        assert {each.degraded_reason for each in answers} == {pb.DEGRADED_REASON_NO_REPLICA}
        assert not served.dispatcher.metrics.engine_failures
        surface.engine = Engine(FAST, Limits())
        assert replica.breaker.opened is not None
        replica.breaker.opened -= 10
        assert (await ask(served, GUARD, deadline_ms=4000)).source == ENGINE


async def test_with_every_breaker_open_there_is_no_replica() -> None:
    async with engine() as (_, address), gateway(view([address])) as served:
        served.dispatcher.schedulers["shared/gold"].replicas[address].breaker.condemned(
            time.monotonic()
        )
        answer = await ask(served, GUARD, deadline_ms=100)
    assert answer.degraded_reason == pb.DEGRADED_REASON_NO_REPLICA


async def test_the_roles_deadline_holds_although_the_call_has_a_longer_one() -> None:
    never = Latency(front_end_ms=0, first_token_ms=60_000)
    short = world(reaction={"deadline_ms": 500})
    async with engine(latency=never) as (_, address), gateway(view([address], [], short)) as served:
        began = time.monotonic()
        answer = await served.infer(GUARD, timeout=20)
        assert time.monotonic() - began < 5
    assert answer.source == DEFAULT


async def test_the_calls_deadline_holds_where_the_question_has_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Far more than the way back takes, so that a busy machine has it too.
    monkeypatch.setattr(gateway_service, "_LONG_WAY_BACK", 0.8)
    never = Latency(front_end_ms=0, first_token_ms=600_000)
    patient = world(reaction={"deadline_ms": 600_000})
    async with (
        engine(latency=never) as (_, address),
        gateway(view([address], [], patient)) as served,
    ):
        answer = await served.infer(GUARD, timeout=10.0)
    assert (answer.source, answer.degraded_reason) == (DEFAULT, pb.DEGRADED_REASON_DEADLINE)


async def test_one_answer_alone_is_never_provisional() -> None:
    both = world(reaction={"deferred_to": "dialogue"})
    async with (
        engine("silver") as (surface, silver),
        gateway(view([], [silver], both)) as served,
    ):
        answer = await ask(served, GUARD, deadline_ms=100)
        assert (answer.source, answer.provisional) == (DEFAULT, False)
        await asyncio.sleep(0.2)
    assert not surface.metrics.finished


async def test_answers_that_are_not_read_count_as_memory_and_end_their_stream() -> None:
    async with gateway(view([])) as served:
        served.dispatcher.ledger.most = 400 << 10
        call = served.stub.StreamAnswers()
        frame = [
            pb.Question(id=n + 1, role="nobody", prompt=pb.Prompt(parts=["?"])) for n in range(256)
        ]
        with contextlib.suppress(aio.AioRpcError, asyncio.InvalidStateError):
            for _ in range(200):
                for each in frame:
                    each.id += 256
                await call.write(pb.StreamAnswersRequest(questions=frame))
        with contextlib.suppress(aio.AioRpcError, asyncio.InvalidStateError):
            # The status comes after what was sent before it.
            while await call.read() is not aio.EOF:
                pass
        # A write into a call that has just ended is the client's own INTERNAL.
        assert await call.code() in (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.INTERNAL)
        await eventually(lambda: served.dispatcher.ledger.total == 0)
        assert served.dispatcher.metrics.events["stream not read",] == 1


async def test_one_that_reads_all_its_answers_is_never_ended_however_busy_it_is() -> None:
    class Context:
        def done(self) -> bool:
            return False

        async def write(self, response: Any) -> None:
            await asyncio.sleep(0)

    async with gateway(view([])) as served:
        served.dispatcher.ledger.most = 64 << 10
        busy = Session(served.dispatcher, lambda _: world(), holder="games/")
        context: Any = Context()
        writing = asyncio.create_task(busy.write(context))
        for _ in range(500):
            for number in range(60):
                busy.answer(pb.Answer(id=number, text="x" * 20), last=True)
            await asyncio.sleep(0)
            assert served.dispatcher.ledger.total < 200 << 10
        await eventually(lambda: not busy._ready)
        assert not busy.stuck.done()
        await eventually(lambda: served.dispatcher.ledger.total == 0)
        writing.cancel()
        busy.close()


async def test_a_call_that_is_handed_on_counts_for_those_who_began_it() -> None:
    async with (
        engine(latency=Latency(first_token_ms=3000)) as (surface, address),
        gateway(view([address])) as served,
    ):
        ledger = served.dispatcher.ledger
        first = asyncio.create_task(ask(served, fields={"threat": "1"}, deadline_ms=20_000))
        await eventually(lambda: surface.engine.running == 1)
        [replica] = served.dispatcher.schedulers["shared/gold"].replicas.values()
        attempt: Any = next(iter(replica._callers))
        attempt.holding(5000)
        began, attempt.inquiry.world = attempt.inquiry.world, "games/other"
        attempt.holding(0)
        attempt.inquiry.world = began
        first.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await first
        await eventually(lambda: (ledger.total, ledger._worlds, ledger._spaces) == (0, {}, {}))
