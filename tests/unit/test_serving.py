"""The parts of a service's life that need no socket."""

import asyncio

import pytest
from gameai.serving.background import Background, TaskEndedError
from gameai.serving.readiness import Readiness, Stage


def test_a_process_is_ready_when_every_part_is() -> None:
    faults = {"store": "no connection", "bus": ""}
    readiness = Readiness()
    assert readiness.fault() == "starting"
    readiness.add("store", lambda: faults["store"])
    readiness.add("bus", lambda: faults["bus"])
    assert readiness.fault() == "starting; store: no connection"
    readiness.stage = Stage.SERVING
    assert readiness.fault() == "store: no connection"
    faults["bus"] = "behind by 40 s"
    assert readiness.fault() == "store: no connection; bus: behind by 40 s"
    readiness.stage = Stage.DRAINING
    assert readiness.fault() == "draining"


async def test_the_first_task_that_ends_ends_the_process_with_its_error() -> None:
    async def broken() -> None:
        raise ValueError("no schema")

    tasks = Background()
    tasks.start("waits", asyncio.sleep(3600))
    tasks.start("broken", broken())
    with pytest.raises(ValueError, match="no schema"):
        await asyncio.wait_for(tasks.ended(), 10)
    await tasks.stop(10)


async def test_a_task_that_returns_or_starts_late_ends_the_process_too() -> None:
    tasks = Background()
    tasks.start("waits", asyncio.sleep(3600))
    ending = asyncio.ensure_future(tasks.ended())
    await asyncio.sleep(0)
    tasks.start("late", asyncio.sleep(0))
    with pytest.raises(TaskEndedError, match="late ended"):
        await asyncio.wait_for(ending, 10)
    await tasks.stop(10)
    with pytest.raises(RuntimeError, match="the process is stopping"):
        tasks.start("too late", asyncio.sleep(0))


async def test_a_process_without_tasks_runs_on() -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(Background().ended(), 0.01)


async def test_tasks_end_what_they_began_the_last_started_first() -> None:
    ended: list[str] = []

    async def work(name: str) -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(0.01)
            ended.append(name)

    tasks = Background()
    for name in ("store", "consumer"):
        tasks.start(name, work(name))
    await asyncio.sleep(0)
    await tasks.stop(10)
    assert ended == ["consumer", "store"]


async def test_a_task_that_does_not_end_delays_the_end_for_a_limited_time(
    caplog: pytest.LogCaptureFixture,
) -> None:
    released = asyncio.Event()

    async def stubborn() -> None:
        while not released.is_set():
            try:
                await released.wait()
            except asyncio.CancelledError:
                continue

    async def fails_at_the_end() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            raise ValueError("unsent")

    tasks = Background()
    ended = asyncio.Event()

    async def flush() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(0.02)
            ended.set()

    tasks.start("flush", flush())
    tasks.start("stubborn", stubborn())
    tasks.start("sender", fails_at_the_end())
    await asyncio.sleep(0)
    await tasks.stop(0.4)
    assert "stubborn did not end within 0.2 s" in caplog.text
    assert ended.is_set(), "each task has its share of the time"
    assert "sender failed as it ended" in caplog.text
    released.set()
    await asyncio.sleep(0)
