"""The bus on NATS and in memory: one suite for both."""

import asyncio
import time
from dataclasses import replace

import pytest
from gameai.bus import subjects
from gameai.bus.batches import Limits, parsed
from gameai.bus.consumer import redrive
from gameai.bus.dead_letters import REASON, TRIES
from gameai.bus.group import PoisonError, Received, RetryError, WorldGroup
from gameai.bus.log import BusError, DuplicateError, Log, MovedError, Outgoing, Start
from gameai.bus.publisher import Publisher
from gameai.bus.streams import DEAD_LETTERS, LOG, Durable
from support.bus import (
    GROUP,
    METRICS,
    MOOR,
    REGISTRY,
    Handled,
    batch_of,
    consuming,
    fails_at,
    first_victim,
    has_letters,
    is_longer,
    killed,
    letters,
    publish,
    publisher,
    replayed,
    until,
    was_tried,
    weather,
    worlds,
)


async def test_events_of_each_world_arrive_once_and_in_order_at_two_replicas(log: Log) -> None:
    handled, given = Handled(), worlds(5)
    async with consuming(log, handled, replicas=2), publisher(log) as events:
        for number in range(2000):
            await events.publish(given[number % 5], killed(number), world_us=number)
        await handled.reach(2000)
    for index, world in enumerate(given):
        assert handled.of(world) == list(range(index, 2000, 5))
    sequences: dict[tuple[int, int], int] = {}
    for each in handled.batches:
        key = (each.batch.world, each.batch.epoch)
        assert each.batch.first_sequence == sequences.get(key, 1)
        sequences[key] = each.batch.first_sequence + len(each.batch.events)
    assert len(handled.batches) < 1000


async def test_equal_events_of_two_replicas_are_stored_once(log: Log) -> None:
    async with (
        Publisher(log, REGISTRY, "weather-manager", 1, metrics=METRICS) as one,
        Publisher(log, REGISTRY, "weather-manager", 1, metrics=METRICS) as other,
    ):
        for step in range(50):
            for each in (one, other):
                await each.publish(MOOR, weather(7), world_us=step, sequence=step + 1)
    found = []
    async with asyncio.timeout(30):
        async for stored in log.replay(LOG, "log.>", Start(sequence=1)):
            found.append(parsed(stored.payload).first_sequence)
            if found[-1] == 50:
                break
    assert found == list(range(1, 51))


async def test_a_batch_that_fails_comes_again_before_the_next_one(log: Log) -> None:
    handled = Handled(fails_at(2, ValueError("no"), times=2))
    async with consuming(log, handled):
        await publish(log, 1, 2, 3)
        await handled.reach(3)
    assert handled.tried == [1, 2, 2, 2, 3]
    assert await letters(log) == []


async def test_poison_parks_its_world_and_no_other(log: Log) -> None:
    other = worlds(1)[0]
    handled = Handled(fails_at(2, PoisonError("the quest has no stage 7")))
    async with consuming(log, handled, replicas=2):
        await publish(log, 1, 2, 3)
        await publish(log, 10, 11, world=other)
        await handled.reach(3)
        await until(lambda: has_letters(log, 2))
    assert handled.tried.count(2) == 1
    assert handled.of(MOOR) == [1]
    assert handled.of(other) == [10, 11]
    first, second = await letters(log)
    assert first.headers[REASON] == "PoisonError: the quest has no stage 7"
    assert first.headers[TRIES] == "1"
    assert second.headers[REASON] == "its world is parked"
    assert [first_victim(each) for each in (first, second)] == [2, 3]


async def test_a_redrive_handles_the_dead_letters_in_order_and_unparks(log: Log) -> None:
    handled = Handled(fails_at(2, PoisonError("no"), times=1))
    async with consuming(log, handled, replicas=2):
        await publish(log, 1, 2, 3, 4)
        await until(lambda: has_letters(log, 3))
        await redrive(log, subjects.parsed(subjects.log(MOOR, "game-server")), "quests")
        await handled.reach(4)
        await until(lambda: has_letters(log, 0))
        await publish(log, 5)
        await handled.reach(5)
    assert handled.of(MOOR) == [1, 2, 3, 4, 5]
    assert [each.redriven for each in handled.batches] == [False, True, True, True, False]


async def test_order_holds_while_a_redrive_meets_new_batches(log: Log) -> None:
    handled = Handled(fails_at(2, PoisonError("no"), times=1))
    async with consuming(log, handled, replicas=2):
        await publish(log, 1, 2)
        await until(lambda: has_letters(log, 1))
        coming = asyncio.create_task(publish(log, *range(3, 60)))
        for _ in range(5):
            await redrive(log, subjects.parsed(subjects.log(MOOR, "game-server")), "quests")
            await asyncio.sleep(0.02)
        await coming
        await handled.reach(59)
    assert handled.of(MOOR) == list(range(1, 60))


async def test_a_redrive_stops_at_what_fails_again(log: Log) -> None:
    handled = Handled(fails_at(3, PoisonError("no")))
    async with consuming(log, handled):
        await publish(log, 3, 4)
        await until(lambda: has_letters(log, 2))
        await redrive(log, subjects.parsed(subjects.log(MOOR, "game-server")), "quests")
        await until(lambda: was_tried(handled, 3, 2))
    assert [first_victim(each) for each in await letters(log)] == [3, 4]
    assert handled.events == []


async def test_a_consumer_of_one_world_reads_it_in_each_set_and_no_other_world(log: Log) -> None:
    handled = Handled(fails_at(2, PoisonError("no"), times=1))
    group = WorldGroup(world=MOOR, consumer="quests")
    later = replace(MOOR, world_set="moor_lore")
    async with consuming(log, handled, group=group, replicas=2):
        await publish(log, 1, 2)
        await publish(log, 3, world=later)
        await publish(log, 4, world=worlds(1)[0])
        async with asyncio.timeout(60):
            while (last := await log.last(DEAD_LETTERS, group.own_letters)) is None or (
                first_victim(last) != 3
            ):
                await asyncio.sleep(0.02)
        await redrive(log, subjects.own(MOOR, "quests"), "quests")
        await handled.reach(3)
    assert handled.of(MOOR) == [1, 2, 3]
    assert len(handled.events) == 3


async def test_what_fails_five_times_is_a_dead_letter(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gameai.bus.consumer.BACKOFF", (0.01,) * 4)
    handled = Handled(fails_at(1, KeyError("stage")))
    async with consuming(log, handled):
        await publish(log, 1)
        await until(lambda: has_letters(log, 1))
    assert handled.tried == [1] * 5
    letter = (await letters(log))[0]
    assert letter.headers[REASON] == "KeyError: 'stage'"
    assert letter.headers[TRIES] == "5"


async def test_a_dependency_that_is_away_parks_no_world(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gameai.bus.consumer._LEAST_PAUSE_SECONDS", 0.01)
    handled = Handled(fails_at(1, RetryError("the database is away"), times=9))
    async with consuming(log, handled, handler_seconds=0.5):
        await publish(log, 1, 2)
        await handled.reach(2)
    assert handled.of(MOOR) == [1, 2]
    assert await letters(log) == []


async def test_the_second_time_out_parks_the_world(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gameai.bus.consumer.BACKOFF", (0.01,) * 4)

    async def hangs(received: Received, victim: int) -> None:
        await asyncio.sleep(600 if victim == 1 else 0)

    handled = Handled(hangs)
    async with consuming(log, handled, handler_seconds=0.3):
        await publish(log, 1)
        await until(lambda: has_letters(log, 1))
    assert handled.tried == [1, 1]


async def test_a_batch_of_a_replica_that_was_killed_comes_again(log: Log) -> None:
    started = asyncio.Event()

    async def hangs(received: Received, victim: int) -> None:
        started.set()
        await asyncio.sleep(600)

    async with consuming(log, Handled(hangs), handler_seconds=2.0):
        await publish(log, 1)
        await asyncio.wait_for(started.wait(), 10)
    handled = Handled()
    async with consuming(log, handled, handler_seconds=2.0):
        await handled.reach(1)
    assert handled.batches[0].deliveries == 2


async def test_what_ends_its_process_each_time_is_a_dead_letter(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gameai.bus.consumer._MOST_SILENT", 3)
    await publish(log, 1)
    durable = GROUP.durable(0.1)
    subscription = await log.subscribe(durable)
    for _ in range(3):
        assert await subscription.fetch(1, 10.0)
    handled = Handled()
    async with consuming(log, handled, handler_seconds=0.2):
        await until(lambda: has_letters(log, 1))
    assert handled.tried == []
    assert (await letters(log))[0].headers[REASON] == "3 deliveries without an end"


async def test_a_batch_of_a_later_schema_waits_for_an_upgrade(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gameai.bus.consumer._LEAST_PAUSE_SECONDS", 0.01)
    batch = parsed(batch_of(1))
    batch.at_us = time.time_ns() // 1000
    batch.events[0].schema = 2
    subject = subjects.log(MOOR, "game-server")
    await log.store(Outgoing(subject=subject, payload=batch.SerializeToString()))
    tries = []

    async def upgraded(received: Received) -> None:
        tries.append(received)
        if len(tries) < 5:
            REGISTRY.message(received.batch.events[0])

    async with consuming(log, upgraded):
        await until(lambda: is_longer(tries, 4))
    assert await letters(log) == []


async def test_a_batch_of_a_later_schema_is_a_dead_letter_after_an_hour(log: Log) -> None:
    batch = parsed(batch_of(1))
    batch.events[0].schema = 2
    subject = subjects.log(MOOR, "game-server")
    await log.store(Outgoing(subject=subject, payload=batch.SerializeToString()))
    async with consuming(log, Handled()):
        await until(lambda: has_letters(log, 1))
    assert "upgrade it" in (await letters(log))[0].headers[REASON]


async def test_a_message_that_is_no_batch_parks_its_world(log: Log) -> None:
    subject = subjects.log(MOOR, "game-server")
    await log.store(Outgoing(subject=subject, payload=b"\xff"))
    async with consuming(log, Handled()):
        await until(lambda: has_letters(log, 1))
    assert "not an EventBatch" in (await letters(log))[0].headers[REASON]


async def test_the_last_message_of_a_subject_must_be_the_expected_one(log: Log) -> None:
    subject = subjects.dead_letters(subjects.parsed(subjects.log(MOOR, "x")), "quests")
    message = Outgoing(subject=subject, payload=b"1")
    first = await log.store(message, after=0)
    with pytest.raises(MovedError):
        await log.store(message, after=0)
    second = await log.store(message, after=first)
    await log.remove(DEAD_LETTERS, subject, second)
    with pytest.raises(MovedError):
        await log.store(message, after=second)
    last = await log.last(DEAD_LETTERS, subject)
    assert last is not None
    assert last.sequence == first
    await log.remove(DEAD_LETTERS, subject, first)
    await log.remove(DEAD_LETTERS, subject, first)
    assert await log.last(DEAD_LETTERS, subject) is None
    with pytest.raises(MovedError):
        await log.store(message, after=first)
    assert await log.store(message, after=0) > second


async def test_the_broker_says_the_last_sequence_of_a_subject(log: Log) -> None:
    subject = subjects.log(MOOR, "game-server")
    assert await log.last_sequence(LOG, subject) == 0
    first = await log.store(Outgoing(subject=subject, payload=b"1", message_id="a"), after=0)
    assert await log.last_sequence(LOG, subject) == first
    with pytest.raises(MovedError) as error:
        await log.store(Outgoing(subject=subject, payload=b"2", message_id="b"), after=first + 7)
    assert error.value.last == first


async def test_a_message_that_is_stored_again_is_known_by_its_first_sequence(log: Log) -> None:
    subject = subjects.log(MOOR, "game-server")
    message = Outgoing(subject=subject, payload=b"1", message_id="a")
    first = await log.store(message)
    await log.store(Outgoing(subject=subject, payload=b"2"))
    with pytest.raises(DuplicateError) as error:
        await log.store(message)
    assert error.value.sequence == first
    assert await log.last_sequence(LOG, subject) > first


async def test_a_replay_begins_at_a_sequence_at_a_time_or_now(log: Log) -> None:
    await publish(log, 1, 2)
    await asyncio.sleep(0.05)
    between = time.time()
    await publish(log, 3)
    assert await replayed(log, Start(sequence=2), 2) == [2, 3]
    assert await replayed(log, Start(time=between), 1) == [3]
    new = asyncio.create_task(replayed(log, Start(), 1))
    await asyncio.sleep(0.3)
    await publish(log, 4)
    assert await asyncio.wait_for(new, 20) == [4]


async def test_a_replay_of_a_world_has_no_event_of_another(log: Log) -> None:
    await publish(log, 1)
    await publish(log, 2, world=worlds(1)[0])
    await publish(log, 3)
    found = []
    async with asyncio.timeout(20):
        async for each in log.replay(LOG, "log.*.*.moor.aldermoor.>", Start(sequence=1)):
            found.append(first_victim(each))
            if len(found) == 2:
                break
    assert found == [1, 3]


@pytest.mark.parametrize(
    ("subject", "size"), [("elsewhere.x", 1), ("log.none.00.moor.a.game-server", 2 << 20)]
)
async def test_what_no_stream_takes_is_an_error(log: Log, subject: str, size: int) -> None:
    with pytest.raises(BusError):
        await asyncio.wait_for(log.store(Outgoing(subject=subject, payload=b"x" * size)), 20)


async def test_most_pending_messages_are_with_replicas_at_a_time(log: Log) -> None:
    await publish(log, 1, 2, 3)
    durable = Durable(name="two", stream=LOG, filters=("log.>",), most_pending=2)
    subscription = await log.subscribe(durable)
    found = list(await subscription.fetch(5, 1.0))
    found += await subscription.fetch(5, 0.5)
    assert [first_victim(each.message) for each in found] == [1, 2]
    await found[0].done()
    assert [first_victim(each.message) for each in await subscription.fetch(5, 1.0)] == [3]


async def test_a_publisher_that_is_full_waits_for_the_broker(log: Log) -> None:
    limits = Limits(waiting_events=10)
    handled = Handled()
    async with consuming(log, handled), publisher(log, limits=limits) as events:
        for each in range(500):
            await events.publish(MOOR, killed(each), world_us=0)
            assert events._kept.events <= 10
        await handled.reach(500)
    assert handled.of(MOOR) == list(range(500))


async def test_an_event_of_another_service_is_refused(log: Log) -> None:
    async with publisher(log) as events:
        with pytest.raises(ValueError, match="source 31 may not publish it"):
            await events.publish(MOOR, weather(1), world_us=0)
