import asyncio

import pytest
from gameai_operator.controller.manifest import Key
from gameai_operator.controller.workqueue import Priority, Workqueue

A, B, C = (Key("ModelTier", "n", name) for name in "abc")


class Clock:
    """A clock that tests turn."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def queue(clock: Clock) -> Workqueue:
    return Workqueue(clock, lambda: 0.5)


async def taken(queue: Workqueue) -> Key | None:
    """The next key, or None where none is due."""
    try:
        return await asyncio.wait_for(queue.take(), 0.01)
    except TimeoutError:
        return None


async def test_a_key_added_twice_is_taken_once(queue: Workqueue) -> None:
    queue.add(A, Priority.CHILD)
    queue.add(A, Priority.CHILD)
    assert await taken(queue) == A
    assert await taken(queue) is None


async def test_the_urgent_go_first(queue: Workqueue) -> None:
    queue.add(A, Priority.RESYNC)
    queue.add(B, Priority.CHILD)
    queue.add(C, Priority.USER)
    assert [await taken(queue) for _ in range(3)] == [C, B, A]


async def test_a_more_urgent_wish_lifts_a_waiting_key(queue: Workqueue) -> None:
    queue.add(A, Priority.RESYNC)
    queue.add(B, Priority.CHILD)
    queue.add(A, Priority.USER)
    assert [await taken(queue) for _ in range(3)] == [A, B, None]


async def test_no_two_workers_have_one_key(queue: Workqueue) -> None:
    queue.add(A, Priority.USER)
    assert await taken(queue) == A
    queue.add(A, Priority.USER)
    assert await taken(queue) is None
    queue.done(A)
    assert await taken(queue) == A


async def test_a_key_waits_for_its_time(queue: Workqueue, clock: Clock) -> None:
    queue.add(A, Priority.USER, after=5.0)
    assert await taken(queue) is None
    clock.now = 5.0
    assert await taken(queue) == A


async def test_an_earlier_wish_is_heeded(queue: Workqueue, clock: Clock) -> None:
    queue.add(A, Priority.RESYNC, after=60.0)
    queue.add(A, Priority.CHILD, after=1.0)
    clock.now = 1.0
    assert await taken(queue) == A
    queue.done(A)
    clock.now = 61.0
    assert await taken(queue) is None


async def test_a_later_wish_does_not_delay(queue: Workqueue) -> None:
    queue.add(A, Priority.USER)
    queue.add(A, Priority.RESYNC, after=60.0)
    assert await taken(queue) == A


async def test_a_wish_made_while_a_key_is_taken_keeps_its_time(
    queue: Workqueue, clock: Clock
) -> None:
    queue.add(A, Priority.USER)
    assert await taken(queue) == A
    queue.add(A, Priority.CHILD, after=2.0)
    queue.done(A)
    assert await taken(queue) is None
    clock.now = 2.0
    assert await taken(queue) == A


async def test_failures_in_a_row_wait_longer(queue: Workqueue, clock: Clock) -> None:
    waits = []
    for _ in range(4):
        queue.retry(A)
        began = clock.now
        while await taken(queue) is None:
            clock.now = round(clock.now + 0.005, 3)
        waits.append(round(clock.now - began, 3))
        queue.done(A)
    assert waits == pytest.approx([0.005, 0.01, 0.02, 0.04], abs=0.006)
    queue.forget(A)
    queue.retry(A)
    clock.now += 0.005
    assert await taken(queue) == A


async def test_a_servers_retry_after_is_kept(queue: Workqueue, clock: Clock) -> None:
    queue.retry(A, at_least=3.0)
    clock.now = 2.9
    assert await taken(queue) is None
    clock.now = 3.0
    assert await taken(queue) == A


async def test_a_waiting_worker_is_woken(queue: Workqueue) -> None:
    worker = asyncio.create_task(queue.take())
    await asyncio.sleep(0)
    queue.add(A, Priority.USER)
    assert await asyncio.wait_for(worker, 1.0) == A


async def test_a_cancelled_worker_ends_even_as_a_key_arrives(queue: Workqueue) -> None:
    worker = asyncio.create_task(queue.take())
    await asyncio.sleep(0.001)
    queue._changed.set()
    worker.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(worker, 1.0)


def test_what_waits_is_counted(queue: Workqueue) -> None:
    queue.add(A, Priority.USER)
    queue.add(B, Priority.USER, after=9.0)
    assert len(queue) == 2
