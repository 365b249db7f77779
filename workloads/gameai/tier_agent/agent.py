"""asyncio: follows one engine through its life: it starts, is warmed up, serves, may be measured, and drains."""

import asyncio
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from gameai_contract.inference import LatencyClass
from gameai_contract.tier_agent import MEASURE_SECONDS, Phase

from gameai.tier_agent import metrics, questions
from gameai.tier_agent.draining import LEAST_SECONDS, Quiet
from gameai.tier_agent.engine import Engine, EngineError, Health
from gameai.tier_agent.load import Load
from gameai.tier_agent.measurement import (
    Capacity,
    Step,
    capacity,
    next_concurrency,
    p95,
    step_seconds,
)

_LOG = logging.getLogger(__name__)
_LOOK_SECONDS = 1.0
# So many slow answers of /health in a row mean that the engine does not serve.
_SLOW = 3
# vLLM takes tens of milliseconds to write its metrics page, in which it answers nobody.
_LOAD_SECONDS, _LOAD_AGE_SECONDS = 15.0, 45.0
_DRAIN_POLL_SECONDS = 0.5
# Callers have this long to go elsewhere before a measurement; with requests still running it is given up.
_LEAVE_SECONDS = 15.0
_MEASURE_AGAIN_SECONDS = 600.0
_OK, _SERVER_ERROR = 200, 500


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """The engine: its model's name, class and batch slots, and the longest time for requests to end in a drain."""

    model: str
    class_: LatencyClass
    slots: int
    drain_seconds: float


class Agent:
    """The phase of an engine, and what is known of it."""

    def __init__(self, engine: Engine, options: Options, clock: Callable[[], float]) -> None:
        self._engine = engine
        self._options = options
        self._clock = clock
        self._phase = Phase.STARTING
        self._problem = "the engine does not answer yet"
        self._slow = 0
        self._load: tuple[float, Load] | None = None
        self._load_at = -_LOAD_SECONDS
        self._measurement: asyncio.Task[None] | None = None
        self._measured_at: float | None = None
        self._capacity: Capacity | None = None

    def phase(self) -> Phase:
        """Where the engine is in its life."""
        return self._phase

    def fault(self) -> str:
        """Why the engine is not ready, in one line; empty if it is."""
        if self._phase is Phase.STARTING:
            return self._problem
        return "" if self._phase is Phase.SERVING else self._phase.value

    def load(self) -> Load | None:
        """How busy the engine is; None where that is not known any more."""
        if self._load is None or self._clock() - self._load[0] > _LOAD_AGE_SECONDS:
            return None
        return self._load[1]

    def capacity(self) -> Capacity | None:
        """What was measured last."""
        return self._capacity

    async def follow(self) -> None:
        """Look at the engine every second until cancelled."""
        while True:
            await self._look()
            await asyncio.sleep(_LOOK_SECONDS)

    async def _look(self) -> None:
        health = await self._engine.health()
        self._slow = self._slow + 1 if health is Health.SLOW else 0
        if health is Health.DOWN or self._slow >= _SLOW:
            self._lose(f"the engine's /health {health.value}")
        elif health is Health.OK and self._phase is Phase.STARTING:
            await self._warm_up()
        elif self._phase is Phase.SERVING and self._clock() - self._load_at >= _LOAD_SECONDS:
            self._load_at = self._clock()
            try:
                self._load = (self._clock(), await self._engine.load())
            except EngineError as error:
                _LOG.info("%s", error)

    def _lose(self, problem: str) -> None:
        """The engine does not serve; when it does again, it is another process that has to be warmed up."""
        if self._phase is not Phase.STARTING:
            _LOG.warning("not ready: %s", problem)
        self._phase, self._problem, self._load = Phase.STARTING, problem, None
        self._give_up_measurement()

    async def _warm_up(self) -> None:
        """The first requests of an engine are slow: grammars and kernels are compiled then."""
        self._phase, began = Phase.WARMING_UP, self._clock()
        metrics.STARTS.inc()
        try:
            for question in questions.warm_up(self._options.model):
                status = await self._engine.ask(question)
                if status >= _SERVER_ERROR:
                    raise EngineError(f"a chat completion: status {status}")
                if status != _OK:
                    # A model without a chat template, say: it answers, and so it serves.
                    _LOG.warning("a warm-up request was refused: status %d", status)
        except EngineError as error:
            if self._phase is Phase.WARMING_UP:
                self._lose(f"warm-up failed: {error}")
            return
        if self._phase is Phase.WARMING_UP:
            seconds = self._clock() - began
            metrics.WARM_UP_SECONDS.set(seconds)
            self._phase = Phase.SERVING
            _LOG.info("ready after a warm-up of %.2f s", seconds)

    async def drain(self) -> str:
        """Stop being ready, and wait until callers went elsewhere and their requests ended; the result for metrics."""
        self._give_up_measurement()
        self._phase, began, quiet = Phase.DRAINING, self._clock(), Quiet()
        end = began + max(self._options.drain_seconds, LEAST_SECONDS)
        result = "budget"
        while (now := self._clock()) < end:
            if await self._quiet(quiet) and now - began >= LEAST_SECONDS:
                result = "idle"
                break
            if self._phase is not Phase.DRAINING:
                result = "gone"
                break
            await asyncio.sleep(min(_DRAIN_POLL_SECONDS, max(0.0, end - now)))
        metrics.DRAINS.labels(result).inc()
        _LOG.info("drained in %.1f s: %s", self._clock() - began, result)
        return result

    async def _quiet(self, quiet: Quiet) -> bool:
        try:
            return quiet.observe(await self._engine.load(), self._clock())
        except EngineError as error:
            _LOG.info("%s", error)
            return False

    def measure(self, target_ms: float) -> str:
        """Begin to measure, out of service; why not, or nothing."""
        if self._phase is not Phase.SERVING:
            return f"the engine is {self._phase.value}"
        now = self._clock()
        if self._measured_at is not None and now - self._measured_at < _MEASURE_AGAIN_SECONDS:
            return f"the last measurement began less than {_MEASURE_AGAIN_SECONDS:.0f} s ago"
        self._measured_at, self._phase = now, Phase.MEASURING
        self._measurement = asyncio.create_task(self._measure(target_ms))
        return ""

    def _give_up_measurement(self) -> None:
        if self._measurement is not None:
            self._measurement.cancel()
            self._measurement = None

    async def _measure(self, target_ms: float) -> None:
        steps: list[Step] = []
        try:
            async with asyncio.timeout(MEASURE_SECONDS):
                await self._left()
                await self._search(steps, target_ms)
        except TimeoutError:
            _LOG.info("the time of a measurement is up after %d steps", len(steps))
        except EngineError as error:
            _LOG.warning("a measurement was given up: %s", error)
            steps = []
        finally:
            if self._phase is Phase.MEASURING:
                self._phase = Phase.SERVING
        found = capacity(steps, target_ms)
        metrics.MEASUREMENTS.labels("aborted" if found is None else "done").inc()
        if found is not None:
            self._capacity = found
            _LOG.info("measured: %s", found)

    async def _left(self) -> None:
        """Wait until callers went elsewhere. Raises `EngineError` where they do not."""
        quiet, end = Quiet(), self._clock() + _LEAVE_SECONDS
        while self._clock() < end:
            if await self._quiet(quiet):
                return
            await asyncio.sleep(_DRAIN_POLL_SECONDS)
        raise EngineError(f"requests still run after {_LEAVE_SECONDS:.0f} s out of service")

    async def _search(self, steps: list[Step], target_ms: float) -> None:
        asked = questions.measuring(self._options.model, self._options.class_)
        slots, seconds = self._options.slots, step_seconds(target_ms)
        while (concurrency := next_concurrency(steps, target_ms, slots)) is not None:
            steps.append(await self._step(asked, concurrency, seconds))

    async def _step(
        self, asked: Iterator[questions.Document], concurrency: int, seconds: float
    ) -> Step:
        """So many requests in flight for so long. Raises `EngineError`."""
        latencies: list[float] = []
        failures: list[EngineError] = []
        began = self._clock()

        async def worker() -> None:
            while not failures and (sent := self._clock()) < began + seconds:
                try:
                    status = await self._engine.ask(next(asked))
                except EngineError as error:
                    failures.append(error)
                    return
                if status != _OK:
                    failures.append(EngineError(f"a chat completion: status {status}"))
                    return
                latencies.append(1000 * (self._clock() - sent))

        await asyncio.gather(*(worker() for _ in range(concurrency)))
        if failures:
            raise failures[0]
        return Step(
            concurrency=concurrency,
            requests=len(latencies),
            seconds=self._clock() - began,
            p95_ms=p95(latencies),
        )
