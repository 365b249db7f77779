"""What a caller may rely on: kinds of errors, details of a status, cancelling, lateness, streams that change over."""

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import grpc
import pytest
from gameai.client import AccessError, Gateway, NoAnswerError, QuestionError, Source
from gameai.errors import DOMAIN
from gameai.gateway.routing.snapshot import View
from gameai.gateway.rpc import service as gateway_service
from gameai.inference.v1 import inference_pb2 as pb
from gameai_contract.inference import LatencyClass
from gameai_vllm.engine import Latency
from google.rpc import error_details_pb2
from google.rpc.status_pb2 import Status
from grpc import aio
from support.inference import BARD, GUARD, engine, eventually, gateway, question, tier, view

SLOW = Latency(front_end_ms=0, first_token_ms=5000, token_ms=1)


async def status(call: Any) -> Status:
    """The status of a call that fails, with its details."""
    with pytest.raises(aio.AioRpcError):
        await call
    trailing = dict(await call.trailing_metadata())
    found = Status()
    found.ParseFromString(trailing["grpc-status-details-bin"])
    assert found.code == (await call.code()).value[0]
    assert found.message == await call.details()
    return found


def detail(found: Status, message: Any) -> Any:
    [packed] = [each for each in found.details if each.Is(message.DESCRIPTOR)]
    assert packed.Unpack(message)
    return message


async def test_a_calls_status_names_reason_field_and_tier_for_programs() -> None:
    async with gateway(view()) as served:
        wrong = question(GUARD, deadline_ms=700_000)
        found = await status(served.stub.GenerateAnswer(pb.GenerateAnswerRequest(question=wrong)))
        info = detail(found, error_details_pb2.ErrorInfo())
        assert (info.reason, info.domain) == ("FIELD_INVALID", DOMAIN)
        request = detail(found, error_details_pb2.BadRequest())
        assert [each.field for each in request.field_violations] == ["deadline_ms"]
        asked = pb.Question(role="reaction", prompt=pb.Prompt(parts=["x"]), deadline_ms=50)
        found = await status(served.stub.GenerateAnswer(pb.GenerateAnswerRequest(question=asked)))
        info = detail(found, error_details_pb2.ErrorInfo())
        assert (info.reason, dict(info.metadata)) == ("NO_REPLICA", {"tier": "shared/gold"})


async def test_a_clients_errors_say_whether_to_ask_again() -> None:
    async with gateway(view()) as served, Gateway(served.address) as ai:
        with pytest.raises(AccessError, match="available: dialogue, reaction") as access:
            await ai.ask(role="reactoin", prompt="x")
        assert access.value.reason == "NOT_FOUND"
        with pytest.raises(QuestionError, match="actions must differ") as wrong:
            await ai.ask(role="reaction", prompt="x", actions=["a", "a"], default="y")
        assert wrong.value.reason == "FIELD_INVALID"
        with pytest.raises(NoAnswerError) as none:
            await ai.ask(role="reaction", prompt="x", deadline_ms=50)
        assert none.value.reason == "NO_REPLICA"
        reply = await ai.ask(role="reaction", prompt="x", deadline_ms=1000, default="patrol")
        assert (reply.text, reply.degraded_reason) == ("patrol", "NO_REPLICA")


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"prompt": "x", "deadline_ms": -1}, "deadline_ms must be 0 to 600000: -1"),
        ({"prompt": "x", "max_tokens": 5000}, "max_tokens must be 0 to 2048: 5000"),
        ({}, "give one of prompt and messages"),
        ({"prompt": "x", "messages": [("user", "x")]}, "give one of prompt and messages"),
        ({"messages": [("narrator", "x")]}, "one of system, user, assistant: 'narrator'"),
        ({"prompt": "x", "deadline_ms": 16.6}, "deadline_ms must be 0 to 600000: 16.6"),
        ({"prompt": "x", "actions": "patrol"}, "actions are a list of texts: 'patrol'"),
        ({"prompt": "x", "cache": "of"}, "cache is one of declared, off, refresh: 'of'"),
        ({"prompt": "x", "npc": 7}, "role, npc, archetype, prompt and actions are text: 7"),
    ],
)
async def test_a_mistake_in_the_call_is_refused_by_field_before_it_is_sent(
    asked: dict[str, Any], message: str
) -> None:
    async with Gateway("127.0.0.1:1") as ai:
        with pytest.raises(QuestionError, match=message) as caught:
            await ai.ask(role="reaction", default="d", **asked)
        assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT
        with pytest.raises(QuestionError, match="online must be 0 to 100000: -1"):
            ai.report_players(-1)


async def test_what_no_caller_awaits_is_cancelled_at_the_engine() -> None:
    async with (
        engine(latency=SLOW) as (surface, address),
        gateway(view([address])) as served,
        Gateway(served.address) as ai,
    ):
        asking = asyncio.create_task(ai.ask(role="reaction", prompt="x", deadline_ms=60_000))
        await eventually(lambda: surface.engine.running == 1)
        asking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asking
        await eventually(lambda: surface.engine.running == 0)
        await eventually(lambda: served.dispatcher.open == 0)


async def test_a_frame_cancels_some_questions_and_the_others_go_on() -> None:
    async with engine(latency=SLOW) as (surface, address), gateway(view([address])) as served:
        call = served.stub.StreamAnswers()
        asked = [question(BARD, number, role="reaction", deadline_ms=60_000) for number in (1, 2)]
        await call.write(pb.StreamAnswersRequest(questions=asked))
        await eventually(lambda: surface.engine.running == 2)
        await call.write(pb.StreamAnswersRequest(cancelled_ids=[1, 99]))
        await eventually(lambda: surface.engine.running == 1)
        await call.write(pb.StreamAnswersRequest(cancelled_ids=range(300)))
        assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_an_answer_after_its_deadline_says_that_it_is_late() -> None:
    async with engine() as (_, address), gateway(view([address])) as served:
        asked = question(GUARD, fields={"threat": "1"}, deadline_ms=30_000)
        assert not (await served.infer(asked)).late
        assert not (await served.infer(asked)).late
        asked.elapsed_us = 31_000_000
        late = await served.infer(asked)
        assert (late.source, late.late) == (pb.SOURCE_FRESH_CACHE, True)
        assert served.dispatcher.metrics.late["shared/gold",] == 1


async def test_a_stream_that_leaves_is_used_until_another_is_connected(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gateway_service, "STREAM_SECONDS", 0.2)
    async with (
        engine() as (_, address),
        gateway(view([address])) as served,
        Gateway(served.address) as ai,
    ):
        asked: dict[str, Any] = {"role": "reaction", "archetype": "guard", "prompt": "x"}
        await ai.ask(**asked, deadline_ms=20_000)
        streams = set(ai._streams)
        async with asyncio.timeout(60):
            while len(streams) < 8:
                asking = asyncio.create_task(ai.ask(**asked, deadline_ms=20_000))
                await asyncio.sleep(0)
                assert not ai._homeless, "it would wait for a connection"
                assert (await asking).source is Source.ENGINE
                streams |= set(ai._streams)


async def test_a_free_answer_without_a_length_is_as_long_as_its_deadline_allows() -> None:
    slow = Latency(front_end_ms=0, first_token_ms=4, token_ms=4)
    async with engine("silver", slow) as (_, address):
        tiers = (
            tier("silver", LatencyClass.SILVER, [address]),
            tier("gold", LatencyClass.GOLD, []),
        )
        held = view()
        seen = View(tiers={each.key: each for each in tiers}, worlds=held.worlds)
        async with gateway(seen) as served:
            asked = question(BARD, deadline_ms=240)
            asked.max_tokens = 0
            answers = [await served.infer(asked) for _ in range(6)]
    sources = [each.source for each in answers]
    assert sources[0] == pb.SOURCE_DEFAULT, "64 tokens take 256 ms, which is not known yet"
    assert sources[1:].count(pb.SOURCE_ENGINE) >= 3


async def test_an_instance_counts_its_reports() -> None:
    async with gateway(view()) as served:
        call = served.stub.StreamAnswers()
        players = pb.Players(online=3, instance="match-7")
        await call.write(pb.StreamAnswersRequest(players=players))
        assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "players.sequence must count" in await call.details()


async def test_a_client_that_cannot_connect_says_why_once_and_in_each_error(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    missing = tmp_path / "token"
    async with Gateway("127.0.0.1:1", token_file=missing, insecure=True) as ai:
        for _ in range(3):
            with pytest.raises(NoAnswerError, match=r"no gateway in time: .*No such file"):
                await ai.ask(role="reaction", prompt="x", deadline_ms=300)
        reply = await ai.ask(role="reaction", prompt="x", deadline_ms=300, default="d")
        assert reply.source is Source.OWN_DEFAULT
    assert sum("cannot be asked" in each.message for each in caplog.records) == 1


async def test_a_world_that_does_not_exist_is_reported_with_its_reason() -> None:
    async with gateway(view()) as served, Gateway(served.address, world="games/none") as ai:
        with pytest.raises(AccessError) as caught:
            await ai.ask(role="reaction", prompt="x", deadline_ms=20_000)
    assert (caught.value.reason, caught.value.code) == ("NOT_FOUND", grpc.StatusCode.NOT_FOUND)


async def test_a_client_that_is_not_open_says_so() -> None:
    ai = Gateway("127.0.0.1:1")
    with pytest.raises(RuntimeError, match="the client is not open"):
        await ai.ask(role="reaction", prompt="x", default="d")
