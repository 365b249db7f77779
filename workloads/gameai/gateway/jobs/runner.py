"""EDGE: takes jobs of Bronze tiers while engines have room, one of each world in turn."""

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from gameai_contract.inference import LatencyClass

from gameai.bus.cancellation import end_if_cancelled
from gameai.bus.log import BusError, Delivery
from gameai.gateway.dispatch.dispatcher import Dispatcher
from gameai.gateway.jobs import queues
from gameai.gateway.jobs.attempt import Attempt
from gameai.gateway.jobs.metrics import JobMetrics
from gameai.gateway.jobs.queues import Queue
from gameai.gateway.jobs.store import JobStore

_LOG = logging.getLogger(__name__)
# Between two looks at the queues of a tier: while jobs were taken, and otherwise.
_BUSY_SECONDS, _CALM_SECONDS = 0.1, 1.0
# Jobs of a tier beyond its free slots, so that no slot waits for the bus; and of a tier that alone has jobs, for memory.
_AHEAD, MOST_RUNNING = 4, 256
_SAY_SECONDS = 10.0


@dataclass(slots=True)
class _Tier:
    """What a gateway knows of a tier's queues."""

    last_world: str = ""
    look_at: float = 0.0


class Runner:
    """The jobs that a gateway answers. Belongs to one loop."""

    def __init__(self, dispatcher: Dispatcher, metrics: JobMetrics) -> None:
        self._dispatcher, self._metrics = dispatcher, metrics
        # Jobs that were taken, with their tiers; and their attempts, by queue and message.
        self._tasks: dict[asyncio.Task[None], str] = {}
        self._attempts: dict[tuple[Queue, int], Attempt] = {}
        self._tiers: dict[str, _Tier] = {}
        self._wake = asyncio.Event()
        self._draining = False
        self._silent_until = 0.0
        metrics.running = self._running

    def drain(self) -> None:
        """Take no more jobs."""
        self._draining = True

    @property
    def busy(self) -> bool:
        """Whether jobs are being answered."""
        return bool(self._tasks)

    def _running(self) -> Mapping[str, int]:
        return Counter(dict.fromkeys(self._tiers, 0)) + Counter(self._tasks.values())

    async def run(self, store: JobStore) -> None:
        """Until cancelled; then jobs that are being answered are given back."""
        try:
            while True:
                end_if_cancelled()
                self._wake.clear()
                for tier in self._due():
                    await self._look(store, tier)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), _BUSY_SECONDS)
                # A pass for many jobs that end together.
                await asyncio.sleep(_BUSY_SECONDS / 10)
        finally:
            tasks = tuple(self._tasks)
            for each in tasks:
                each.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _due(self) -> Iterable[str]:
        """Bronze tiers that are to be looked at now."""
        tiers = self._dispatcher.view.tiers
        found = [key for key, each in tiers.items() if each.tier_class is LatencyClass.BRONZE]
        self._tiers = {key: self._tiers.get(key) or _Tier() for key in sorted(found)}
        for gone in self._metrics.pending.keys() - self._tiers.keys():
            del self._metrics.pending[gone]
        now = time.monotonic()
        return [key for key, each in self._tiers.items() if each.look_at <= now]

    async def _look(self, store: JobStore, tier: str) -> None:
        """A tier whose queues cannot be read now keeps no other from it."""
        took = 0
        try:
            waiting = await store.waiting(tier)
        except (BusError, ValueError) as error:
            self._say(f"jobs of {tier} are not looked at", error)
        else:
            # Jobs of worlds that sleep, or were deleted, wait for their worlds and not for the tier.
            worlds = self._dispatcher.view.worlds
            waiting = {queue: count for queue, count in waiting.items() if queue.world in worlds}
            self._metrics.pending[tier] = sum(waiting.values())
            took = await self._take(store, tier, waiting)
        if tier in self._tiers:
            pause = _BUSY_SECONDS if took else _CALM_SECONDS
            self._tiers[tier].look_at = time.monotonic() + pause

    async def _take(self, store: JobStore, tier: str, waiting: Mapping[Queue, int]) -> int:
        """Take what the tier has room for, one job of each world in turn; how many."""
        took, turns = 0, queues.turns(waiting, self._tiers[tier].last_world)
        while turns and self._room(tier) > 0:
            # One that has no more to take leaves the round.
            turns = [each for each in turns if await self._take_first(store, each)]
            took += len(turns)
        return took

    async def _take_first(self, store: JobStore, of_world: list[Queue]) -> bool:
        """Take the next job of a world; whether there was one. A queue that fails keeps no other world from its turn."""
        tier = of_world[0].tier
        for queue in tuple(of_world):
            if self._room(tier) <= 0:
                return False
            try:
                delivery = await store.take(queue)
            except (BusError, ValueError) as error:
                self._say(f"a queue of {queue.world} is left out", error)
                return False
            if delivery is not None:
                if tier in self._tiers:
                    self._tiers[tier].last_world = queue.world
                await self._start(store, queue, delivery)
                return True
            of_world.remove(queue)
        return False

    def _room(self, tier: str) -> int:
        """For how many more jobs the tier's engines have room, as far as this gateway may use them."""
        scheduler = self._dispatcher.schedulers.get(tier)
        if self._draining or scheduler is None or not scheduler.slots or not scheduler.callable:
            return 0
        here = self._running().get(tier, 0)
        used = max(here, scheduler.in_flight + len(scheduler.queue))
        # A tier that has taken all before others had jobs keeps none of their parts.
        part = MOST_RUNNING // max(1, sum(map(bool, self._metrics.pending.values())))
        return min(scheduler.slots + _AHEAD - used, part - here)

    async def _start(self, store: JobStore, queue: Queue, delivery: Delivery) -> None:
        message = (queue, delivery.message.sequence)
        if message in self._attempts:
            await self._attempts[message].adopt(delivery)
            return
        attempt = Attempt(self._dispatcher, self._metrics, store, queue, delivery)
        self._attempts[message] = attempt
        task = asyncio.create_task(self._run(attempt, queue))
        self._tasks[task] = queue.tier

        def ended(task: asyncio.Task[None]) -> None:
            del self._tasks[task], self._attempts[message]
            if queue.tier in self._tiers:
                self._tiers[queue.tier].look_at = 0.0
            self._wake.set()
            error = None if task.cancelled() else task.exception()
            if error is not None:
                _LOG.error("a job of %s failed; this is a bug", queue.world, exc_info=error)

        task.add_done_callback(ended)

    async def _run(self, attempt: Attempt, queue: Queue) -> None:
        try:
            await attempt.run()
        except BusError as error:
            self._say(f"a job of {queue.world} is left to the next gateway", error)
        except asyncio.CancelledError:
            await attempt.give_back()
            raise

    def _say(self, what: str, error: Exception) -> None:
        """Log it, now and then."""
        if time.monotonic() >= self._silent_until:
            self._silent_until = time.monotonic() + _SAY_SECONDS
            _LOG.warning("%s: %s", what, error)
