"""The bus while something is wrong: with other tenants' messages, with handlers, and with the connection."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest
from gameai.bus import subjects
from gameai.bus.consumer import redrive
from gameai.bus.dead_letters import REASON
from gameai.bus.group import Group, PoisonError, Received
from gameai.bus.log import BusError, Log, Outgoing, Start
from gameai.bus.nats import NatsLog
from gameai.bus.publisher import Publisher
from gameai.bus.streams import DEAD_LETTERS, LOG
from gameai.bus.v1.bus_pb2 import EventBatch
from gameai_devcluster.broker import Broker
from support.bus import (
    GROUP,
    LOOSE,
    METRICS,
    MOOR,
    REGISTRY,
    Bus,
    Handled,
    batch_of,
    consuming,
    fails_at,
    first_victim,
    has_letters,
    killed,
    letters,
    publish,
    publisher,
    until,
    weather,
    worlds,
)

SUBJECT = subjects.log(MOOR, "game-server")
OTHER = worlds(1)[0]


async def test_a_rolling_update_that_reads_another_service_loses_no_event(log: Log) -> None:
    old, new = Handled(), Sources()
    later = replace(GROUP, services=("game-server", "weather-manager"), revision=2)
    async with consuming(log, old), consuming(log, new, group=later):
        await until(lambda: reads(log, later))
        # A replica of the former release opens its subscription again.
        await (await log.subscribe(GROUP.durable(30.0))).close()
        async with Publisher(log, REGISTRY, "weather-manager", 1, metrics=METRICS) as sky:
            await sky.publish(MOOR, weather(1), world_us=0)
        async with asyncio.timeout(30):
            while 1 not in new.sources:
                await asyncio.sleep(0.05)
    assert old.batches == []


class Sources:
    """The sources of events that were handled."""

    def __init__(self) -> None:
        self.sources: list[int] = []

    async def __call__(self, received: Received) -> None:
        self.sources.append(received.batch.source)


async def reads(log: Log, group: Group) -> bool:
    """Whether the broker knows the consumer as this group declares it."""
    try:
        await (await log.subscribe(group.durable(30.0))).close()
    except BusError:
        return False
    return True


async def test_other_subjects_with_the_same_revision_are_refused_with_the_remedy(log: Log) -> None:
    await log.subscribe(GROUP.durable(30.0))
    other = replace(GROUP, services=("weather-manager",))
    with pytest.raises(
        BusError, match=r"none_quests reads other subjects .* raise Group\.revision"
    ):
        await log.subscribe(other.durable(30.0))


async def test_a_batch_that_may_be_lost_is_passed_over_and_parks_nothing(log: Log) -> None:
    handled = Handled(fails_at(2, PoisonError("no")))
    async with consuming(log, handled, group=replace(GROUP, ambient=True)):
        async with publisher(log, types=LOOSE) as events:
            for each in (1, 2, 3):
                await events.publish(MOOR, killed(each), world_us=0)
                await events.flush()
        await handled.reach(2)
    assert handled.of(MOOR) == [1, 3]
    assert await letters(log) == []


async def test_dead_letters_that_fill_their_stream_can_be_redriven(bus: Bus) -> None:
    log = await bus.declared(replace(DEAD_LETTERS, most_bytes=1500))
    handled = Handled(fails_at(1, PoisonError("no"), times=1))
    async with consuming(log, handled):
        await publish(log, *range(1, 40))
        await until(lambda: is_full(log))
        await redrive(log, subjects.parsed(SUBJECT), "quests")
        await handled.reach(39)
    assert handled.of(MOOR) == list(range(1, 40))


async def is_full(log: Log) -> bool:
    try:
        await log.store(Outgoing(subject="dlq.none.x.a.b.0", payload=bytes(1000)))
    except BusError:
        return True
    return False


@pytest.mark.parametrize(
    "error", [TimeoutError("the database"), asyncio.CancelledError("a query")], ids=repr
)
async def test_an_error_of_the_handlers_own_is_tried_again_and_counts_as_no_time_out(
    log: Log, error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gameai.bus.consumer.BACKOFF", (0.05, 0.05, 0.05, 0.05))
    handled = Handled(fails_at(2, error, times=4))
    async with consuming(log, handled):
        await publish(log, 1, 2, 3)
        await handled.reach(3)
    assert handled.of(MOOR) == [1, 2, 3]
    assert handled.tried.count(2) == 5


async def test_a_bus_that_is_away_in_a_handler_parks_no_world(log: Log) -> None:
    handled = Handled(fails_at(2, BusError("the connection was closed"), times=1))
    async with consuming(log, handled):
        await publish(log, 1, 2, 3)
        await handled.reach(3)
    assert await letters(log) == []


async def test_a_replica_that_ends_gives_its_batch_back_at_once(log: Log) -> None:
    began = asyncio.Event()

    async def hangs(_: Received) -> None:
        began.set()
        await asyncio.Event().wait()

    async with consuming(log, hangs):
        await publish(log, 1)
        await asyncio.wait_for(began.wait(), 10)
    handled = Handled()
    async with consuming(log, handled):
        # The broker would wait for an acknowledgement for 30 s.
        async with asyncio.timeout(10):
            await handled.reach(1)


async def test_a_replica_that_ended_takes_no_message(log: Log) -> None:
    async with consuming(log, Handled()):
        await asyncio.sleep(0.3)
    handled = Handled()
    async with consuming(log, handled):
        await publish(log, 1)
        async with asyncio.timeout(10):
            await handled.reach(1)
    assert [each.deliveries for each in handled.batches] == [1]


@pytest.mark.parametrize("subject", ["redrive.none.quests.moor", "redrive.none.quests.moor.a.b.c"])
async def test_an_order_that_is_none_is_passed_over(log: Log, subject: str) -> None:
    handled = Handled(fails_at(1, PoisonError("no"), times=1))
    async with consuming(log, handled):
        await log.store(Outgoing(subject=subject, payload=b""))
        await publish(log, 1, 2)
        await until(lambda: has_letters(log, 2))
        await redrive(log, subjects.parsed(SUBJECT), "quests")
        await handled.reach(2)


def spoofed(batch: EventBatch) -> bytes:
    batch.world = OTHER.number
    return batch.SerializeToString()


def of_another_source(batch: EventBatch) -> bytes:
    batch.source = 1
    return batch.SerializeToString()


@pytest.mark.parametrize(
    ("forge", "words"),
    [(spoofed, "the batch is of world"), (of_another_source, "has an event of source 31")],
    ids=["world", "source"],
)
async def test_a_batch_that_says_another_world_or_source_is_a_dead_letter(
    log: Log, forge: Callable[[EventBatch], bytes], words: str
) -> None:
    handled = Handled()
    async with consuming(log, handled):
        forged = forge(EventBatch.FromString(batch_of(1)))
        await log.store(Outgoing(subject=SUBJECT, payload=forged))
        await publish(log, 5, world=OTHER)
        await handled.reach(1)
        await until(lambda: has_letters(log, 1))
    assert words in (await letters(log))[0].headers[REASON]
    assert handled.of(OTHER) == [5]


@pytest.mark.parametrize("sequence", ["abc", "", "-1", "٣", "999999"])
async def test_headers_of_a_publisher_mean_nothing(log: Log, sequence: str) -> None:
    headers = {"Gameai-Sequence": sequence, "Gameai-Tries": sequence}
    handled = Handled()
    async with consuming(log, handled):
        number = await log.store(Outgoing(subject=SUBJECT, payload=batch_of(1), headers=headers))
        await publish(log, 5, world=OTHER)
        await handled.reach(2)
    assert handled.batches[0].sequence == number


async def test_a_later_schema_of_the_future_waits_for_an_hour_of_the_brokers_clock(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gameai.bus.consumer._MOST_LATER_US", 300_000)
    batch = EventBatch.FromString(batch_of(1))
    batch.at_us, batch.events[0].schema = 2**64 - 1, 255
    handled = Handled()
    async with consuming(log, handled):
        await log.store(Outgoing(subject=SUBJECT, payload=batch.SerializeToString()))
        await publish(log, 5, world=OTHER)
        await handled.reach(1)
        await until(lambda: has_letters(log, 1))


async def test_a_stream_that_was_made_again_loses_no_batch_to_old_letters(bus: Bus) -> None:
    log = bus.log
    handled = Handled(fails_at(1, PoisonError("no"), times=1))
    async with consuming(log, handled):
        await publish(log, 1)
        await until(lambda: has_letters(log, 1))
    log = await bus.made_again(LOG)
    async with consuming(log, handled):
        await publish(log, 11)
        await until(lambda: has_letters(log, 2))
        await redrive(log, subjects.parsed(SUBJECT), "quests")
        await handled.reach(2)
    assert handled.of(MOOR) == [1, 11]


@pytest.mark.parametrize("status", ["404", "408", "409", "100", "503"])
async def test_a_message_with_a_status_of_its_own_is_a_message(nats: NatsLog, status: str) -> None:
    handled = Handled()
    async with consuming(nats, handled):
        forged = Outgoing(subject=SUBJECT, payload=b"", headers={"Status": status})
        await nats.store(forged)
        await publish(nats, 5, world=OTHER)
        await handled.reach(1)
        await until(lambda: has_letters(nats, 1))


@pytest.mark.parametrize("block", [b"N", b"NATS/1.0", b"NATS/1.0\r\nno colon\r\n\r\n"])
async def test_headers_that_are_none_end_nothing(
    nats: NatsLog, server: Broker, block: bytes
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    await reader.readline()
    sizes = f"{len(block)} {len(block) + 1}"
    writer.write(b'CONNECT {"verbose":false,"headers":true}\r\n')
    writer.write(f"HPUB {SUBJECT} {sizes}\r\n".encode() + block + b"x\r\nPING\r\n")
    await writer.drain()
    assert b"PONG" in await asyncio.wait_for(reader.readuntil(b"PONG"), 5)
    writer.close()
    handled = Handled()
    async with consuming(nats, handled):
        await publish(nats, 5, world=OTHER)
        await handled.reach(1)


async def test_two_renewals_at_once_leave_one_connection(nats: NatsLog, server: Broker) -> None:
    before = len(server.connections())
    await asyncio.gather(*(nats.renew() for _ in range(4)))
    async with asyncio.timeout(10):
        while len(server.connections()) != before:
            await asyncio.sleep(0.05)
    await nats.store(Outgoing(subject=SUBJECT, payload=b"x"))


async def test_a_consumer_that_waits_for_the_bus_leaves_no_subscriptions(
    bus: Bus, server: Broker
) -> None:
    log = await bus.without(DEAD_LETTERS)
    if not isinstance(log, NatsLog):
        return
    async with consuming(log, Handled()):
        await publish(log, 1)
        await asyncio.sleep(2)
        before = server.connections()
        await asyncio.sleep(3)
        assert server.connections() == before


async def test_a_replay_goes_on_over_another_connection(nats: NatsLog) -> None:
    found: list[int] = []

    async def read() -> None:
        nonlocal found
        replay = nats.replay(LOG, "log.>", Start())
        async for each in replay:
            found += [first_victim(each)]

    await publish(nats, 1)
    reading = asyncio.create_task(read())
    await asyncio.sleep(0.5)
    await nats.renew()
    await publish(nats, 2, 3)
    async with asyncio.timeout(20):
        while len(found) < 2:
            await asyncio.sleep(0.05)
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    assert found == [2, 3]
