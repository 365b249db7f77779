"""The bus while its server is killed, its publisher ends and its consumers are replaced: nothing is lost, and order holds."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from gameai.bus.admin import NatsAdmin
from gameai.bus.consumer import Consumer
from gameai.bus.group import Group, Received
from gameai.bus.log import BusError, Log
from gameai.bus.login import TokenFile
from gameai.bus.nats import NatsLog
from gameai.bus.publisher import Publisher
from gameai.bus.streams import DEAD_LETTERS, LOG
from gameai_devcluster.broker import SMALL, Broker, broker
from support.bus import METRICS, MOOR, REGISTRY, killed, until, victim_of, worlds

GROUP = Group(world_set="none", consumer="quests", services=("game-server",))


class Marks:
    """What a consumer with a database keeps of each world: the last sequence number it has applied, and the events."""

    def __init__(self) -> None:
        self.applied: dict[int, list[int]] = {}
        self.last: dict[tuple[int, int], int] = {}
        self.gaps: list[str] = []
        self.repeated = 0

    async def __call__(self, received: Received) -> None:
        batch = received.batch
        key = (batch.world, batch.epoch)
        mark = self.last.get(key, 0)
        if batch.first_sequence <= mark:
            self.repeated += 1
            return
        if batch.first_sequence != mark + 1:
            self.gaps.append(f"{received.id} after {mark}")
        await asyncio.sleep(0)
        self.last[key] = mark + len(batch.events)
        found = [victim_of(each) for each in batch.events]
        self.applied.setdefault(batch.world, []).extend(found)

    @property
    def count(self) -> int:
        return sum(map(len, self.applied.values()))


@contextlib.asynccontextmanager
async def replica(url: str, marks: Marks) -> AsyncIterator[None]:
    async with NatsLog(url) as log:
        task = asyncio.create_task(
            Consumer(log, GROUP, marks, metrics=METRICS, handler_seconds=2.0).run()
        )
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def kill_often(server: Broker, times: int, chance: random.Random) -> None:
    for _ in range(times):
        await asyncio.sleep(chance.uniform(0.2, 1.2))
        server.kill()
        await asyncio.sleep(chance.uniform(0.0, 1.0))
        server.start()
        await asyncio.wait_for(server.answers(), 60)


@pytest.mark.parametrize("events", [20_000, pytest.param(1_000_000, marks=pytest.mark.soak)])
async def test_no_event_is_lost_or_out_of_order_while_the_server_is_killed(
    tmp_path: Path, events: int
) -> None:
    seed = random.randrange(1 << 32)
    print("seed", seed)
    chance, given, marks = random.Random(seed), worlds(20), Marks()
    kills = 3 if events < 100_000 else 50
    with broker(tmp_path) as server:
        await asyncio.wait_for(server.answers(), 30)
        async with NatsAdmin(server.url) as log:
            await log.declare(SMALL)
            killing = asyncio.create_task(kill_often(server, kills, chance))
            async with (
                replica(server.url, marks),
                replica(server.url, marks),
                Publisher(
                    log, REGISTRY, "game-server", 31, metrics=METRICS, ack_seconds=1.0
                ) as bus,
            ):
                for number in range(events):
                    await bus.publish(given[number % 20], killed(number), world_us=number)
                    if number % 50 == 0:
                        await asyncio.sleep(0.01 if not killing.done() else 0)
                await killing
                async with asyncio.timeout(120):
                    await bus.flush()
                    while marks.count < events:
                        await asyncio.sleep(0.05)
            assert await log.first(DEAD_LETTERS, "dlq.>") is None
    assert marks.gaps == []
    for index, world in enumerate(given):
        assert marks.applied[world.number] == list(range(index, events, 20))


async def test_a_server_that_is_away_at_the_start_is_named() -> None:
    with pytest.raises(BusError, match=r"no connection to the bus at nats://127\.0\.0\.1:1: "):
        async with NatsLog("nats://127.0.0.1:1"):
            pass


@pytest.mark.parametrize("url", ["nats://127.0.0.1:x", "nats://127.0.0.1:99999", "nats://[::1"])
async def test_an_address_that_is_none_is_an_error_of_the_bus(url: str) -> None:
    with pytest.raises(BusError, match="no connection to the bus"):
        async with NatsLog(url):
            pass


@pytest.mark.parametrize("content", [None, "", "junk", "e30.e30.x"])
async def test_a_token_that_is_none_is_an_error_of_the_bus(
    tmp_path: Path, content: str | None
) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.write_text(content)
    with pytest.raises(BusError, match="no connection to the bus"):
        async with NatsLog("nats://127.0.0.1:1", login=TokenFile(file=file)):
            pass


async def is_there(log: Log) -> bool:
    """Whether there is an event; a request of a connection that is being replaced has no answer."""
    with contextlib.suppress(BusError):
        return await log.last(LOG, "log.>") is not None
    return False


async def test_a_publisher_says_how_long_its_broker_is_away(tmp_path: Path) -> None:
    with broker(tmp_path) as server:
        await asyncio.wait_for(server.answers(), 30)
        async with NatsAdmin(server.url) as log:
            await log.declare(SMALL)
            async with Publisher(
                log, REGISTRY, "game-server", 31, metrics=METRICS, ack_seconds=0.5
            ) as bus:
                await bus.publish(MOOR, killed(1), world_us=0)
                await bus.flush()
                assert bus.overdue_seconds == 0
                server.kill()
                await bus.publish(MOOR, killed(2), world_us=0)
                async with asyncio.timeout(10):
                    while bus.overdue_seconds < 1:
                        await asyncio.sleep(0.05)
                server.start()
                async with asyncio.timeout(30):
                    await bus.flush()
                assert bus.overdue_seconds == 0
                await until(lambda: is_there(log))
