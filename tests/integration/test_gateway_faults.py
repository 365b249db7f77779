"""What goes wrong around the gateway, and what its callers see of it: an answer in time, or a sentence that says why not."""

import asyncio
import signal
import time
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from gameai.client import Gateway, Source
from gameai.inference.v1 import inference_pb2 as pb
from gameai.inference.v1 import inference_pb2_grpc
from gameai_vllm.engine import Engine, Latency, Limits
from grpc import aio
from support.inference import (
    BARD,
    FAST,
    GUARD,
    Served,
    engine,
    eventually,
    gateway,
    gateway_program,
    program,
    question,
    view,
    write_view,
)

ENGINE, DEFAULT = pb.SOURCE_ENGINE, pb.SOURCE_DEFAULT


DOUBLE = ("gameai_vllm", "--port", "0", "--served-model-name")


async def ask(served: Served, like: pb.Question = GUARD, **more: Any) -> pb.Answer:
    return await served.infer(question(like, **more))


async def test_a_replica_killed_mid_stream_ends_the_text_as_truncated() -> None:
    async with (
        program(*DOUBLE, "silver", "--token-ms", "300") as (made, ports),
        gateway(view([], [f"127.0.0.1:{ports[0]}"])) as served,
    ):
        parts = []
        async for part in served.stub.GenerateText(pb.GenerateTextRequest(question=BARD)):
            parts.append(part)
            if len(parts) == 3:
                made.kill()
    assert len(parts) < 20
    assert parts[-1].end.truncated
    assert parts[-1].end.degraded_reason == pb.DEGRADED_REASON_ENGINE_FAILED


async def test_a_replica_that_accepts_and_never_answers_is_left_alone() -> None:
    async with (
        engine() as (mute, first),
        engine() as (_, second),
        gateway(view([first, second])) as served,
    ):
        mute.mute = True
        pool = served.dispatcher.schedulers["shared/gold"]
        end = time.monotonic() + 30
        while pool.replicas[first].breaker.opened is None:
            assert time.monotonic() < end
            # Each is cut by its own deadline, which alone opens nothing. NPCs of one archetype alone would share a replica.
            calls = (
                ask(served, BARD, role="reaction", npc=str(n), deadline_ms=100) for n in range(8)
            )
            await asyncio.gather(*calls)
        answers = [
            await ask(served, BARD, role="reaction", npc=str(n), deadline_ms=4000)
            for n in range(10)
        ]
    assert {each.source for each in answers} == {ENGINE}


async def test_deadlines_that_an_engine_cannot_meet_open_no_breaker() -> None:
    slow = Latency(front_end_ms=0, first_token_ms=150)
    async with engine(latency=slow) as (_, address), gateway(view([address])) as served:
        replica = served.dispatcher.schedulers["shared/gold"].replicas[address]
        end = time.monotonic() + 4
        while time.monotonic() < end:
            assert (await ask(served, deadline_ms=60)).source == DEFAULT
            assert replica.breaker.opened is None
        # Its health was asked after, and it lives: with time enough it answers.
        assert (await ask(served, deadline_ms=5000)).source == ENGINE


async def test_one_that_drains_is_no_answer_for_gold_and_another_replica_for_silver() -> None:
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        gold, gold_address = await enter(engine())
        drained, first = await enter(engine("silver"))
        _, second = await enter(engine("silver"))
        served = await enter(gateway(view([gold_address], [first, second])))
        gold.engine.draining = drained.engine.draining = True
        silver = [await ask(served, BARD, npc=str(n)) for n in range(40)]
        reaction = await ask(served)
        assert served.dispatcher.metrics.engine_failures["shared/silver", "500"] > 0
    assert {each.source for each in silver} == {ENGINE}
    assert (reaction.source, reaction.degraded_reason) == (
        DEFAULT,
        pb.DEGRADED_REASON_ENGINE_FAILED,
    )


async def test_gold_is_never_tried_twice_although_another_replica_is_well() -> None:
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        drained, first = await enter(engine())
        _, second = await enter(engine())
        served = await enter(gateway(view([first, second])))
        drained.engine.draining = True
        answers = [await ask(served, BARD, role="reaction", npc=str(n)) for n in range(20)]
        failures = served.dispatcher.metrics.engine_failures["shared/gold", "500"]
    reasons = Counter(each.degraded_reason for each in answers)
    assert reasons[pb.DEGRADED_REASON_ENGINE_FAILED] == failures > 0


async def test_what_a_replica_that_has_left_leaves_behind_is_tried_at_another() -> None:
    slow = Latency(front_end_ms=0, first_token_ms=60_000)
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        old, first = await enter(engine("silver", slow))
        _, second = await enter(engine("silver"))
        served = await enter(gateway(view([], [first])))
        call = asyncio.create_task(ask(served, BARD, deadline_ms=8000))
        await eventually(lambda: old.engine.running == 1)
        served.dispatcher.take(view([], [second]))
        old.engine.kill()
        assert (await call).source == ENGINE


async def test_an_engine_that_says_it_is_busy_is_not_taken_for_broken() -> None:
    slow = Latency(front_end_ms=0, first_token_ms=100)
    full = Limits(slots=2, queued=2)
    async with (
        engine(latency=slow, limits=full) as (_, address),
        gateway(view([address])) as served,
    ):
        calls = [
            ask(served, prompt=pb.Prompt(parts=[str(n)]), deadline_ms=30_000) for n in range(16)
        ]
        answers = await asyncio.gather(*calls)
        assert served.dispatcher.metrics.engine_failures["shared/gold", "503"] > 5
        assert served.dispatcher.schedulers["shared/gold"].replicas[address].breaker.opened is None
        assert (await ask(served)).source == ENGINE
    assert {each.source for each in answers} == {ENGINE, DEFAULT}


async def test_a_dead_engine_is_found_out_and_comes_back_by_one_trial() -> None:
    async with engine() as (surface, address), gateway(view([address])) as served:
        surface.engine.kill()
        answers = [await ask(served, deadline_ms=30_000) for _ in range(5)]
        replica = served.dispatcher.schedulers["shared/gold"].replicas[address]
        assert replica.breaker.opened is not None
        answers += [await ask(served, deadline_ms=200) for _ in range(3)]
        reasons = Counter(each.degraded_reason for each in answers)
        assert reasons[pb.DEGRADED_REASON_ENGINE_FAILED] == 5
        surface.engine = Engine(FAST, Limits())
        replica.breaker.opened -= 10
        assert (await ask(served)).source == ENGINE
        assert replica.breaker.opened is None


async def test_a_200_that_says_abort_is_no_answer() -> None:
    slow = Latency(front_end_ms=0, first_token_ms=60_000)
    async with engine(latency=slow) as (surface, address), gateway(view([address])) as served:
        call = asyncio.create_task(ask(served, deadline_ms=5000))
        await eventually(lambda: surface.engine.running)
        surface.engine.abort()
        answer = await call
        assert served.dispatcher.metrics.engine_failures["shared/gold", "unfinished"] == 1
    assert (answer.source, answer.degraded_reason) == (DEFAULT, pb.DEGRADED_REASON_ENGINE_FAILED)


async def test_with_the_whole_tier_gone_the_ladder_answers() -> None:
    async with engine() as (_, address):
        pass
    async with gateway(view([address])) as refused, gateway(view()) as none:
        first = await ask(refused, deadline_ms=5000)
        second = await ask(none, deadline_ms=200)
    assert (first.source, first.degraded_reason) == (DEFAULT, pb.DEGRADED_REASON_ENGINE_FAILED)
    assert (second.source, second.degraded_reason) == (DEFAULT, pb.DEGRADED_REASON_NO_REPLICA)


async def test_while_a_tier_rolls_questions_are_held_however_slow_it_was() -> None:
    slow = Latency(front_end_ms=0, first_token_ms=700)
    async with engine(latency=slow) as (_, address), gateway(view([address])) as served:
        assert (await ask(served)).source == ENGINE
        served.dispatcher.take(view([]))
        began = time.monotonic()
        assert (await ask(served, deadline_ms=1500)).source == DEFAULT
        assert time.monotonic() - began > 1.3


async def test_a_gateway_asked_to_stop_under_load_loses_no_question(tmp_path: Path) -> None:
    slow = Latency(front_end_ms=0, first_token_ms=20)
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        _, backend = await enter(engine(latency=slow))
        file = write_view(tmp_path, backend)
        first, one = await enter(gateway_program(file))
        _, two = await enter(gateway_program(file))
        ai = await enter(Gateway(f"{one},{two}"))
        sources: Counter[Source] = Counter()

        async def npc(number: int) -> None:
            end = time.monotonic() + 4
            while time.monotonic() < end:
                reply = await ai.ask(
                    role="reaction", archetype="guard", npc=f"n{number}", prompt="x"
                )
                sources[reply.source] += 1

        npcs = [asyncio.create_task(npc(number)) for number in range(20)]
        await asyncio.sleep(1.5)
        first.send_signal(signal.SIGTERM)
        await asyncio.gather(*npcs)
        async with asyncio.timeout(30):
            assert await first.wait() == 0
    # An error would have been raised; only the engine answered.
    assert set(sources) == {Source.ENGINE}
    assert sources[Source.ENGINE] > 100


async def test_single_calls_are_answered_until_their_callers_have_gone_elsewhere(
    tmp_path: Path,
) -> None:
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        _, backend = await enter(engine())
        file = write_view(tmp_path, backend)
        programs = [await enter(gateway_program(file)) for _ in range(2)]
        channels = [await enter(aio.insecure_channel(address)) for _, address in programs]
        stubs: list[Any] = [inference_pb2_grpc.InferenceServiceStub(each) for each in channels]
        codes: Counter[str] = Counter()
        leaving = programs[0][0]

        async def caller(number: int) -> None:
            while leaving.returncode is None:
                asked = question(
                    GUARD, npc=f"n{number}", prompt=pb.Prompt(parts=["x"]), deadline_ms=20_000
                )
                try:
                    answer = (
                        await stubs[0].GenerateAnswer(pb.GenerateAnswerRequest(question=asked))
                    ).answer
                    codes[pb.Source.Name(answer.source)] += 1
                except aio.AioRpcError as error:
                    codes[error.code().name] += 1
                await asyncio.sleep(0.01)

        callers = [asyncio.create_task(caller(number)) for number in range(8)]
        await asyncio.sleep(1)
        leaving.send_signal(signal.SIGTERM)
        # Names are asked for again some seconds later, and then tell of the other one alone.
        await asyncio.sleep(3)
        asked_leaving = codes.total()
        stubs[0] = stubs[1]
        async with asyncio.timeout(60):
            assert await leaving.wait() == 0
        await asyncio.gather(*callers)
    assert set(codes) == {"SOURCE_ENGINE"}
    assert codes.total() > asked_leaving > 100


async def test_a_gateway_that_is_killed_costs_at_most_an_asking_again(tmp_path: Path) -> None:
    slow = Latency(front_end_ms=0, first_token_ms=100)
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        _, backend = await enter(engine(latency=slow))
        file = write_view(tmp_path, backend)
        first, one = await enter(gateway_program(file))
        _, two = await enter(gateway_program(file))
        ai = await enter(Gateway(f"{one},{two}"))
        await eventually(lambda: sum(each.proven for each in ai._streams) == 2)
        calls = [
            asyncio.create_task(
                ai.ask(role="reaction", archetype="guard", prompt="x", deadline_ms=10_000)
            )
            for _ in range(20)
        ]
        await asyncio.sleep(0.05)
        held = {each.address: each.outstanding for each in ai._streams}
        first.kill()
        replies = await asyncio.gather(*calls)
    assert {each.source for each in replies} == {Source.ENGINE}
    assert min(held.values()) >= 5
