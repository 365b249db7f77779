"""Sequences in which the gateway or its client once went wrong, or might."""

import asyncio
import time
from typing import Any

import grpc
import pytest
from gameai.gateway.engines.service_time import size_of
from gameai.gateway.routing.archetypes import Archetypes
from gameai.gateway.routing.snapshot import View
from gameai.gateway.rpc.stream import Session
from gameai.inference.v1 import inference_pb2 as pb
from gameai_contract.archetypes import parse
from gameai_contract.inference import LatencyClass
from gameai_vllm.engine import Latency
from grpc import aio
from support.inference import (
    BARD,
    GUARD,
    NPCS,
    Served,
    engine,
    eventually,
    gateway,
    question,
    tier,
    view,
    world,
)

ENGINE, FRESH, DEFAULT = pb.SOURCE_ENGINE, pb.SOURCE_FRESH_CACHE, pb.SOURCE_DEFAULT


SLOW = Latency(front_end_ms=0, first_token_ms=300)


TALKERS = Archetypes(parse({"n.yaml": NPCS.replace("bard: {", "bard: {cache: {freeText: true}, ")}))


SAME = question(GUARD, fields={"threat": "1"}, deadline_ms=3000)


async def ask(served: Served, like: pb.Question = SAME, **more: Any) -> pb.Answer:
    return await served.infer(question(like, **more))


async def status(call: Any) -> grpc.StatusCode:
    with pytest.raises(aio.AioRpcError) as caught:
        await call
    return caught.value.code()


async def test_a_stream_that_its_client_closes_ends_every_time() -> None:
    async with engine() as (_, address), gateway(view([address])) as served:

        async def once() -> int:
            call = served.stub.StreamAnswers()
            for frame in range(8):
                asked = [question(GUARD, frame * 32 + n + 1, deadline_ms=9000) for n in range(32)]
                await call.write(pb.StreamAnswersRequest(questions=asked))
            await call.done_writing()
            async with asyncio.timeout(20):
                return sum([len(response.answers) async for response in call])

        assert [await once() for _ in range(15)] == [256] * 15


async def test_a_streamed_text_is_not_kept_as_nothing_and_actions_are_not_streamed() -> None:
    talkers = world()
    object.__setattr__(talkers, "archetypes", TALKERS)
    async with engine("silver") as (_, address), gateway(view([], [address], talkers)) as served:
        parts = [
            part async for part in served.stub.GenerateText(pb.GenerateTextRequest(question=BARD))
        ]
        text = "".join(part.text for part in parts)
        answer = await ask(served, BARD, max_tokens=20)
        assert (answer.source, answer.text) == (ENGINE, text)
        guard = pb.Question(role="dialogue", archetype="guard", prompt=pb.Prompt(parts=["x"]))
        code = await status(
            anext(aiter(served.stub.GenerateText(pb.GenerateTextRequest(question=guard))))
        )
    assert code is grpc.StatusCode.INVALID_ARGUMENT


async def test_an_answer_that_was_cut_is_marked_and_not_kept() -> None:
    talkers = world()
    object.__setattr__(talkers, "archetypes", TALKERS)
    async with engine("silver") as (_, address), gateway(view([], [address], talkers)) as served:
        answers = [await ask(served, BARD) for _ in range(2)]
    assert [(each.source, each.truncated) for each in answers] == [(ENGINE, True)] * 2


async def test_one_bad_prompt_refuses_none_else() -> None:
    async with engine() as (surface, address), gateway(view([address])) as served:
        surface.mute = True
        long = asyncio.create_task(
            ask(served, prompt=pb.Prompt(parts=["x " * 5000]), deadline_ms=30_000)
        )
        await eventually(lambda: served.dispatcher.open == 1)
        others = [asyncio.create_task(ask(served, deadline_ms=30_000)) for _ in range(5)]
        await eventually(lambda: served.dispatcher.open == 6)
        surface.mute = False
        assert await status(long) is grpc.StatusCode.INVALID_ARGUMENT
        answers = await asyncio.gather(*others)
    assert {each.source for each in answers} == {ENGINE, FRESH}


async def test_one_that_leaves_hands_its_call_to_those_who_wait() -> None:
    async with engine() as (surface, address), gateway(view([address])) as served:
        surface.mute = True
        first = asyncio.create_task(ask(served, deadline_ms=30_000))
        await eventually(lambda: served.dispatcher.open == 1)
        others = [asyncio.create_task(ask(served, deadline_ms=30_000)) for _ in range(3)]
        await eventually(lambda: served.dispatcher.open == 4)
        first.cancel()
        await eventually(lambda: served.dispatcher.open == 3)
        surface.mute = False
        answers = await asyncio.gather(*others)
        await eventually(lambda: served.dispatcher.open == 0)
        # The engine was asked once: a second call would be counted although the first was cut.
        assert sum(served.dispatcher.metrics.requests.values()) == 1
    assert {each.source for each in answers} == {ENGINE, FRESH}


async def test_a_stream_that_breaks_takes_all_its_questions_along_at_once() -> None:
    never = Latency(front_end_ms=0, first_token_ms=600_000)
    async with engine(latency=never) as (surface, address), gateway(view([address])) as served:
        call = served.stub.StreamAnswers()
        asked = [question(SAME, n + 1, deadline_ms=60_000) for n in range(200)]
        await call.write(pb.StreamAnswersRequest(questions=asked))
        await eventually(lambda: surface.engine.running == 1)
        call.cancel()
        await eventually(lambda: served.dispatcher.open == 0)
        assert served.dispatcher.schedulers["shared/gold"].in_flight <= 1


async def test_who_has_less_time_does_not_wait_behind_one_with_more() -> None:
    ended: list[str] = []
    # Slow, so that answers do not overtake each other on their way back.
    async with engine(latency=SLOW) as (surface, address):
        few = tier("gold", LatencyClass.GOLD, [address], slots=1)
        seen = View(tiers={few.key: few}, worlds={"games/eldermoor": world()})
        async with gateway(seen) as served:

            async def one(name: str, deadline_ms: int, **more: Any) -> pb.Answer:
                answer = await ask(served, GUARD, deadline_ms=deadline_ms, **more)
                ended.append(name)
                return answer

            surface.mute = True
            calls = [asyncio.create_task(one("held", 90_000))]
            await eventually(lambda: served.dispatcher.open == 1)
            states = {
                name: {"threat": str(10 * n)}
                for n, name in enumerate(("first", "second", "same"), 1)
            }
            calls += [
                asyncio.create_task(one(name, 90_000, fields=state))
                for name, state in states.items()
            ]
            await eventually(lambda: served.dispatcher.open == 4)
            # The state of the last one in the line, asked with less time.
            calls.append(asyncio.create_task(one("urgent", 60_000, fields=states["same"])))
            await eventually(lambda: served.dispatcher.open == 5)
            surface.mute = False
            answers = await asyncio.gather(*calls)
    assert answers[-1].source == ENGINE
    assert {each.source for each in answers} <= {ENGINE, FRESH}
    # The one with the same state is answered with it, in whichever order.
    assert ended.index("urgent") < min(ended.index("first"), ended.index("second"))


async def test_one_with_little_time_is_not_shed_for_those_with_much() -> None:
    async with engine(latency=Latency(front_end_ms=0, first_token_ms=20)) as (_, address):
        few = tier("gold", LatencyClass.GOLD, [address], slots=2)
        seen = View(tiers={few.key: few}, worlds={"games/eldermoor": world()})
        async with gateway(seen) as served:
            # Not learnt from this machine, whose pauses would have most of them shed.
            served.dispatcher.schedulers["shared/gold"].estimate.observe(
                size_of(1, 100), 0.02, time.monotonic()
            )
            call = served.stub.StreamAnswers()
            asked = [question(GUARD, n + 1, deadline_ms=60_000) for n in range(256)]
            await call.write(pb.StreamAnswersRequest(questions=asked))
            await eventually(lambda: len(served.dispatcher.schedulers["shared/gold"].queue) > 200)
            answer = await ask(served, GUARD, deadline_ms=15_000)
            call.cancel()
    assert answer.source == ENGINE


async def test_an_endpoint_that_comes_back_has_no_more_slots_than_before() -> None:
    async with engine(latency=SLOW) as (surface, address):
        few = tier("gold", LatencyClass.GOLD, [address], slots=4)
        seen = View(tiers={few.key: few}, worlds={"games/eldermoor": world()})
        async with gateway(seen) as served:
            calls = [asyncio.create_task(ask(served, GUARD, deadline_ms=9000)) for _ in range(12)]
            await eventually(lambda: surface.engine.running == 4)
            served.dispatcher.take(
                View(tiers={few.key: tier("gold", LatencyClass.GOLD, ())}, worlds=seen.worlds)
            )
            served.dispatcher.take(seen)
            await asyncio.sleep(0.1)
            assert surface.engine.running == 4
            await asyncio.gather(*calls)


async def test_time_in_which_nothing_is_asked_is_no_silence() -> None:
    async with engine(latency=SLOW) as (_, address), gateway(view([address])) as served:
        assert (await ask(served, GUARD, deadline_ms=50)).source == DEFAULT
        replica = served.dispatcher.schedulers["shared/gold"].replicas[address]
        await eventually(lambda: replica.in_flight == 0)
        silence = replica._silence
        await asyncio.sleep(2.3)
        call = asyncio.create_task(ask(served, GUARD, deadline_ms=30_000))
        await eventually(lambda: replica.in_flight > 0)
        assert replica._silence == silence
        assert (await call).source == ENGINE


async def test_one_that_says_nothing_is_found_out_by_one_question_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    never = Latency(front_end_ms=0, first_token_ms=600_000)
    # A pause of this process is no fault of the replica's.
    monkeypatch.setattr("gameai.gateway.engines.replica._PROBE_SECONDS", 60.0)
    async with engine(latency=never) as (_, address), gateway(view([address])) as served:
        replica = served.dispatcher.schedulers["shared/gold"].replicas[address]
        judged: list[bool] = []
        judge = replica.judge

        def judging(*, well: bool, now: float) -> None:
            judged.append(well)
            judge(well=well, now=now)

        monkeypatch.setattr(replica, "judge", judging)
        async with asyncio.timeout(60):
            while not judged:
                await ask(served, GUARD, deadline_ms=300)
                # So long a slot is held after its call was given up.
                await asyncio.sleep(0.15)
        # The double's health is well although it never answers.
        assert all(judged)
        assert replica.breaker.opened is None


async def test_many_who_are_late_at_once_are_all_answered() -> None:
    asked = [
        question(GUARD, 2 * n + after, fields={"threat": str(10 * n)}, deadline_ms=each)
        for n in range(1, 401)
        for after, each in ((0, 4000), (1, 60_000))
    ]
    async with engine() as (_, address), gateway(view([])) as served:
        call = served.stub.StreamAnswers()
        for at in range(0, 800, 200):
            await call.write(pb.StreamAnswersRequest(questions=asked[at : at + 200]))
        await eventually(lambda: served.dispatcher.open == 800)
        # The loop is late: all of the first ones' deadlines pass before anybody looks.
        time.sleep(4.1)  # noqa: ASYNC251 - it stands still on purpose
        served.dispatcher.take(view([address]))
        answers: list[pb.Answer] = []
        async with asyncio.timeout(60):
            while len(answers) < 800:
                answers += (await call.read()).answers
        assert served.dispatcher.open == 0
    assert {each.id for each in answers} == {each.id for each in asked}
    assert not any(each.HasField("error") for each in answers)


async def test_a_frame_of_a_stream_that_is_over_is_not_taken() -> None:
    async with gateway(view([])) as served:
        over = Session(served.dispatcher, lambda _: world())
        taking = asyncio.create_task(
            over.take(pb.StreamAnswersRequest(questions=[GUARD]).SerializeToString())
        )
        await asyncio.sleep(0)
        over.close()
        await taking
        assert served.dispatcher.open == 0


async def test_a_world_that_is_gone_for_a_moment_takes_no_stream_along() -> None:
    async with engine() as (_, address), gateway(view([address])) as served:
        call = served.stub.StreamAnswers()

        async def answer(number: int) -> pb.Answer:
            players = pb.Players(online=number)
            frame = pb.StreamAnswersRequest(questions=[question(GUARD, number)], players=players)
            await call.write(frame)
            found: list[pb.Answer] = (await call.read()).answers
            return found[0]

        seen = served.dispatcher.view
        assert (await answer(1)).source == ENGINE
        served.dispatcher.take(View(tiers=seen.tiers, worlds={}))
        assert (await answer(2)).error.message == "world '' does not exist"
        served.dispatcher.take(seen)
        assert (await answer(3)).source == ENGINE
