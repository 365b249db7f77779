"""asyncio: a measurement of an engine that has no other callers meanwhile."""

import asyncio
import math
from collections.abc import Callable, Iterator

from gameai_contract.inference import LatencyClass
from gameai_contract.tier_agent import MEASURE_SECONDS

from gameai.tier_agent.draining import LEAST_SECONDS, Quiet
from gameai.tier_agent.engine import Engine, EngineError
from gameai.tier_agent.measurement import (
    MOST_CONCURRENCY,
    Capacity,
    Step,
    bounded,
    capacity,
    next_concurrency,
    p95,
    step_seconds,
)
from gameai.tier_agent.questions import Document, measuring

# Callers have so long to go elsewhere; with requests still running nothing is measured.
_LEAVE_SECONDS = 15.0
_POLL_SECONDS = 0.5
# Until an engine that has answered all of a step says that it is idle.
_SETTLE_SECONDS = 0.3
_OK, _FULL = 200, 503


async def measured(
    engine: Engine,
    model: str,
    class_: LatencyClass,
    target_ms: float,
    slots: int,
    clock: Callable[[], float],
) -> Capacity:
    """What the engine can do. Raises `EngineError` where it fails, others send requests, or the time is too short."""
    steps: list[Step] = []
    asked = measuring(model, class_)
    try:
        async with asyncio.timeout(MEASURE_SECONDS):
            await _left(engine, class_, clock)
            # The first requests of a kind of question fill the prefix cache.
            await _step(engine, asked, 1, 0.0, clock)
            await _search(engine, asked, target_ms, min(slots, MOST_CONCURRENCY), steps, clock)
    except TimeoutError as error:
        if not bounded(steps, target_ms):
            words = f"no result after {len(steps)} steps in {MEASURE_SECONDS:.0f} s"
            raise EngineError(words) from error
    found = capacity(steps, target_ms)
    if found is None:
        raise EngineError("no request was answered")
    return found


async def _search(
    engine: Engine,
    asked: Iterator[Document],
    target_ms: float,
    most: int,
    steps: list[Step],
    clock: Callable[[], float],
) -> None:
    """Add steps until the search is over. Raises `EngineError`."""
    while (concurrency := next_concurrency(steps, target_ms, most)) is not None:
        steps.append(await _step(engine, asked, concurrency, step_seconds(target_ms), clock))
        await asyncio.sleep(_SETTLE_SECONDS)
        if not (await engine.load()).idle:
            raise EngineError("others send requests meanwhile")


async def _left(engine: Engine, class_: LatencyClass, clock: Callable[[], float]) -> None:
    """Wait until callers went elsewhere. Raises `EngineError` where they do not."""
    quiet, began = Quiet(class_), clock()
    while (now := clock()) < began + _LEAVE_SECONDS:
        if quiet.observe(await engine.load(), now) and now - began >= LEAST_SECONDS:
            return
        await asyncio.sleep(_POLL_SECONDS)
    raise EngineError(f"requests still run after {_LEAVE_SECONDS:.0f} s out of service")


async def _step(
    engine: Engine,
    asked: Iterator[Document],
    concurrency: int,
    seconds: float,
    clock: Callable[[], float],
) -> Step:
    """So many requests in flight for so long, at least one each. A full engine is too slow. Raises `EngineError`."""
    latencies: list[float] = []
    failures: list[EngineError] = []
    began = clock()

    async def worker() -> None:
        while not failures and ((sent := clock()) < began + seconds or not latencies):
            try:
                answer = await engine.ask(next(asked))
            except EngineError as error:
                failures.append(error)
                return
            if answer.status not in (_OK, _FULL) or answer.unfinished:
                failures.append(EngineError(f"a chat completion: {answer}"))
                return
            latencies.append(1000 * (clock() - sent) if answer.status == _OK else math.inf)

    await asyncio.gather(*(worker() for _ in range(concurrency)))
    if failures:
        raise failures[0]
    answered = sum(math.isfinite(each) for each in latencies)
    return Step(
        concurrency=concurrency,
        requests=answered,
        seconds=clock() - began,
        p95_ms=p95(latencies),
    )
