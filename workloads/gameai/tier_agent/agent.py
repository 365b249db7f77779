"""asyncio: follows one engine through its life: it starts, is warmed up, serves, may be measured, and drains."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from gameai_contract.inference import LatencyClass
from gameai_contract.tier_agent import MEASURE_LEASE_SECONDS, Phase

from gameai.tier_agent import metrics, questions
from gameai.tier_agent.draining import LEAST_SECONDS, Quiet
from gameai.tier_agent.engine import Engine, EngineError, Health
from gameai.tier_agent.load import Load
from gameai.tier_agent.measurement import Capacity
from gameai.tier_agent.measuring import measured

_LOG = logging.getLogger(__name__)
_LOOK_SECONDS = 1.0
# So many slow answers of /health in a row mean that the engine does not serve.
_SLOW = 3
# vLLM takes tens of milliseconds to write its metrics page, in which it answers no request.
_LOAD_SECONDS, _LOAD_AGE_SECONDS = 15.0, 45.0
_DRAIN_POLL_SECONDS = 0.5
# So many unread pages in a row, of up to 5 s each: an engine that hangs ends no request.
_UNREAD = 4
# A pod that is not gone so long after its drain should have ended was drained by mistake.
_DRAINED_SECONDS = 60.0
_MEASURE_AGAIN_SECONDS = 600.0
_OK, _SERVER_ERROR, _FULL = 200, 500, 503
# Between two attempts to warm up an engine that fails.
_FIRST_PAUSE_SECONDS, _MOST_PAUSE_SECONDS = 1.0, 30.0


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
        self._pause_seconds, self._next_warm_up = _FIRST_PAUSE_SECONDS, 0.0
        self._load: tuple[float, Load] | None = None
        self._load_at = -_LOAD_SECONDS
        self._drained_until = 0.0
        self._measurement: asyncio.Task[None] | None = None
        self._measured_at: float | None = None
        self._lease_until = 0.0
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

    def _enter(self, phase: Phase, why: str = "") -> None:
        if (phase, why) != (self._phase, self._problem if phase is Phase.STARTING else ""):
            _LOG.info("%s%s", phase.value, f": {why}" if why else "")
        self._phase, self._problem = phase, why

    async def follow(self) -> None:
        """Look at the engine every second until cancelled."""
        while True:
            await self._look()
            await asyncio.sleep(_LOOK_SECONDS)

    async def _look(self) -> None:
        health, now = await self._engine.health(), self._clock()
        self._slow = self._slow + 1 if health is Health.SLOW else 0
        # An engine that is slow while it drains has requests to end.
        slow = self._slow >= _SLOW and self._phase is not Phase.DRAINING
        if health is Health.DOWN or slow:
            self._lose(f"the engine's /health {health.value}")
        elif self._phase is Phase.DRAINING and now > self._drained_until:
            self._lose("drained, but the pod did not end")
        elif self._phase is Phase.MEASURING and now > self._lease_until:
            _LOG.warning("a measurement was given up: the scaler does not ask for it any more")
            self._give_up_measurement()
            self._enter(Phase.SERVING)
        elif health is Health.OK and self._phase is Phase.STARTING and now >= self._next_warm_up:
            await self._warm_up()
        elif self._phase is Phase.SERVING and now - self._load_at >= _LOAD_SECONDS:
            await self._read_load()

    async def _read_load(self) -> None:
        self._load_at = self._clock()
        try:
            self._load = (self._clock(), await self._engine.load())
        except EngineError as error:
            _LOG.info("%s", error)

    def _lose(self, problem: str) -> None:
        """The engine does not serve; when it does again, it may be another process, which has to be warmed up."""
        self._enter(Phase.STARTING, problem)
        self._load = None
        self._give_up_measurement()

    async def _warm_up(self) -> None:
        """The first requests of an engine are slow: grammars and kernels are compiled then."""
        self._enter(Phase.WARMING_UP)
        began = self._clock()
        try:
            for question in questions.warm_up(self._options.model, self._options.class_):
                await self._ask(question)
        except EngineError as error:
            if self._phase is Phase.WARMING_UP:
                self._lose(f"warm-up failed: {error}")
                self._next_warm_up = self._clock() + self._pause_seconds
                self._pause_seconds = min(2 * self._pause_seconds, _MOST_PAUSE_SECONDS)
            return
        if self._phase is Phase.WARMING_UP:
            metrics.WARM_UP_SECONDS.set(self._clock() - began)
            metrics.STARTS.inc()
            self._pause_seconds, self._next_warm_up = _FIRST_PAUSE_SECONDS, 0.0
            self._enter(Phase.SERVING)

    async def _ask(self, question: questions.Document) -> None:
        """Raises `EngineError` where the engine fails. One that is full serves, and so does one that refuses the question."""
        status = (await self._engine.ask(question)).status
        if status >= _SERVER_ERROR and status != _FULL:
            raise EngineError(f"a chat completion: status {status}")
        if status != _OK:
            # A model without a chat template, say.
            _LOG.warning("a warm-up request was refused: status %d", status)

    async def drain(self) -> str:
        """Stop being ready, and wait until callers went elsewhere and their requests ended; the result for metrics."""
        self._give_up_measurement()
        self._enter(Phase.DRAINING)
        began, quiet, unread = self._clock(), Quiet(self._options.class_), 0
        end = began + max(self._options.drain_seconds, LEAST_SECONDS)
        self._drained_until = end + self._options.drain_seconds + _DRAINED_SECONDS
        result = "budget"
        while (now := self._clock()) < end:
            is_quiet = await self._is_quiet(quiet)
            unread = unread + 1 if is_quiet is None else 0
            if is_quiet and now - began >= LEAST_SECONDS:
                result = "idle"
                break
            if self._phase is not Phase.DRAINING or unread >= _UNREAD:
                result = "gone"
                break
            await asyncio.sleep(min(_DRAIN_POLL_SECONDS, max(0.0, end - now)))
        metrics.DRAINS.labels(result).inc()
        _LOG.info("drained in %.1f s: %s", self._clock() - began, result)
        return result

    async def _is_quiet(self, quiet: Quiet) -> bool | None:
        """Whether nothing is left to do; None where the engine does not say."""
        try:
            return quiet.observe(await self._engine.load(), self._clock())
        except EngineError as error:
            _LOG.info("%s", error)
            return None

    def measure(self, target_ms: float) -> str:
        """Begin to measure, out of service, or go on for a while longer; why not, or nothing."""
        now = self._clock()
        if self._phase is Phase.MEASURING:
            self._lease_until = now + MEASURE_LEASE_SECONDS
            return ""
        if self._phase is not Phase.SERVING:
            return f"the engine is {self._phase.value}"
        if self._measured_at is not None and now - self._measured_at < _MEASURE_AGAIN_SECONDS:
            return f"the last measurement began less than {_MEASURE_AGAIN_SECONDS:.0f} s ago"
        self._enter(Phase.MEASURING)
        self._measured_at, self._lease_until = now, now + MEASURE_LEASE_SECONDS
        self._measurement = asyncio.create_task(self._measure(target_ms))
        return ""

    def _give_up_measurement(self) -> None:
        if self._measurement is not None:
            self._measurement.cancel()
            self._measurement = None

    async def _measure(self, target_ms: float) -> None:
        result, options = "aborted", self._options
        try:
            found = await measured(
                self._engine, options.model, options.class_, target_ms, options.slots, self._clock
            )
            self._capacity, result = found, "done"
            _LOG.info("measured: %s", found)
        except EngineError as error:
            _LOG.warning("a measurement was given up: %s", error)
        finally:
            metrics.MEASUREMENTS.labels(result).inc()
            if self._phase is Phase.MEASURING:
                self._enter(Phase.SERVING)
