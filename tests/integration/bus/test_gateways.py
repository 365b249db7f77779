"""What gateways may do on the bus: keep jobs and take them, and nothing else."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from gameai.bus import subjects
from gameai.bus.group import WorldGroup
from gameai.bus.log import MovedError, Outgoing, RefusedError, StreamFullError
from gameai.gateway.jobs import queues, records
from gameai.gateway.jobs.store import JobStore
from gameai.gateway.routing.snapshot import WorldView
from gameai.inference.v1 import inference_pb2
from gameai.jobs.v1 import jobs_pb2
from gameai_devcluster.api import Api
from support.managed_bus import Bus, clustered, managed

pytestmark = pytest.mark.usefixtures("operator")


def record(number: int = 1) -> records.Record:
    question = inference_pb2.Question(role="chronicle")
    request = jobs_pb2.SubmitJobRequest(request_id=f"{number}", question=question, keep_seconds=1)
    return records.submitted(
        WorldView(key="games/moor", epoch="1", roles={}),
        "games/bronze",
        request,
        time.time_ns() // 1000,
    )


@pytest.fixture
async def bus(api: Api, namespace: str, tmp_path: Path) -> AsyncIterator[Bus]:
    async with managed(api, namespace, tmp_path) as found:
        yield found


async def kept_and_taken(store: JobStore) -> None:
    """The whole life of a job on the bus."""
    now = time.time_ns() // 1000
    kept = await store.submit(record(), now)
    # It was submitted by another call meanwhile: one job, and one message.
    assert await store.submit(record(), now) == kept
    queue = queues.queue_of(kept.record)
    assert await store.waiting("games/bronze") == {queue: 1}
    assert (await store.usage("games")).jobs == 1
    delivery = await store.take(queue)
    assert delivery is not None
    assert delivery.message.payload.decode() == kept.record.job.id
    assert delivery.message.sequence == kept.record.queue_sequence
    assert await store.take(queue) is None
    await delivery.again(0.0)
    async with asyncio.timeout(10):
        while (again := await store.take(queue)) is None:
            await asyncio.sleep(0.05)
    assert again.deliveries == 2
    moved = await store.move(kept, "games/silver", now)
    assert set(await store.waiting("games/silver")) == {queues.queue_of(moved.record)}
    await again.done()
    cancelled = records.cancelled(moved.record, now)
    ended = await store.end(moved, cancelled, now)
    # A lost answer is found out, and what another program has changed is not.
    assert await store.replace(moved, cancelled, now) == ended
    with pytest.raises(MovedError):
        await store.replace(moved, records.started(moved.record, now), now)
    async with asyncio.timeout(20):
        while await store.waiting("games/bronze") or await store.waiting("games/silver"):
            await asyncio.sleep(0.1)
        assert await store.read("games/moor", kept.record.job.id) == ended
        # It is kept for a second after its end.
        while await store.read("games/moor", kept.record.job.id) is not None:
            await asyncio.sleep(0.1)


async def test_a_gateway_keeps_jobs_and_takes_them(bus: Bus) -> None:
    async with bus.gateways() as log:
        await kept_and_taken(JobStore(log))
        store, one = JobStore(log), record()
        for number in range(1000):
            message = Outgoing(subject=queues.queue_of(one).subject, payload=f"{number}".encode())
            await log.store(message)
        with pytest.raises(StreamFullError):
            await store.submit(one, time.time_ns() // 1000)
        # What is refused leaves no record.
        assert await store.read("games/moor", one.job.id) is None


async def test_a_message_is_answered_after_its_connection_was_opened_again(bus: Bus) -> None:
    async with bus.gateways() as log:
        store, now = JobStore(log), time.time_ns() // 1000
        kept = await store.submit(record(), now)
        delivery = await store.take(queues.queue_of(kept.record))
        assert delivery is not None
        # As when its token ends.
        await log.renew()
        await delivery.working()
        await delivery.done()
        async with asyncio.timeout(10):
            while await store.waiting("games/bronze"):
                await asyncio.sleep(0.1)


async def test_a_gateway_may_use_nothing_else(bus: Bus) -> None:
    own = bus.world()
    foreign = [
        subjects.log(own, "game-server"),
        subjects.dead_letters(subjects.own(own, "quests"), "quests"),
        "$JS.API.STREAM.PURGE.GAME_JOBS",
        "$JS.API.STREAM.DELETE.GAME_WORK",
        "$JS.API.STREAM.MSG.GET.GAME_LOG",
        "$JS.API.CONSUMER.CREATE.GAME_LOG.x",
        "$SYS.REQ.USER.AUTH",
    ]
    async with bus.gateways() as log:
        tried = [log.store(Outgoing(subject=subject, payload=b"x")) for subject in foreign]
        for each in await asyncio.gather(*tried, return_exceptions=True):
            assert isinstance(each, RefusedError)
        with pytest.raises(RefusedError):
            await log.open(WorldGroup(world=own, consumer="quests").durable())


async def test_three_servers_keep_jobs_as_one_does(
    api: Api, namespace: str, tmp_path: Path
) -> None:
    async with clustered(api, namespace, tmp_path) as bus, bus.gateways() as log:
        await kept_and_taken(JobStore(log))
