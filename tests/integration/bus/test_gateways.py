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
from gameai.inference.v1 import inference_pb2
from gameai.jobs.v1 import jobs_pb2
from gameai_devcluster.api import Api
from support.managed_bus import Bus, clustered, managed

pytestmark = pytest.mark.usefixtures("operator")


def record(number: int = 1) -> records.Record:
    question = inference_pb2.Question(role="chronicle")
    request = jobs_pb2.SubmitJobRequest(request_id=f"{number}", question=question, keep_seconds=1)
    return records.submitted("games/moor", "games/bronze", request, time.time_ns() // 1000)


@pytest.fixture
async def bus(api: Api, namespace: str, tmp_path: Path) -> AsyncIterator[Bus]:
    async with managed(api, namespace, tmp_path) as found:
        yield found


async def kept_and_taken(store: JobStore) -> None:
    """The whole life of a job on the bus."""
    first = record()
    now = time.time_ns() // 1000
    kept = await store.create(first, now)
    assert await store.create(record(), now) == kept
    await store.enqueue(first)
    await store.enqueue(first)
    queue = queues.queue_of(first)
    assert await store.waiting("games/bronze") == {queue: 1}
    assert await store.kept_of("games") == 1
    delivery = await store.take(queue)
    assert delivery is not None
    assert delivery.message.payload.decode() == first.job.id
    assert await store.take(queue) is None
    await delivery.again(0.0)
    async with asyncio.timeout(10):
        while (again := await store.take(queue)) is None:
            await asyncio.sleep(0.05)
    assert again.deliveries == 2
    ended = await store.replace(kept, records.cancelled(first, now), now)
    with pytest.raises(MovedError):
        await store.replace(kept, first, now)
    await again.done()
    async with asyncio.timeout(20):
        while await store.waiting("games/bronze"):
            await asyncio.sleep(0.1)
        assert await store.read("games/moor", first.job.id) == ended
        # It is kept for a second after its end.
        while await store.read("games/moor", first.job.id) is not None:
            await asyncio.sleep(0.1)


async def test_a_gateway_keeps_jobs_and_takes_them(bus: Bus) -> None:
    async with bus.gateways() as log:
        await kept_and_taken(JobStore(log))
        store, one = JobStore(log), record()
        for number in range(1000):
            message = Outgoing(subject=queues.queue_of(one).subject, payload=f"{number}".encode())
            await log.store(message)
        with pytest.raises(StreamFullError):
            await store.enqueue(one)


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
