"""Frames take turns: a pass of the loop stays short however many there are."""

import asyncio
from functools import partial

import pytest
from gameai.gateway.pacing import DISPATCH, Pacer
from support.inference import eventually


class Clock:
    """Seconds that work alone moves."""

    def __init__(self) -> None:
        self.now = 100.0
        self.done: list[str] = []

    def __call__(self) -> float:
        return self.now

    def work(self, name: str, seconds: float) -> None:
        self.now += seconds
        self.done.append(name)


async def test_a_pass_does_as_much_as_fits_and_keeps_the_order() -> None:
    clock = Clock()
    turns = Pacer(0.005, clock, clock)
    waiting = [asyncio.create_task(turns.run(partial(clock.work, str(n), 0.002))) for n in range(7)]
    # One pass in which they ask for a turn, then those that do them.
    passes = []
    for _ in range(5):
        await asyncio.sleep(0)
        passes.append(len(clock.done))
    assert passes == [0, 3, 6, 7, 7]
    await asyncio.gather(*waiting)
    assert clock.done == list("0123456")


async def test_what_fits_into_the_rest_of_a_pass_does_not_wait() -> None:
    clock = Clock()
    turns = Pacer(0.005, clock, clock)
    await turns.run(partial(clock.work, "first", 0.001))
    coroutine = turns.run(partial(clock.work, "second", 0.001))
    with pytest.raises(StopIteration):
        coroutine.send(None)
    assert clock.done == ["first", "second"]


async def test_work_longer_than_a_pass_is_done_alone() -> None:
    clock = Clock()
    turns = Pacer(0.005, clock, clock)
    waiting = [asyncio.create_task(turns.run(partial(clock.work, str(n), 0.009))) for n in range(3)]
    await asyncio.sleep(0)
    for done in (1, 2, 3):
        await asyncio.sleep(0)
        assert len(clock.done) == done
    await asyncio.gather(*waiting)


async def test_what_was_cancelled_is_not_done_and_what_raises_raises_to_who_asked() -> None:
    clock = Clock()
    turns = Pacer(0.005, clock, clock)

    def fail() -> None:
        raise ValueError("no such world")

    cancelled = asyncio.create_task(turns.run(partial(clock.work, "cancelled", 0.001)))
    failing = asyncio.create_task(turns.run(fail))
    last = asyncio.create_task(turns.run(partial(clock.work, "last", 0.001)))
    await asyncio.sleep(0)
    cancelled.cancel()
    with pytest.raises(ValueError, match="no such world"):
        await failing
    await last
    assert clock.done == ["last"]


async def test_many_streams_of_one_namespace_get_no_more_of_a_pass_than_one_of_another() -> None:
    clock = Clock()
    turns = Pacer(0.1, clock, clock)
    flood = [
        asyncio.create_task(turns.run(partial(clock.work, "flood", 0.01), f"flood/{n % 5}"))
        for n in range(50)
    ]
    calm = [
        asyncio.create_task(turns.run(partial(clock.work, "calm", 0.01), "calm/a"))
        for _ in range(4)
    ]
    await asyncio.gather(*calm, *flood)
    assert clock.done[:8].count("calm") == 4
    assert clock.done.count("flood") == 50


async def test_a_namespace_with_long_pieces_waits_as_long_while_others_go_on() -> None:
    clock = Clock()
    turns = Pacer(0.005, clock, clock)
    await turns.run(partial(clock.work, "fast", 0.001), "fast/a")
    slow = [
        asyncio.create_task(turns.run(partial(clock.work, "slow", 0.065), f"slow/{n}"))
        for n in range(2)
    ]
    await eventually(lambda: clock.done == ["fast", "slow"])
    for _ in range(3):
        await turns.run(partial(clock.work, "fast", 0.001), "fast/a")
    assert clock.done == ["fast", "slow", "fast", "fast", "fast"]
    clock.now += 0.060
    await asyncio.gather(*slow)
    assert clock.done[5:] == ["slow"]


async def test_two_namespaces_with_long_pieces_both_wait() -> None:
    clock = Clock()
    turns = Pacer(0.005, clock, clock)
    for name in ("a", "b"):
        await turns.run(partial(clock.work, name, 0.065), f"{name}/x")
    waiting = [
        asyncio.create_task(turns.run(partial(clock.work, name, 0.001), f"{name}/x"))
        for name in ("a", "b")
    ]
    await turns.run(partial(clock.work, "calm", 0.001), "calm/x")
    assert clock.done[:3] == ["a", "b", "calm"]
    clock.now += 0.130
    await asyncio.gather(*waiting)


async def test_a_namespace_that_is_alone_does_not_wait() -> None:
    clock = Clock()
    turns = Pacer(0.005, clock, clock)
    for number in range(3):
        await turns.run(partial(clock.work, str(number), 0.065), "slow/a")
    assert clock.done == ["0", "1", "2"]


async def test_work_without_a_turn_is_company_too() -> None:
    clock = Clock()
    turns = Pacer(0.005, clock, clock)
    turns.note("fast/a")
    await turns.run(partial(clock.work, "slow", 0.065), "slow/a")
    later = asyncio.create_task(turns.run(partial(clock.work, "later", 0.001), "slow/a"))
    await turns.run(partial(clock.work, "fast", 0.001), "fast/a")
    assert clock.done == ["slow", "fast"]
    clock.now += 0.060
    await later


async def test_dispatch_of_a_tier_does_not_wait_for_the_frames_of_its_namespace() -> None:
    clock = Clock()
    turns = Pacer(0.005, clock, clock)
    await turns.run(partial(clock.work, "fast", 0.001), "fast/a")
    await turns.run(partial(clock.work, "slow", 0.065), "shared/w")
    turns.add(partial(clock.work, "dispatch", 0.065), f"{DISPATCH}shared/gold")
    turns.add(partial(clock.work, "dispatch", 0.065), f"{DISPATCH}shared/gold")
    await turns.run(partial(clock.work, "fast", 0.001), "fast/a")
    await eventually(lambda: clock.done.count("dispatch") == 2)


async def test_one_long_piece_is_forgiven() -> None:
    clock = Clock()
    turns = Pacer(0.005, clock, clock)
    for number in range(3):
        clock.now += 0.5
        await turns.run(partial(clock.work, "fast", 0.001), "fast/a")
        await turns.run(partial(clock.work, str(number), 0.030), "slow/a")
    assert clock.done == ["fast", "0", "fast", "1", "fast", "2"]


async def test_time_in_which_another_process_had_the_cpu_is_no_overrun() -> None:
    clock = Clock()
    turns = Pacer(0.005, clock, lambda: 0.0)
    await turns.run(partial(clock.work, "fast", 0.0), "fast/a")
    for number in range(2):
        await turns.run(partial(clock.work, str(number), 0.065), "slow/a")
    assert clock.done == ["fast", "0", "1"]


async def test_a_long_piece_counts_also_where_it_did_not_wait() -> None:
    clock = Clock()
    turns = Pacer(0.005, clock, clock)
    await turns.run(partial(clock.work, "first", 0.001), "fast/a")
    await turns.run(partial(clock.work, "inline", 0.065), "slow/a")
    later = asyncio.create_task(turns.run(partial(clock.work, "later", 0.001), "slow/a"))
    await turns.run(partial(clock.work, "fast", 0.001), "fast/a")
    assert not later.done()
    clock.now += 0.060
    await later
    assert clock.done == ["first", "inline", "fast", "later"]


async def test_work_that_no_caller_awaits_keeps_its_order_and_its_errors_end_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = Clock()
    turns = Pacer(0.005, clock, clock)

    def fail() -> None:
        raise ValueError("broken")

    turns.add(partial(clock.work, "1", 0.001), "a/a")
    turns.add(fail, "a/a")
    turns.add(partial(clock.work, "2", 0.001), "a/a")
    await turns.run(partial(clock.work, "3", 0.001), "a/a")
    assert clock.done == ["1", "2", "3"]
    assert "broken" in caplog.text
