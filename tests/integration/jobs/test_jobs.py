"""Jobs: what was accepted is answered once, whatever ends meanwhile."""

import asyncio
import time

import grpc
import pytest
from gameai.client import AccessError, Gateway, NoAnswerError, QuestionError
from gameai_devcluster.broker import Broker
from gameai_vllm.engine import Latency
from support.inference import FAST, engine, gateway_program
from support.jobs import View, gateway

SLOW = Latency(front_end_ms=0, first_token_ms=1500)


async def test_a_job_is_answered_and_kept(bus: Broker, view: View) -> None:
    async with engine("bronze", FAST) as (_, address):
        view.write([address])
        async with gateway(view, bus) as served, served.client() as ai:
            job = await ai.jobs.submit(
                role="chronicle", prompt="Tell the year.", max_tokens=40, request_id="year-7"
            )
            reply = await job.result(20)
            assert len(reply.text) > 20
            assert reply.served_tier == "default/bronze"
            found = await ai.jobs.job(job.id).status()
            assert (found.state, found.attempts, found.reply) == ("succeeded", 1, reply)
            # Another call with its id is the same job, and another question is refused.
            again = await ai.jobs.submit(
                role="chronicle", prompt="Tell the year.", max_tokens=40, request_id="year-7"
            )
            assert (await again.status()) == found
            with pytest.raises(QuestionError, match="request_id 'year-7' was used for job"):
                await ai.jobs.submit(role="chronicle", prompt="Other.", request_id="year-7")
            assert await served.metric("gameai_gateway_job_results_total") == 1


async def test_jobs_wait_for_a_tier_that_has_no_replica_and_are_counted(
    bus: Broker, view: View
) -> None:
    view.write([])
    async with gateway(view, bus) as served, served.client() as ai:
        jobs = [await ai.jobs.submit(role="chronicle", prompt=f"Tell {n}.") for n in range(3)]
        await asyncio.sleep(1.5)
        assert [(await each.status()).state for each in jobs] == ["waiting"] * 3
        assert await served.metric('gameai_gateway_pending_jobs{tier="default/bronze"}') == 3
        async with engine("bronze", FAST) as (_, address):
            view.write([address])
            assert all([(await each.result(20)).text for each in jobs])
        await asyncio.sleep(1.5)
        assert await served.metric('gameai_gateway_pending_jobs{tier="default/bronze"}') == 0


async def test_a_job_that_is_cancelled_or_expires_is_not_answered(bus: Broker, view: View) -> None:
    view.write([])
    async with gateway(view, bus) as served, served.client() as ai:
        one = await ai.jobs.submit(role="chronicle", prompt="Tell 1.")
        other = await ai.jobs.submit(role="chronicle", prompt="Tell 2.", expire_seconds=1)
        assert (await one.cancel()).state == "cancelled"
        assert (await one.cancel()).state == "cancelled"
        with pytest.raises(NoAnswerError, match="was cancelled"):
            await one.result(5)
        with pytest.raises(NoAnswerError, match="expired"):
            await other.result(10)
        async with engine("bronze", FAST) as (surface, address):
            view.write([address])
            last = await ai.jobs.submit(role="chronicle", prompt="Tell 3.")
            await last.result(20)
            assert surface.number == 1


async def test_an_engine_stops_at_a_job_that_is_cancelled(bus: Broker, view: View) -> None:
    async with engine("bronze", Latency(front_end_ms=0, first_token_ms=60_000)) as (_, address):
        view.write([address])
        async with gateway(view, bus) as served, served.client() as ai:
            job = await ai.jobs.submit(role="chronicle", prompt="Tell.")
            while (await job.status()).state != "running":
                await asyncio.sleep(0.05)
            await job.cancel()
            async with asyncio.timeout(10):
                while await served.metric("gameai_gateway_in_flight"):
                    await asyncio.sleep(0.1)
            assert (await job.status()).state == "cancelled"


async def test_mistakes_are_refused_with_the_remedy(bus: Broker, view: View) -> None:
    view.write([])
    async with gateway(view, bus) as served, served.client() as ai:
        with pytest.raises(QuestionError, match="a job needs a role of a Bronze tier"):
            await ai.jobs.submit(role="reaction", prompt="x")
        with pytest.raises(AccessError, match="role 'nothing' not found"):
            await ai.jobs.submit(role="nothing", prompt="x")
        with pytest.raises(QuestionError, match="at most 65536 bytes"):
            await ai.jobs.submit(role="chronicle", prompt="\N{DRAGON}" * 20_000)
        with pytest.raises(QuestionError, match="32 hexadecimal digits"):
            await ai.jobs.job("no.such.>").status()
        with pytest.raises(AccessError, match="does not exist, or is no longer kept"):
            await ai.jobs.job("0" * 32).status()
        async with served.client("default/heath") as other:
            with pytest.raises(AccessError, match="'default/heath' does not exist"):
                await other.jobs.submit(role="chronicle", prompt="x")


async def test_a_job_is_seen_in_its_own_world_alone(bus: Broker, view: View) -> None:
    view.write([])
    async with (
        gateway(view, bus) as served,
        served.client() as moor,
        served.client("default/fen") as fen,
    ):
        job = await moor.jobs.submit(role="chronicle", prompt="x", request_id="same")
        with pytest.raises(AccessError, match="does not exist"):
            await fen.jobs.job(job.id).status()
        other = await fen.jobs.submit(role="chronicle", prompt="y", request_id="same")
        assert other.id != job.id


async def test_the_jobs_of_a_world_are_listed_in_pages(bus: Broker, view: View) -> None:
    view.write([])
    async with (
        gateway(view, bus) as served,
        served.client() as moor,
        served.client("default/fen") as fen,
    ):
        assert [each async for each in moor.jobs.list()] == []
        jobs = [await moor.jobs.submit(role="chronicle", prompt=f"{n}") for n in range(60)]
        await fen.jobs.submit(role="chronicle", prompt="other")
        await jobs[0].cancel()
        found = [each async for each in moor.jobs.list()]
        assert [each.id for each in found] == sorted(each.id for each in jobs)
        assert {each.id for each in found if each.state == "cancelled"} == {jobs[0].id}


async def test_a_gateway_without_a_bus_names_the_remedy(view: View) -> None:
    view.write([])
    async with (
        gateway_program(view.file) as (_, address),
        Gateway(address, world="default/moor") as ai,
    ):
        with pytest.raises(AccessError, match=r"bus\.mode") as caught:
            await ai.jobs.submit(role="chronicle", prompt="x")
    assert caught.value.code is grpc.StatusCode.FAILED_PRECONDITION


async def test_jobs_are_taken_in_turns_of_worlds_and_by_priority(bus: Broker, view: View) -> None:
    view.write([])
    order: list[str] = []
    async with (
        gateway(view, bus) as served,
        served.client() as moor,
        served.client("default/fen") as fen,
    ):
        jobs = [
            ("moor", await moor.jobs.submit(role="chronicle", prompt=f"m{n}")) for n in range(30)
        ]
        jobs.append(("fen", await fen.jobs.submit(role="chronicle", prompt="f")))
        urgent = await moor.jobs.submit(role="chronicle", prompt="urgent", priority="high")
        jobs.append(("urgent", urgent))

        async def note(name: str, job: object) -> None:
            await job.result(60)  # type: ignore[attr-defined] # a job
            order.append(name)

        watching = [asyncio.create_task(note(*each)) for each in jobs]
        slow = Latency(front_end_ms=0, first_token_ms=400)
        async with engine("bronze", slow) as (_, address):
            view.write([address])
            await asyncio.gather(*watching)
    # Four slots and four ahead: both are among the first that are taken.
    assert order.index("fen") < 16
    assert order.index("urgent") < 16


async def test_a_job_is_answered_after_its_gateway_was_killed(bus: Broker, view: View) -> None:
    async with engine("bronze", SLOW) as (surface, address):
        view.write([address])
        async with gateway(view, bus) as first:
            async with first.client() as ai:
                job = await ai.jobs.submit(role="chronicle", prompt="Tell.", request_id="one")
                while (await job.status()).state != "running":
                    await asyncio.sleep(0.05)
            first.process.kill()
            await first.process.wait()
        async with gateway(view, bus) as second, second.client() as ai:
            began = time.monotonic()
            assert (await ai.jobs.job(job.id).result(60)).text
            assert time.monotonic() - began > 5
            assert (await ai.jobs.job(job.id).status()).attempts == 2
        assert surface.number == 2


async def test_a_gateway_that_is_replaced_gives_its_jobs_back(bus: Broker, view: View) -> None:
    async with engine("bronze", Latency(front_end_ms=0, first_token_ms=6000)) as (_, address):
        view.write([address])
        async with gateway(view, bus, "--drain-seconds=1") as first, gateway(view, bus) as second:
            async with first.client() as ai:
                jobs = [await ai.jobs.submit(role="chronicle", prompt=f"{n}") for n in range(8)]
                await asyncio.sleep(1.0)
            first.process.terminate()
            async with second.client() as ai:
                for each in jobs:
                    assert (await ai.jobs.job(each.id).result(60)).text
                    assert (await ai.jobs.job(each.id).status()).attempts == 1
