"""Jobs while gateways, engines and the bus fail, and what one tenant can take."""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator

import pytest
from gameai.bus.queue import NatsQueue
from gameai.client import AccessError, Gateway, Job, JobStatus, NoAnswerError
from gameai.gateway.jobs import records
from gameai.gateway.jobs.store import JobStore, Kept
from gameai.gateway.routing.snapshot import WorldView
from gameai.gateway.rpc.job_service import MOST_KEPT
from gameai.inference.v1 import inference_pb2
from gameai.jobs.v1 import jobs_pb2
from gameai_devcluster.broker import Broker
from gameai_vllm.engine import Latency
from support.inference import FAST, engine, program
from support.jobs import View, gateway, unused_address


async def submitted(ai: Gateway, number: int) -> Job:
    """Submit until it is accepted: it is one job, however often that is tried."""
    while True:
        try:
            return await ai.jobs.submit(
                role="chronicle", prompt=f"Tell {number}.", max_tokens=8, request_id=f"job-{number}"
            )
        except NoAnswerError:
            await asyncio.sleep(0.2)


async def ended(ai: Gateway, number: int) -> JobStatus:
    """A job at its end."""
    job = await submitted(ai, number)
    await job.result()
    return await status(job)


async def status(job: Job) -> JobStatus:
    while True:
        try:
            return await job.status()
        except NoAnswerError:
            await asyncio.sleep(0.2)


@pytest.mark.parametrize(
    ("jobs", "kills"), [(300, 8), pytest.param(10_000, 60, marks=pytest.mark.soak)]
)
async def test_each_job_is_answered_while_everything_is_killed(
    bus: Broker, view: View, jobs: int, kills: int, unused_ports: list[int]
) -> None:
    chance = random.Random(4)
    *gateways, at = unused_ports
    flags = [f"--port={each}" for each in gateways]
    view.write([f"127.0.0.1:{at}"])
    async with contextlib.AsyncExitStack() as processes:
        double = await processes.enter_async_context(engine_program(at))
        running = [await processes.enter_async_context(gateway(view, bus, flag)) for flag in flags]
        where = ",".join(f"127.0.0.1:{each}" for each in gateways)

        async def kill(number: int) -> None:
            nonlocal double
            if number % 4 == 3:
                bus.kill()
                await asyncio.sleep(1.0)
                bus.start()
            elif number % 4 == 1:
                double.kill()
                await double.wait()
                double = await processes.enter_async_context(engine_program(at))
            else:
                victim = chance.randrange(len(running))
                running[victim].process.kill()
                await running[victim].process.wait()
                fresh = gateway(view, bus, flags[victim])
                running[victim] = await processes.enter_async_context(fresh)

        async def killing() -> None:
            for number in range(kills):
                await asyncio.sleep(chance.uniform(0.5, 2.0))
                await kill(number)

        async with Gateway(where, world="default/moor") as ai:
            killed = asyncio.create_task(killing())
            found = await asyncio.gather(*(ended(ai, each) for each in range(jobs)))
            await killed
            assert {each.state for each in found} == {"succeeded"}
            # Each has ended once: when it ended, and what it came to, is what it was.
            assert found == await asyncio.gather(*(ended(ai, each) for each in range(jobs)))


@pytest.fixture
def unused_ports() -> list[int]:
    return [int(unused_address().rpartition(":")[2]) for _ in range(3)]


@contextlib.asynccontextmanager
async def engine_program(port: int) -> AsyncIterator[asyncio.subprocess.Process]:
    """A double of vLLM as a process, which takes 150 ms for an answer."""
    flags = ("--served-model-name=bronze", "--first-token-ms=150", "--front-end-ms=0")
    async with program("gameai_vllm", f"--port={port}", *flags) as (process, _):
        yield process


async def test_a_job_is_asked_again_after_its_engine_failed(bus: Broker, view: View) -> None:
    slow = Latency(front_end_ms=0, first_token_ms=60_000)
    async with gateway(view_of(view, []), bus) as served, served.client() as ai:
        job = await ai.jobs.submit(role="chronicle", prompt="Tell.")
        async with engine("bronze", slow) as (_, address):
            view.write([address])
            while (await job.status()).state != "running":
                await asyncio.sleep(0.05)
        # Its connection is broken now.
        async with asyncio.timeout(20):
            while (await job.status()).state != "waiting":
                await asyncio.sleep(0.05)
        found = await job.status()
        assert "engine failed" in found.waiting_reason
        async with engine("bronze", FAST) as (_, address):
            view.write([address])
            assert (await job.result(60)).text
        assert (await job.status()).attempts == 2


def view_of(view: View, bronze: list[str]) -> View:
    view.write(bronze)
    return view


async def test_without_the_bus_jobs_are_refused_and_other_questions_answered(
    bus: Broker, view: View
) -> None:
    async with engine("bronze", FAST) as (_, address):
        view.write([address])
        async with gateway(view, bus) as served, served.client() as ai:
            job = await ai.jobs.submit(role="chronicle", prompt="Tell.")
            await job.result(20)
            bus.kill()
            try:
                reply = await ai.ask(role="chronicle", prompt="Now.", deadline_ms=5000)
                assert reply.text
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(8):
                        await ai.jobs.submit(role="chronicle", prompt="Later.")
            finally:
                bus.start()
            await bus.answers()
            assert (await (await submitted(ai, 1)).result(30)).text


async def test_a_world_has_a_bounded_queue_and_takes_no_room_from_others(
    bus: Broker, view: View
) -> None:
    view.write([])
    async with (
        gateway(view, bus) as served,
        served.client() as moor,
        served.client("default/fen") as fen,
    ):
        at_once = asyncio.Semaphore(32)

        async def submit() -> str:
            async with at_once:
                try:
                    await moor.jobs.submit(role="chronicle", prompt="x")
                except NoAnswerError as error:
                    return error.message
                return ""

        said = await asyncio.gather(*(submit() for _ in range(1010)))
        refused = [each for each in said if each]
        assert len(refused) == 10
        assert "1000 jobs of default/moor and this priority wait for default/bronze" in refused[0]
        await fen.jobs.submit(role="chronicle", prompt="x")


async def test_a_namespace_keeps_a_bounded_number_of_jobs(bus: Broker, view: View) -> None:
    view.write([])
    async with NatsQueue(bus.url) as log:
        store, now = JobStore(log), time.time_ns() // 1000
        for number in range(MOST_KEPT):
            request = jobs_pb2.SubmitJobRequest(
                request_id=f"{number}", question=inference_pb2.Question(role="chronicle")
            )
            record = records.submitted(
                WorldView(key="default/other", epoch="1", roles={}), "default/bronze", request, now
            )
            await store.replace(Kept(record, 0), record, now)
    async with gateway(view, bus) as served, served.client() as ai:
        with pytest.raises(NoAnswerError, match=f"has {MOST_KEPT} jobs"):
            await ai.jobs.submit(role="chronicle", prompt="x")


async def test_jobs_of_a_world_that_sleeps_wait_for_it_and_wake_no_tier(
    bus: Broker, view: View
) -> None:
    view.write([])
    async with engine("bronze", FAST) as (surface, address), gateway(view, bus) as served:
        async with served.client() as ai:
            job = await ai.jobs.submit(role="chronicle", prompt="Tell.")
        pending = 'gameai_gateway_pending_jobs{tier="default/bronze"}'
        async with asyncio.timeout(10):
            while await served.metric(pending) != 1:
                await asyncio.sleep(0.1)
        view.write([address], worlds=["fen"])
        async with asyncio.timeout(10):
            while await served.metric(pending):
                await asyncio.sleep(0.1)
        assert surface.number == 0
        view.write([address])
        # A gateway looks at its file once a second.
        await asyncio.sleep(2.0)
        async with served.client() as ai:
            assert (await ai.jobs.job(job.id).result(60)).text


async def test_a_job_goes_with_its_role_to_another_bronze_tier_and_to_no_other(
    bus: Broker, view: View
) -> None:
    view.write([])
    async with engine("copper", FAST) as (surface, address), gateway(view, bus) as served:
        async with served.client() as moor, served.client("default/fen") as fen:
            one = await moor.jobs.submit(role="chronicle", prompt="Tell 1.")
            other = await fen.jobs.submit(role="chronicle", prompt="Tell 2.")
        # Both tiers have engines now, and each role another tier.
        view.write(
            [address], more=[("copper", "Bronze", address)], moved={"moor": "copper", "fen": "gold"}
        )
        async with served.client() as moor, served.client("default/fen") as fen:
            assert (await moor.jobs.job(one.id).result(30)).served_tier == "default/copper"
            with pytest.raises(AccessError, match="a job needs a Bronze tier"):
                await fen.jobs.job(other.id).result(30)
        assert surface.number == 1


async def test_jobs_that_expire_or_are_cancelled_leave_their_queue(bus: Broker, view: View) -> None:
    view.write([])
    async with gateway(view, bus) as served, served.client() as ai:
        job = await ai.jobs.submit(role="chronicle", prompt="Tell 1.")
        await ai.jobs.submit(role="chronicle", prompt="Tell 2.")
        await job.cancel()
        async with asyncio.timeout(10):
            while await served.metric("gameai_gateway_pending_jobs") != 1:
                await asyncio.sleep(0.1)


async def test_a_hanging_engine_holds_no_job_and_its_tier_takes_no_more(
    bus: Broker, view: View
) -> None:
    view.write([unused_address()])
    async with gateway(view, bus) as served, served.client() as ai:
        jobs = [await ai.jobs.submit(role="chronicle", prompt=f"{n}") for n in range(8)]
        async with asyncio.timeout(60):
            while {(await each.status()).state for each in jobs} != {"waiting"}:
                await asyncio.sleep(0.2)
        async with engine("bronze", FAST) as (_, address):
            view.write([address])
            assert all([(await each.result(90)).text for each in jobs])
