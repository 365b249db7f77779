"""EDGE: takes jobs of Bronze tiers while engines have room, has them answered, and stores what came of it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass

from gameai_contract.inference import MOST_DEADLINE_MS, LatencyClass

from gameai.bus.cancellation import end_if_cancelled
from gameai.bus.log import BusError, Delivery, MovedError
from gameai.gateway.dispatch.dispatcher import Dispatcher
from gameai.gateway.dispatch.single import SingleAnswer
from gameai.gateway.jobs import queues, records
from gameai.gateway.jobs.metrics import JobMetrics
from gameai.gateway.jobs.queues import Queue
from gameai.gateway.jobs.store import JobStore, Kept
from gameai.gateway.routing.snapshot import WorldView
from gameai.inference.v1 import inference_pb2 as pb
from gameai.jobs.v1 import jobs_pb2

_LOG = logging.getLogger(__name__)
# Between two looks at the queues: of a tier with jobs and room, and of others.
_BUSY_SECONDS, _IDLE_SECONDS = 0.1, 1.0
# While a job is answered: the bus is told that it is, and whether it was cancelled is looked up.
_LEASE_SECONDS, _CHECK_SECONDS = 10.0, 3.0
# Jobs of a tier beyond its free slots, so that no slot waits for the bus; and of all tiers together, for memory.
_AHEAD, MOST_RUNNING = 4, 256
_AWAY_SECONDS = 30.0
# An answer is stored within this time, or the job is asked again.
_STORE_SECONDS, _RETRY_SECONDS = 25.0, 1.0
_SAY_SECONDS = 10.0
_RESULTS = {
    jobs_pb2.JOB_STATE_SUCCEEDED: "succeeded",
    jobs_pb2.JOB_STATE_FAILED: "failed",
    jobs_pb2.JOB_STATE_EXPIRED: "expired",
}


@dataclass(slots=True)
class _Tier:
    """What a gateway knows of a tier's queues."""

    last_world: str = ""
    look_at: float = 0.0


class Runner:
    """The jobs of a gateway. Belongs to one loop."""

    def __init__(self, dispatcher: Dispatcher, metrics: JobMetrics) -> None:
        self._dispatcher, self._metrics = dispatcher, metrics
        self._tasks: set[asyncio.Task[None]] = set()
        self._tiers: dict[str, _Tier] = {}
        self._wake = asyncio.Event()
        self._draining = False
        self._silent_until = 0.0

    def drain(self) -> None:
        """Take no more jobs."""
        self._draining = True

    @property
    def running(self) -> int:
        """Jobs that are being answered."""
        return len(self._tasks)

    async def run(self, store: JobStore) -> None:
        """Until cancelled; then jobs that are being answered are given back."""
        try:
            while True:
                end_if_cancelled()
                self._wake.clear()
                await self._round(store)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), _BUSY_SECONDS)
                # A pass for many jobs that end together.
                await asyncio.sleep(_BUSY_SECONDS / 10)
        finally:
            tasks = tuple(self._tasks)
            for each in tasks:
                each.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _bronze(self) -> Iterable[str]:
        tiers = self._dispatcher.view.tiers
        found = [key for key, each in tiers.items() if each.tier_class is LatencyClass.BRONZE]
        self._tiers = {key: self._tiers.get(key) or _Tier() for key in sorted(found)}
        for held in (self._metrics.queued, self._metrics.running):
            for gone in held.keys() - self._tiers.keys():
                del held[gone]
        return tuple(self._tiers)

    async def _round(self, store: JobStore) -> None:
        for tier in self._bronze():
            if time.monotonic() >= self._tiers[tier].look_at:
                await self._try_look(store, tier)

    async def _try_look(self, store: JobStore, tier: str) -> None:
        """A tier that cannot be served now keeps no other from it."""
        try:
            await self._look(store, tier)
        except (BusError, ValueError) as error:
            self._tiers[tier].look_at = time.monotonic() + _IDLE_SECONDS
            if time.monotonic() >= self._silent_until:
                self._silent_until = time.monotonic() + _SAY_SECONDS
                _LOG.warning("jobs of %s are not looked at: %s", tier, error)

    async def _look(self, store: JobStore, tier: str) -> None:
        """Take what the tier has room for, one job of each world in turn."""
        waiting = await store.waiting(tier)
        self._metrics.queued[tier] = sum(waiting.values())
        room = 0 if self._draining else self._room(tier)
        seen, took = self._tiers[tier], 0
        turns = queues.turns(waiting, seen.last_world) if room > 0 else []
        while turns and took < room:
            # One that has no more to take leaves the round.
            turns = [each for each in turns if await self._take_first(store, each)]
            took += len(turns)
        more = bool(waiting) and room > 0
        seen.look_at = time.monotonic() + (_BUSY_SECONDS if more else _IDLE_SECONDS)

    async def _take_first(self, store: JobStore, of_world: list[Queue]) -> bool:
        """Take the next job of a world; whether there was one."""
        tier = of_world[0].tier
        if self._room(tier) <= 0:
            return False
        for queue in tuple(of_world):
            delivery = await store.take(queue)
            if delivery is not None:
                self._tiers[tier].last_world = queue.world
                self._start(store, queue, delivery)
                return True
            of_world.remove(queue)
        return False

    def _room(self, tier: str) -> int:
        """For how many more jobs the tier's engines have room, as far as this gateway may use them."""
        scheduler = self._dispatcher.schedulers.get(tier)
        if scheduler is None or not scheduler.slots:
            return 0
        here = self._metrics.running.get(tier, 0)
        used = max(here, scheduler.in_flight + len(scheduler.queue))
        return min(scheduler.slots + _AHEAD - used, MOST_RUNNING - len(self._tasks))

    def _start(self, store: JobStore, queue: Queue, delivery: Delivery) -> None:
        running = self._metrics.running
        running[queue.tier] = running.get(queue.tier, 0) + 1
        task = asyncio.create_task(self._handle(store, queue, delivery))
        self._tasks.add(task)

        def ended(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            if queue.tier in running:
                running[queue.tier] -= 1
            if queue.tier in self._tiers:
                self._tiers[queue.tier].look_at = 0.0
            self._wake.set()
            error = None if task.cancelled() else task.exception()
            if error is not None:
                _LOG.error("a job of %s failed; this is a bug", queue.world, exc_info=error)

        task.add_done_callback(ended)

    async def _handle(self, store: JobStore, queue: Queue, delivery: Delivery) -> None:
        attempt = _Attempt(self._dispatcher, self._metrics, store, queue, delivery)
        try:
            await attempt.run()
        except BusError as error:
            # Its message comes again when the lease is over.
            _LOG.warning("a job of %s is left to the next gateway: %s", queue.world, error)
        except asyncio.CancelledError:
            await attempt.give_back()
            raise


class _Attempt:
    """One message of a queue, and what is done with its job."""

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
        self._kept: Kept | None = None

    async def run(self) -> None:
        """Raises `BusError`."""
        kept = await self._begin()
        if kept is None:
            await self._delivery.done()
            return
        if kept.record.job.state in records.ENDED:
            await self._end(kept)
            return
        world = self._dispatcher.view.worlds.get(self._queue.world)
        if world is None:
            await self._postpone(kept, "the world is not there, or sleeps", _AWAY_SECONDS)
            return
        answer = await self._answer(kept, world)
        if answer is None:
            await self._leave()
            return
        after = records.answered(kept.record, answer, _now_us())
        await self._store_result(kept, after, records.pause(kept.record, after))

    async def _begin(self) -> Kept | None:
        """The record of the job, with an attempt begun or at its end; None where nothing is left to do."""
        sequence = self._delivery.message.sequence
        while True:
            found = await self._store.read(self._queue.world, self._job_id)
            if found is None or records.is_left_over(found.record, sequence):
                return None
            now = _now_us()
            record = records.seen(found.record, now)
            if record.job.state not in records.ENDED:
                record = records.begun(record, sequence, now)
            with contextlib.suppress(MovedError):
                self._kept = await self._store.replace(found, record, now)
                return self._kept

    async def _answer(self, kept: Kept, world: WorldView) -> pb.Answer | None:
        """The answer of the tier; None where the job was cancelled meanwhile."""
        sink, question = SingleAnswer(), pb.Question()
        question.CopyFrom(kept.record.question)
        within = min(MOST_DEADLINE_MS / 1000, records.seconds_left(kept.record, _now_us()))
        question.deadline_ms = max(1, int(within * 1000))
        asked = self._dispatcher.ask(world, question, sink, within=within)
        answering = asyncio.ensure_future(sink.wait())
        try:
            leased = time.monotonic()
            while not answering.done():
                await asyncio.wait({answering}, timeout=_CHECK_SECONDS)
                if answering.done():
                    break
                if time.monotonic() - leased >= _LEASE_SECONDS:
                    leased = time.monotonic()
                    await self._delivery.working()
                if await self._is_changed(kept):
                    return None
            return answering.result()
        finally:
            sink.closed = True
            answering.cancel()
            if asked is not None:
                self._dispatcher.abandon(asked)

    async def _is_changed(self, kept: Kept) -> bool:
        """Whether the job was cancelled, or another gateway has it. A bus that is away says nothing."""
        with contextlib.suppress(BusError):
            now = await self._store.read(self._queue.world, kept.record.job.id)
            return now is None or now.sequence != kept.sequence
        return False

    async def _store_result(self, kept: Kept, record: records.Record, pause: float) -> None:
        try:
            self._kept = await self._replaced(kept, record)
        except MovedError:
            await self._leave()
            return
        if record.job.state in records.ENDED:
            await self._end(self._kept)
        else:
            self._metrics.count_ended(self._queue.tier, "postponed")
            await self._delivery.again(pause)

    async def _replaced(self, kept: Kept, record: records.Record) -> Kept:
        """Store what an engine was asked for, also while the bus is away for a moment. Raises `MovedError`, `BusError`."""
        end = time.monotonic() + _STORE_SECONDS
        while True:
            try:
                return await self._store.replace(kept, record, _now_us())
            except MovedError:
                raise
            except BusError:
                if time.monotonic() >= end:
                    raise
                await asyncio.sleep(_RETRY_SECONDS)

    async def _leave(self) -> None:
        """Another program has changed the job. One that has ended is done; of one that has not, its gateway has the message too."""
        found = await self._store.read(self._queue.world, self._job_id)
        if found is None or found.record.job.state in records.ENDED:
            await self._delivery.done()

    async def _postpone(self, kept: Kept, why: str, pause: float) -> None:
        await self._store_result(kept, records.postponed(kept.record, why, counts=False), pause)

    async def _end(self, kept: Kept) -> None:
        self._metrics.count_ended(self._queue.tier, _RESULTS[kept.record.job.state])
        await self._delivery.done()

    async def give_back(self) -> None:
        """This gateway ends: another one takes the job at once, and the attempt does not count."""
        kept = self._kept
        with contextlib.suppress(BusError):
            if kept is not None and kept.record.job.state == jobs_pb2.JOB_STATE_RUNNING:
                why = "the gateway that asked ended"
                await self._postpone(kept, why, 0.0)
            else:
                await self._delivery.again(0.0)


def _now_us() -> int:
    return time.time_ns() // 1000
