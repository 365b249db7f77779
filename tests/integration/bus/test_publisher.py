"""Publishers while something is wrong: with the window, with a stream, or with another publisher."""

import asyncio
from collections.abc import Sequence

import pytest
from gameai.bus import subjects
from gameai.bus.batches import Limits
from gameai.bus.group import Received
from gameai.bus.lane import ClosedError
from gameai.bus.log import BusError, Log, Outgoing, Start
from gameai.bus.publisher import Publisher
from gameai.bus.streams import AMBIENT, LOG, Stream
from support.bus import (
    LOOSE,
    METRICS,
    MOOR,
    Bus,
    Handled,
    consuming,
    first_victim,
    killed,
    publisher,
    worlds,
)

SUBJECT = subjects.log(MOOR, "game-server")
OTHER = worlds(1)[0]


async def stored(log: Log, stream: Stream, subject: str, number: int) -> list[int]:
    """The victims of so many batches."""
    found: list[int] = []
    async with asyncio.timeout(10):
        async for each in log.replay(stream, subject, Start(sequence=1)):
            found.append(first_victim(each))
            if len(found) == number:
                break
    return found


async def test_a_lone_event_leaves_though_another_world_is_ready(log: Log) -> None:
    async with publisher(log) as events:
        full = (events.publish(MOOR, killed(each), world_us=0) for each in range(64))
        await asyncio.gather(*full, events.publish(OTHER, killed(99), world_us=0))
        assert await stored(log, LOG, subjects.log(OTHER, "game-server"), 1) == [99]


async def test_a_lone_event_leaves_though_the_window_was_full(log: Log) -> None:
    async with publisher(log, Limits(window=1)) as events:
        for each in worlds(40):
            await events.publish(each, killed(7), world_us=0)
        assert await stored(log, LOG, "log.>", 40) == [7] * 40


async def test_what_may_be_lost_holds_up_nothing_that_must_not_be(bus: Bus) -> None:
    """Its stream is away, its window is full, and it is given up and counted."""
    log = await bus.without(AMBIENT)
    async with Publisher(
        *(log, LOOSE, "game-server", 31),
        metrics=METRICS,
        limits=Limits(window=2, waiting_events=4),
        ack_seconds=0.2,
    ) as loose:
        for each in worlds(6):
            await loose.publish(each, killed(1), world_us=0)
        async with publisher(log, Limits(window=2)) as events:
            await events.publish(MOOR, killed(2), world_us=0)
            assert await stored(log, LOG, SUBJECT, 1) == [2]
        async with asyncio.timeout(30):
            await loose.flush()
        assert loose.overdue_seconds == 0


async def test_a_message_that_is_too_large_for_a_batch_is_refused(log: Log) -> None:
    with pytest.raises(BusError, match=r"131072|size exceeds"):
        await log.store(Outgoing(subject=SUBJECT, payload=bytes(131_073)))


async def test_a_publisher_that_was_closed_takes_nothing_more(log: Log) -> None:
    events = publisher(log)
    with pytest.raises(ClosedError, match="async with"):
        await events.publish(MOOR, killed(1), world_us=0)
    async with events:
        await events.publish(MOOR, killed(1), world_us=0)
    with pytest.raises(ClosedError, match="was closed"):
        await events.publish(MOOR, killed(1), world_us=0)
    assert METRICS.waiting._value.get() == 0


async def test_a_task_that_waits_for_room_ends_with_its_publisher(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gameai.bus.publisher._DRAIN_SECONDS", 0.2)
    log = await bus.without(LOG)
    async with publisher(log, Limits(window=1, waiting_events=1)) as events:
        for each in worlds(2):
            await events.publish(each, killed(1), world_us=0)
        waiting = asyncio.create_task(events.publish(MOOR, killed(2), world_us=0))
        await asyncio.sleep(0.1)
        assert METRICS.waiting._value.get() == 1
    with pytest.raises(ClosedError):
        await asyncio.wait_for(waiting, 5)


async def test_an_id_that_another_publisher_has_used_hides_no_event(log: Log) -> None:
    handled = Handled()
    async with consuming(log, handled), publisher(log) as events:
        await events.publish(MOOR, killed(1), world_us=0)
        await events.flush()
        first = handled.batches or await reached(handled)
        epoch = first[0].batch.epoch
        for each in (2, 3):
            number = f"{MOOR.number:x}.31.{epoch:x}.{each}"
            squat = Outgoing(
                subject=subjects.log(OTHER, "game-server"), payload=b"", message_id=number
            )
            await log.store(squat)
        for each in (2, 3):
            await events.publish(MOOR, killed(each), world_us=0)
            await events.flush()
        await handled.reach(3)
    assert handled.of(MOOR) == [1, 2, 3]


async def reached(handled: Handled) -> Sequence[Received]:
    await handled.reach(1)
    return handled.batches
