"""What goes wrong around the gateway, and what its callers see of it: an answer in time, or a sentence that says why not."""

import asyncio
import contextlib
import signal
import time
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest
from gameai.client import Gateway, Source
from gameai.gateway import app
from gameai.gateway.rpc import sinks, stream
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
    world,
    write_view,
)

ENGINE, DEFAULT = pb.SOURCE_ENGINE, pb.SOURCE_DEFAULT
DOUBLE = ("gameai_vllm", "--port", "0", "--served-model-name")


async def ask(served: Served, like: pb.Question = GUARD, **more: Any) -> pb.Answer:
    return await served.infer(question(like, **more))


async def failure(call: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(aio.AioRpcError) as caught:
        await call
    return caught.value.code(), str(caught.value.details())


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
    # An error would have been raised; nobody but the engine answered.
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


async def raw(served: Served, *frames: bytes) -> tuple[grpc.StatusCode, str]:
    """The status of a stream that sends these bytes as frames."""
    async with aio.insecure_channel(served.address) as channel:
        method = channel.stream_stream(
            "/gameai.inference.v1.InferenceService/StreamAnswers",
            request_serializer=bytes,
            response_deserializer=bytes,
        )
        call = method()
        for frame in frames:
            await call.write(frame)
        await call.done_writing()
        return await failure(anext(aiter(call)))


async def test_frames_that_are_malformed_or_too_large_end_their_stream_alone() -> None:
    async with engine() as (_, address), gateway(view([address])) as served:
        code, _ = await raw(served, b"\xff\xff\xff")
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        code, _ = await raw(served, b"x" * (5 << 20))
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        crowd = pb.StreamAnswersRequest(questions=[pb.Question(id=n) for n in range(257)])
        assert await raw(served, crowd.SerializeToString()) == (
            grpc.StatusCode.INVALID_ARGUMENT,
            "a frame has at most 256 questions, and cancels as many",
        )
        assert (await ask(served)).source == ENGINE


async def pour(served: Served, call: Any) -> None:
    """Send frames until the stream takes no more; what is held for it stays bounded."""
    for frame in range(10_000):
        asked = [
            question(
                GUARD,
                frame * 256 + n + 1,
                fields={"threat": "1"},
                prompt=pb.Prompt(parts=["x" * 2000]),
            )
            for n in range(256)
        ]
        writing = asyncio.create_task(call.write(pb.StreamAnswersRequest(questions=asked)))
        # Not a timeout: a write that is cancelled would end the call from here.
        done, _ = await asyncio.wait([writing], timeout=3)
        if not done or writing.exception():
            writing.add_done_callback(lambda task: task.exception())
            return
        for held in served.service._sessions:
            assert len(held._open) + len(held._ready) <= stream.MOST_OPEN


async def read_out(call: Any) -> None:
    with contextlib.suppress(aio.AioRpcError, asyncio.CancelledError):
        async with asyncio.timeout(20):
            while await call.read() is not aio.EOF:
                pass


async def test_a_frame_that_is_too_large_is_refused_by_the_gateways_own_process(
    tmp_path: Path,
) -> None:
    async with (
        gateway_program(write_view(tmp_path)) as (_, address),
        aio.insecure_channel(address) as channel,
    ):
        method: Any = channel.stream_stream(
            "/gameai.inference.v1.InferenceService/StreamAnswers", request_serializer=bytes
        )
        call = method()
        await call.write(b"x" * (5 << 20))
        code, _ = await failure(anext(aiter(call)))
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_client_that_does_not_read_its_answers_is_cut_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sinks, "STUCK_SECONDS", 1.0)
    async with engine() as (_, address), gateway(view([address])) as served:
        await ask(served, fields={"threat": "1"})
        call = served.stub.StreamAnswers()
        await pour(served, call)
        await eventually(lambda: served.service.streams == 0, 20)
        assert served.dispatcher.open == 0
        # Were it to read after all, it would find an end.
        await read_out(call)
        assert await call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert await call.details() == "the answers are not read"
        assert (await ask(served)).source == ENGINE


async def test_one_that_floods_leaves_others_their_answers() -> None:
    slow = Latency(front_end_ms=0, first_token_ms=10)
    other = world("games/other")
    async with (
        engine(latency=slow) as (_, address),
        gateway(view([address], [], world(), other)) as served,
    ):
        flood = served.stub.StreamAnswers()

        async def pour() -> None:
            for frame in range(200):
                asked = [
                    question(GUARD, frame * 256 + n + 1, deadline_ms=120_000) for n in range(256)
                ]
                await flood.write(pb.StreamAnswersRequest(world="games/eldermoor", questions=asked))

        pouring = asyncio.create_task(pour())
        await eventually(lambda: len(served.dispatcher.schedulers["shared/gold"].queue) > 1000, 20)
        answers = []
        for _ in range(20):
            request = pb.GenerateAnswerRequest(
                world="games/other", question=question(GUARD, deadline_ms=20_000)
            )
            answers.append((await served.stub.GenerateAnswer(request)).answer)
        assert all(len(each._open) <= stream.MOST_OPEN for each in served.service._sessions)
        flood.cancel()
        pouring.cancel()
        await asyncio.gather(pouring, return_exceptions=True)
        await eventually(lambda: served.service.streams == 0)
        await eventually(lambda: served.dispatcher.open == 0)
    assert {each.source for each in answers} == {ENGINE}


async def test_streams_that_come_at_once_are_admitted_while_others_keep_the_gateway_busy(
    tmp_path: Path,
) -> None:
    """gRPC's server lets in one call in each pass of the loop, and ends those that waited for 30 s."""
    file = write_view(tmp_path)
    # Each of its answers is a fault: that costs the gateway much, and the caller nothing.
    nobody = [
        pb.Question(id=n + 1, role="nobody", prompt=pb.Prompt(parts=["?"])) for n in range(256)
    ]
    heavy = pb.StreamAnswersRequest(questions=nobody).SerializeToString()
    frames, answered = Counter[str](), asyncio.Event()

    async def stream(stack: AsyncExitStack, address: str) -> Any:
        options = [("grpc.use_local_subchannel_pool", 1)]
        channel = await stack.enter_async_context(aio.insecure_channel(address, options=options))
        return channel.stream_stream(
            "/gameai.inference.v1.InferenceService/StreamAnswers",
            request_serializer=bytes,
            response_deserializer=bytes,
        )()

    async def pour(call: Any) -> None:
        while True:
            await call.write(heavy)
            await call.read()
            frames["busy"] += 1
            answered.set()

    async with gateway_program(file) as (_, address), AsyncExitStack() as stack:
        crowd = [await stream(stack, address) for _ in range(30)]
        await asyncio.gather(*(call.initial_metadata() for call in crowd))
        pouring = [asyncio.create_task(pour(call)) for call in crowd]
        await answered.wait()
        await asyncio.sleep(0.5)
        counts = []
        for _ in range(3):
            before = frames["busy"]
            newcomers = [await stream(stack, address) for _ in range(30)]
            async with asyncio.timeout(60):
                await asyncio.gather(*(call.initial_metadata() for call in newcomers))
            counts.append(frames["busy"] - before)
        for task in pouring:
            task.cancel()
        await asyncio.gather(*pouring, return_exceptions=True)
    # One each pass, in which every busy stream had its turn, would be 900 each time; on a busy machine it is up to 700.
    assert min(counts) < 800, counts


async def test_a_stream_that_is_gone_takes_its_calls_along() -> None:
    slow = Latency(front_end_ms=0, first_token_ms=60_000)
    async with engine(latency=slow) as (surface, address), gateway(view([address])) as served:
        call = served.stub.StreamAnswers()
        asked = [question(GUARD, n, deadline_ms=60_000) for n in (1, 2, 3)]
        await call.write(pb.StreamAnswersRequest(questions=asked))
        await eventually(lambda: surface.engine.running == 3)
        call.cancel()
        await eventually(lambda: surface.engine.running == 0)
        assert served.dispatcher.open == 0


async def test_an_unknown_role_gets_to_know_what_there_is() -> None:
    async with gateway(view()) as served:
        code, message = await failure(ask(served, role="reactoin"))
    assert code is grpc.StatusCode.NOT_FOUND
    assert (
        message
        == "role 'reactoin' not found in world games/eldermoor; available: dialogue, reaction"
    )


async def test_a_prompt_that_is_too_long_names_the_limit() -> None:
    async with engine(limits=None) as (_, address), gateway(view([address])) as served:
        code, message = await failure(ask(served, prompt=pb.Prompt(parts=["x" * 60_000])))
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert "at most 53248 fit the 4096 tokens of shared/gold" in message
        # What only the engine can count is refused by it, in its own words.
        code, message = await failure(ask(served, prompt=pb.Prompt(parts=["x " * 5000])))
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert "maximum context length is 4096 tokens" in message


async def test_a_file_broken_while_it_runs_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "_POLL_SECONDS", 0.02)
    async with engine() as (_, address):
        file = write_view(tmp_path, address)
        npcs = tmp_path / "npcs.yaml"
        async with gateway(app.read_view(file)) as served:
            following = asyncio.create_task(app.follow_view(file, served.dispatcher))
            npcs.write_text("version: 1\narchetypes:\n  guard: {actions: [")
            await eventually(lambda: served.dispatcher.metrics.events["view refused",] == 1)
            assert (await ask(served)).text in {"patrol", "flee"}
            npcs.write_text("version: 1\narchetypes:\n  guard: {actions: [hide]}\n")
            await eventually(lambda: served.dispatcher.metrics.events["view taken",] == 1)
            assert (await ask(served)).text == "hide"
            following.cancel()
