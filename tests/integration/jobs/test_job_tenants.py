"""Jobs of one tenant, tier or client, and what others keep."""

import asyncio
import json
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest
from gameai.bus.admin import NatsAdmin
from gameai.bus.streams import JOBS, Stream
from gameai.client import Gateway, NoAnswerError
from gameai_devcluster.broker import SMALL, Broker, broker
from gameai_vllm.engine import Latency
from support import tokens
from support.inference import FAST, engine
from support.jobs import Served, View, gateway

HANGING = Latency(front_end_ms=0, first_token_ms=600_000)


async def test_a_tier_whose_engine_hangs_takes_no_places_of_another(
    bus: Broker, view: View, monkeypatch: pytest.MonkeyPatch
) -> None:
    view.write([])
    async with (
        engine("bronze", HANGING) as (_, hanging),
        engine("copper", FAST) as (_, address),
        gateway(view, bus) as served,
        served.client() as moor,
        served.client("default/fen") as fen,
    ):
        more, moved = [("copper", "Bronze", address)], {"fen": "copper"}
        view.write([hanging], slots=300, more=more, moved=moved)
        # A gateway looks at its file once a second.
        await asyncio.sleep(2.0)
        for number in range(280):
            await moor.jobs.submit(role="chronicle", prompt=f"{number}")
        running = 'gameai_gateway_running_jobs{tier="default/bronze"}'
        async with asyncio.timeout(60):
            while await served.metric(running) < 256:
                await asyncio.sleep(0.2)
        job = await fen.jobs.submit(role="chronicle", prompt="Tell.")
        assert (await job.result(20)).text


async def test_a_full_stream_takes_no_new_jobs_and_answers_those_that_it_has(
    bus: Broker, view: View
) -> None:
    view.write([])
    small = [each if each.name != JOBS.name else with_bytes(300_000) for each in SMALL]
    async with NatsAdmin(bus.url) as admin:
        await admin.declare(small)
    try:
        async with (
            gateway(view, bus) as served,
            served.client() as moor,
            served.client("default/fen") as fen,
        ):
            first = [await fen.jobs.submit(role="chronicle", prompt=f"{n}") for n in range(5)]
            with pytest.raises(NoAnswerError, match="of the bytes that jobs may take"):
                await filled(moor)
            async with engine("bronze", FAST) as (_, address):
                view.write([address])
                assert all([(await each.result(30)).text for each in first])
    finally:
        async with NatsAdmin(bus.url) as admin:
            await admin.declare(SMALL)


async def filled(ai: Gateway) -> None:
    for number in range(200):
        await ai.jobs.submit(role="chronicle", prompt=f"{number}" + "x" * 10_000)


def with_bytes(most: int) -> Stream:
    return replace(next(each for each in SMALL if each.name == JOBS.name), most_bytes=most)


async def test_a_gateway_goes_on_with_its_attempt_after_the_bus_was_away(
    view: View, tmp_path: Path
) -> None:
    slow = Latency(front_end_ms=0, first_token_ms=45_000)
    folder = tmp_path / "nats"
    folder.mkdir()
    with broker(folder) as server:
        await server.answers()
        async with NatsAdmin(server.url) as admin:
            await admin.declare(SMALL)
        async with engine("bronze", slow) as (surface, address):
            view.write([address])
            async with gateway(view, server) as served, served.client() as ai:
                job = await ai.jobs.submit(role="chronicle", prompt="Tell.")
                while (await job.status()).state != "running":
                    await asyncio.sleep(0.1)
                # Longer than the lease.
                server.signal(signal.SIGSTOP)
                await asyncio.sleep(35)
                server.signal(signal.SIGCONT)
                assert (await job.result(60)).text
                assert (await job.status()).attempts == 1
            assert surface.number == 1


async def test_many_results_are_awaited_at_the_same_time(
    bus: Broker, view: View, tmp_path: Path
) -> None:
    """Of a namespace that a gateway knows by its token: it has 64 calls and 128 watches at a time."""
    keys, token = tmp_path / "keys.json", tmp_path / "token"
    keys.write_text(json.dumps(tokens.key_set()))
    token.write_text(tokens.token(sub="system:serviceaccount:default:server"))
    async with engine("bronze", FAST) as (_, address):
        view.write([address], callers=["server"])
        async with (
            gateway(view, bus, identity=f"--keys={keys}") as served,
            Gateway(served.address, world="default/moor", token_file=token, insecure=True) as ai,
        ):
            jobs = await asyncio.gather(
                *(ai.jobs.submit(role="chronicle", prompt=f"{n}") for n in range(300))
            )
            replies = await asyncio.gather(*(each.result(90) for each in jobs))
            assert all(each.text for each in replies)


async def test_a_client_leaves_a_gateway_that_does_not_answer(bus: Broker, view: View) -> None:
    async with engine("bronze", FAST) as (_, address):
        view.write([address])
        async with gateway(view, bus) as frozen, gateway(view, bus) as well:
            frozen.process.send_signal(signal.SIGSTOP)
            try:
                await left(frozen, well)
            finally:
                frozen.process.send_signal(signal.SIGCONT)


async def left(frozen: Served, well: Served) -> None:
    async with Gateway(f"{frozen.address},{well.address}", world="default/moor") as ai:
        began = time.monotonic()
        jobs = await asyncio.gather(
            *(ai.jobs.submit(role="chronicle", prompt=f"{n}") for n in range(60))
        )
        assert all([(await each.result(30)).text for each in jobs])
        assert time.monotonic() - began < 40
