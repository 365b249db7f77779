"""EDGE: one message of a queue: its job is answered, or waits for another time."""

from __future__ import annotations

import asyncio
import contextlib
import time
from types import MappingProxyType

from gameai_contract.inference import MOST_DEADLINE_MS, LatencyClass
from google.rpc import code_pb2

from gameai.bus.log import BusError, Delivery, MovedError
from gameai.errors import InvalidArgumentError, NotFoundError, status, status_of
from gameai.gateway.dispatch.dispatcher import Dispatcher
from gameai.gateway.dispatch.single import SingleAnswer
from gameai.gateway.jobs import records
from gameai.gateway.jobs.metrics import JobMetrics
from gameai.gateway.jobs.queues import Queue
from gameai.gateway.jobs.records import Record
from gameai.gateway.jobs.store import JobStore, Kept
from gameai.gateway.routing.snapshot import TierView, WorldView
from gameai.inference.v1 import inference_pb2 as pb
from gameai.jobs.v1 import jobs_pb2

# While a job is answered: its lease is renewed, and its record is read, since it may have been cancelled.
_RENEW_SECONDS, _CHECK_SECONDS = 10.0, 3.0
# Until a job is looked at again whose world or role is not there; and whose record is not there yet, and how often.
_AWAY_SECONDS, _UNWRITTEN_SECONDS, _MOST_UNWRITTEN = 30.0, 0.5, 60
# What came of an attempt is stored within this time, or the job is asked again.
_STORE_SECONDS, _RETRY_SECONDS = 25.0, 1.0
_GIVE_BACK_SECONDS = 5.0
_NO_REPLICA = pb.Answer(
    error=status(code_pb2.UNAVAILABLE, "no replica of the tier may be asked now", "NO_REPLICA")
)
_RESULTS = MappingProxyType(
    {
        jobs_pb2.JOB_STATE_SUCCEEDED: "succeeded",
        jobs_pb2.JOB_STATE_FAILED: "failed",
        jobs_pb2.JOB_STATE_EXPIRED: "expired",
    }
)


class JobAnswer(SingleAnswer):
    """A sink for the answer of a job, which says nothing of how long callers wait."""

    timed = False


class Attempt:
    """Answers one message of a queue."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        metrics: JobMetrics,
        store: JobStore,
        queue: Queue,
        delivery: Delivery,
    ) -> None:
        self._dispatcher, self._metrics = dispatcher, metrics
        self._store, self._queue, self._delivery = store, queue, delivery
        self._job_id = delivery.message.payload.decode("ascii", "replace")
        # The record while an engine is asked for it.
        self._started: Kept | None = None

    async def adopt(self, delivery: Delivery) -> None:
        """The same message came again, because the bus was away and its lease has ended: this attempt continues with it."""
        self._delivery = delivery
        await self._renew()

    async def run(self) -> None:
        """Raises `BusError`; then its message comes again when the lease is over."""
        world = self._dispatcher.view.worlds.get(self._queue.world)
        if world is None:
            # It sleeps, or was deleted.
            await self._delivery.again(_AWAY_SECONDS)
            return
        found = await self._store.read(self._queue.world, self._job_id)
        if found is None:
            await self._unwritten()
        elif records.is_left_over(
            found.record, self._delivery.message.sequence
        ) or not records.is_of(found.record, world):
            await self._delivery.done()
        else:
            await self._handle(found, world)

    async def _unwritten(self) -> None:
        """Its gateway is just storing the record, or has ended before it did."""
        if self._delivery.deliveries < _MOST_UNWRITTEN:
            await self._delivery.again(_UNWRITTEN_SECONDS)
        else:
            await self._delivery.done()

    async def _handle(self, found: Kept, world: WorldView) -> None:
        now = _now_us()
        record = records.seen(found.record, now)
        if record.job.state in records.ENDED:
            await self._settle(found, record)
            return
        try:
            tier = self._dispatcher.check(world, record.question).route.tier
        except NotFoundError:
            await self._delivery.again(_AWAY_SECONDS)
        except InvalidArgumentError as error:
            await self._settle(found, records.failed(record, status_of(error), now))
        else:
            await self._on(tier, found, world)

    async def _on(self, tier: TierView, found: Kept, world: WorldView) -> None:
        """On the tier of its role, which may be another one than that of the queue."""
        if tier.key == self._queue.tier:
            await self._ask(found, world)
        elif tier.tier_class is LatencyClass.BRONZE:
            with contextlib.suppress(MovedError):
                await self._store.move(found, tier.key, _now_us())
            # The former message is left over, or the job was changed and has its own again.
            await self._delivery.again(0.0)
        else:
            message = f"role {found.record.job.role!r} has the {tier.tier_class} tier {tier.key} now: a job needs a Bronze tier"
            error = status(code_pb2.FAILED_PRECONDITION, message, "TIER_CHANGED")
            await self._settle(found, records.failed(found.record, error, _now_us()))

    async def _ask(self, found: Kept, world: WorldView) -> None:
        started = records.started(found.record, _now_us())
        if started.job.state in records.ENDED:
            await self._settle(found, started)
            return
        try:
            self._started = await self._replaced(found, started)
        except MovedError:
            await self._leave()
            return
        answer = await self._answer(self._started, world)
        if answer is None:
            await self._leave()
            return
        await self._settle(self._started, records.answered(started, answer, _now_us()))

    async def _answer(self, kept: Kept, world: WorldView) -> pb.Answer | None:
        """The answer of the tier; None where the job was cancelled, or another gateway has it."""
        sink, question = JobAnswer(), pb.Question()
        question.CopyFrom(kept.record.question)
        within = min(MOST_DEADLINE_MS / 1000, records.seconds_left(kept.record, _now_us()))
        question.deadline_ms = max(1, int(within * 1000))
        asked = self._dispatcher.ask(world, question, sink, within=within)
        answering = asyncio.ensure_future(sink.wait())
        try:
            renewed = time.monotonic()
            while not answering.done():
                await asyncio.wait({answering}, timeout=_CHECK_SECONDS)
                if answering.done():
                    break
                if time.monotonic() - renewed >= _RENEW_SECONDS:
                    renewed = time.monotonic()
                    await self._renew()
                if await self._is_changed(kept):
                    return None
                if asked is not None and asked.waiting and not self._is_callable():
                    return _NO_REPLICA
            return answering.result()
        finally:
            sink.closed = True
            answering.cancel()
            if asked is not None:
                self._dispatcher.abandon(asked)

    async def _renew(self) -> None:
        """Keep the lease. Where the bus is away, it may end, and another gateway asks too."""
        with contextlib.suppress(BusError):
            await self._delivery.working()

    def _is_callable(self) -> bool:
        """Whether any replica of the tier may be asked now."""
        scheduler = self._dispatcher.schedulers.get(self._queue.tier)
        return scheduler is not None and scheduler.callable

    async def _is_changed(self, kept: Kept) -> bool:
        """Whether the job was cancelled, or another gateway has it. A bus that is away says nothing."""
        with contextlib.suppress(BusError):
            now = await self._store.read(self._queue.world, kept.record.job.id)
            return now is None or now.sequence != kept.sequence
        return False

    async def _settle(self, before: Kept, after: Record) -> None:
        """Store what came of it: the end, or that it waits for the next attempt."""
        try:
            stored = (await self._replaced(before, after)).record
        except MovedError:
            await self._leave()
            return
        self._started = None
        if stored.job.state in records.ENDED:
            self._metrics.count_ended(self._queue.tier, _RESULTS[stored.job.state])
            await self._delivery.done()
        else:
            self._metrics.count_ended(self._queue.tier, "postponed")
            await self._delivery.again(records.pause(before.record, stored))

    async def _replaced(self, kept: Kept, record: Record) -> Kept:
        """Store a record, also while the bus is away for a moment. Raises `MovedError`, `BusError`."""
        end = time.monotonic() + _STORE_SECONDS
        while True:
            now = _now_us()
            try:
                return await self._store.replace(
                    kept, records.in_time(kept.record, record, now), now
                )
            except MovedError:
                raise
            except BusError:
                if time.monotonic() >= end:
                    raise
                await asyncio.sleep(_RETRY_SECONDS)

    async def _leave(self) -> None:
        """Another program has changed the job. Of one that has not ended, another gateway has the message too."""
        found = await self._store.read(self._queue.world, self._job_id)
        if found is None or records.is_left_over(found.record, self._delivery.message.sequence):
            await self._delivery.done()

    async def give_back(self) -> None:
        """This gateway ends: another one takes the job at once, and the attempt does not count."""
        kept, now = self._started, _now_us()
        with contextlib.suppress(BusError, TimeoutError):
            async with asyncio.timeout(_GIVE_BACK_SECONDS):
                await self._give_back(kept, now)

    async def _give_back(self, kept: Kept | None, now: int) -> None:
        if kept is not None:
            waits = records.postponed(kept.record, "the gateway that asked ended", counts=False)
            await self._store.replace(kept, waits, now)
        await self._delivery.again(0.0)


def _now_us() -> int:
    return time.time_ns() // 1000
