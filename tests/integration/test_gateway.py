"""The gateway over real gRPC, with doubles of vLLM behind it."""

import asyncio
import time
from collections import Counter

import grpc
import pytest
from gameai.client import Gateway, Source
from gameai.gateway.engines.service_time import size_of
from gameai.gateway.routing.archetypes import Archetypes
from gameai.gateway.routing.snapshot import Endpoint, View
from gameai.inference.v1 import inference_pb2 as pb
from gameai_contract.archetypes import parse
from gameai_contract.inference import FallbackStep, LatencyClass
from gameai_vllm.engine import Latency, Limits
from grpc import aio
from support.inference import (
    BARD,
    GUARD,
    NPCS,
    engine,
    eventually,
    gateway,
    question,
    tier,
    view,
    world,
)

ENGINE, FRESH, STALE, DEFAULT = (
    pb.SOURCE_ENGINE,
    pb.SOURCE_FRESH_CACHE,
    pb.SOURCE_STALE_CACHE,
    pb.SOURCE_DEFAULT,
)


SLOW = Latency(front_end_ms=0, first_token_ms=5000)


async def test_an_action_is_chosen_by_the_engine_and_returned_with_its_source() -> None:
    async with engine() as (surface, address), gateway(view([address])) as served:
        answer = await served.infer(question(GUARD, 7))
    assert answer.id == 7
    assert answer.text in {"patrol", "attack", "flee"}
    assert answer.source == ENGINE
    assert answer.served_tier == "shared/gold"
    assert 0 < answer.engine_us <= answer.total_us
    assert surface.metrics.finished == Counter({"length": 1})


async def test_the_same_state_is_answered_from_the_cache_while_it_is_fresh() -> None:
    async with engine() as (surface, address), gateway(view([address])) as served:
        first = await served.infer(question(GUARD, fields={"threat": "12"}))
        same = await served.infer(question(GUARD, fields={"threat": "19"}))
        other = await served.infer(question(GUARD, fields={"threat": "20"}))
        again = await served.infer(
            question(GUARD, fields={"threat": "12"}, cache=pb.CACHE_USE_REFRESH)
        )
    assert [each.source for each in (first, same, other, again)] == [ENGINE, FRESH, ENGINE, ENGINE]
    assert same.text == first.text
    assert surface.metrics.finished["length"] == 3


async def test_many_who_ask_the_same_at_once_cost_one_call() -> None:
    asked = question(GUARD, fields={"threat": "1"}, deadline_ms=30_000)
    async with engine() as (surface, address), gateway(view([address])) as served:
        surface.mute = True
        calls = [asyncio.create_task(served.infer(asked)) for _ in range(20)]
        await eventually(lambda: served.dispatcher.open == 20)
        surface.mute = False
        answers = await asyncio.gather(*calls)
    assert Counter(each.source for each in answers) == {ENGINE: 1, FRESH: 19}
    assert surface.metrics.finished == Counter({"length": 1})


async def test_one_with_more_time_inherits_the_call_of_one_whose_time_is_over() -> None:
    async with engine() as (surface, address), gateway(view([address])) as served:
        surface.mute = True
        short, long = (
            asyncio.create_task(
                served.infer(question(GUARD, fields={"threat": "1"}, deadline_ms=each))
            )
            for each in (3000, 60_000)
        )
        await eventually(lambda: served.dispatcher.open == 2)
        first = await short
        surface.mute = False
        second = await long
        # Another call would be counted although the first was cut.
        assert sum(served.dispatcher.metrics.requests.values()) == 1
    assert [first.source, second.source] == [DEFAULT, ENGINE]


async def test_down_the_ladder_stale_comes_before_default() -> None:
    asked = question(GUARD, fields={"threat": "1"}, deadline_ms=200)
    brief = world()
    archetypes = Archetypes(parse({"npcs.yaml": NPCS.replace("ttlSeconds: 60", "ttlSeconds: 1")}))
    object.__setattr__(brief, "archetypes", archetypes)
    async with (
        engine() as (surface, address),
        gateway(view([address], [], brief)) as served,
    ):
        fresh = await served.infer(question(asked, deadline_ms=5000))
        await asyncio.sleep(1.05)
        surface.mute = True
        stale = await served.infer(asked)
        unknown = await served.infer(question(GUARD, fields={"threat": "99"}, deadline_ms=200))
    assert (stale.source, stale.text) == (STALE, fresh.text)
    assert stale.degraded_reason == pb.DEGRADED_REASON_DEADLINE
    assert (unknown.source, unknown.text) == (DEFAULT, "patrol")


async def test_the_ladder_is_the_roles() -> None:
    bare = world(reaction={"fallback_chain": (FallbackStep.STALE_CACHE,)})
    async with gateway(view([], [], bare)) as served:
        with pytest.raises(aio.AioRpcError) as caught:
            await served.infer(question(GUARD, deadline_ms=50))
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "no replica" in str(caught.value.details())


async def test_a_role_without_the_cache_on_its_ladder_always_asks_the_engine() -> None:
    bare = world(reaction={"fallback_chain": (FallbackStep.DEFAULT,)})
    asked = question(GUARD, fields={"threat": "1"})
    slow = Latency(front_end_ms=0, first_token_ms=100)
    async with (
        engine(latency=slow) as (surface, address),
        gateway(view([address], [], bare)) as served,
    ):
        answers = [await served.infer(asked)]
        answers += await asyncio.gather(*(served.infer(asked) for _ in range(3)))
    assert {each.source for each in answers} == {ENGINE}
    assert surface.metrics.finished["length"] == 4


async def test_a_deferred_answer_follows_and_supersedes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gameai.client.asked.GRACE_SECONDS", 30.0)
    both = world(reaction={"deferred_to": "dialogue"})
    async with (
        engine(latency=SLOW) as (_, gold),
        engine("silver") as (_, silver),
        gateway(view([gold], [silver], both)) as served,
        Gateway(served.address) as ai,
    ):
        reply = await ai.ask(role="reaction", archetype="guard", prompt="A wolf!", deadline_ms=100)
        assert reply.source is Source.DEFAULT
        assert reply.better is not None
        better = await reply.better
    assert better is not None
    assert better.source is Source.ENGINE
    assert better.served_tier == "shared/silver"


async def test_a_deferred_answer_that_does_not_come_is_reported_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gameai.client.asked.GRACE_SECONDS", 30.0)
    both = world(reaction={"deferred_to": "dialogue"}, dialogue={"deadline_ms": 100})
    async with (
        gateway(view([], [], both)) as served,
        Gateway(served.address) as ai,
    ):
        reply = await ai.ask(role="reaction", archetype="guard", prompt="A wolf!", deadline_ms=100)
        assert reply.better is not None
        assert await reply.better is None


async def test_tokens_come_as_they_are_made() -> None:
    # Far enough from each other that a busy machine does not tell several at once.
    slow = Latency(front_end_ms=0, first_token_ms=2, token_ms=200)
    async with engine("silver", slow) as (_, address), gateway(view([], [address])) as served:
        parts = [
            part async for part in served.stub.GenerateText(pb.GenerateTextRequest(question=BARD))
        ]
    text = "".join(part.text for part in parts)
    assert len(parts) > 5
    assert len(text.split()) == 20
    assert parts[-1].end.source == ENGINE
    assert parts[-1].end.truncated


async def test_before_the_first_text_the_ladder_acts_for_tokens_too() -> None:
    async with engine("silver", SLOW) as (_, address), gateway(view([], [address])) as served:
        asked = question(BARD, deadline_ms=100)
        parts = [
            part async for part in served.stub.GenerateText(pb.GenerateTextRequest(question=asked))
        ]
    assert [(part.end.text, part.end.source) for part in parts] == [("Hm?", DEFAULT)]


async def test_frames_of_many_are_answered_each_by_its_id() -> None:
    async with engine() as (_, address), gateway(view([address])) as served:
        call = served.stub.StreamAnswers()
        for start in (0, 100):
            asked = [
                question(GUARD, start + n + 1, fields={"threat": str(n)}, deadline_ms=5000)
                for n in range(100)
            ]
            await call.write(pb.StreamAnswersRequest(questions=asked))
        await call.done_writing()
        answers = [answer async for response in call for answer in response.answers]
    assert sorted(each.id for each in answers) == list(range(1, 201))
    assert all(each.text for each in answers)


async def test_an_id_that_is_open_is_refused_and_the_first_one_answered() -> None:
    slow = Latency(front_end_ms=0, first_token_ms=100)
    async with engine(latency=slow) as (_, address), gateway(view([address])) as served:
        call = served.stub.StreamAnswers()
        await call.write(
            pb.StreamAnswersRequest(questions=[question(GUARD, 1), question(GUARD, 1)])
        )
        await call.done_writing()
        answers = [answer async for response in call for answer in response.answers]
    assert [each.HasField("error") for each in answers] == [True, False]
    assert answers[0].error.code == 3


async def test_the_time_that_passed_in_the_client_is_part_of_the_deadline() -> None:
    never = Latency(front_end_ms=0, first_token_ms=600_000)
    async with engine(latency=never) as (_, address), gateway(view([address])) as served:
        answer = await served.infer(question(GUARD, deadline_ms=60_000, elapsed_us=59_900_000))
    assert answer.source == DEFAULT
    assert answer.total_us < 30_000_000


async def test_players_are_the_sum_of_what_streams_said() -> None:
    async with engine() as (_, address), gateway(view([address])) as served:
        calls = [served.stub.StreamAnswers() for _ in range(2)]
        for call, online in zip(calls, (100, 20), strict=True):
            await call.write(pb.StreamAnswersRequest(players=pb.Players(online=online, lobby=5)))
        players = served.service._players
        await eventually(lambda: players.worlds(0.0) == {"games/eldermoor": (120, 10)})
        for call in calls:
            call.cancel()
        await eventually(lambda: players.worlds(0.0) == {})


async def test_slots_are_divided_among_gateways_and_one_is_always_left() -> None:
    async with engine() as (_, address), gateway(view([address], gateways=4)) as served:
        pool = served.dispatcher.schedulers["shared/gold"]
        assert pool.slots == 4
        served.dispatcher.take(view([address], gateways=100))
        assert pool.slots == 1


async def test_an_engine_never_has_more_than_its_slots() -> None:
    slow = Latency(front_end_ms=0, first_token_ms=50)
    few = tier("gold", LatencyClass.GOLD, (), slots=4)
    most = 0
    async with engine(latency=slow, limits=Limits(slots=100)) as (surface, address):
        few = tier("gold", LatencyClass.GOLD, [address], slots=4)
        seen = View(
            tiers={few.key: few, "shared/silver": tier("silver", LatencyClass.SILVER, ())},
            worlds={"games/eldermoor": world()},
        )
        async with gateway(seen) as served:
            calls = [
                asyncio.create_task(served.infer(question(GUARD, deadline_ms=60_000)))
                for _ in range(40)
            ]
            while not all(each.done() for each in calls):
                most = max(most, surface.engine.running)
                await asyncio.sleep(0.002)
            answers = [each.result() for each in calls]
    assert most == 4
    assert {each.source for each in answers} == {ENGINE}


async def test_an_engine_that_was_slow_is_found_to_be_fast_again() -> None:
    async with engine() as (_, address), gateway(view([address])) as served:
        # As if it had needed twice the time that there is.
        served.dispatcher.schedulers["shared/gold"].estimate.observe(
            size_of(1, 100), 60.0, time.monotonic()
        )
        answers = [await served.infer(question(GUARD, deadline_ms=30_000)) for _ in range(20)]
    assert {each.source for each in answers} == {ENGINE}


async def test_questions_are_held_until_a_replica_comes() -> None:
    async with engine() as (_, address), gateway(view()) as served:
        call = asyncio.create_task(served.infer(question(GUARD, deadline_ms=30_000)))
        await eventually(lambda: served.dispatcher.open == 1)
        assert not call.done()
        served.dispatcher.take(view([address]))
        answer = await call
    assert answer.source == ENGINE


async def test_a_replica_that_leaves_gets_nothing_more_and_ends_what_it_has() -> None:
    slow = Latency(front_end_ms=0, first_token_ms=300)
    async with (
        engine(latency=slow) as (old, first),
        engine() as (new, second),
        gateway(view([first])) as served,
    ):
        held = asyncio.create_task(served.infer(question(GUARD, deadline_ms=5000)))
        await eventually(lambda: old.engine.running == 1)
        served.dispatcher.take(view([second]))
        later = [await served.infer(question(GUARD, deadline_ms=5000)) for _ in range(5)]
        assert (await held).source == ENGINE
        assert {each.source for each in later} == {ENGINE}
        assert old.metrics.finished["length"] == 1
        assert new.metrics.finished["length"] == 5
        await eventually(
            lambda: set(served.dispatcher.schedulers["shared/gold"].replicas) == {second}
        )


async def test_cached_answers_of_another_model_are_not_given() -> None:
    async with engine() as (surface, address):

        def revised(revision: str) -> View:
            seen = view()
            gold = tier(
                "gold",
                LatencyClass.GOLD,
                (),
                endpoints=(Endpoint(address=address, revision=revision),),
            )
            return View(tiers={**seen.tiers, gold.key: gold}, worlds=seen.worlds)

        asked = question(GUARD, fields={"threat": "1"})
        async with gateway(revised("r1")) as served:
            await served.infer(asked)
            assert (await served.infer(asked)).source == FRESH
            served.dispatcher.take(revised("r2"))
            assert (await served.infer(asked)).source == ENGINE
    assert surface.metrics.finished["length"] == 2
