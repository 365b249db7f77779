"""EDGE: publishes the events of one service: in batches, in order for each world, until the broker has stored them."""

import asyncio
import logging
import time
from collections.abc import Callable
from random import SystemRandom
from typing import Self

from google.protobuf.message import Message

from gameai.bus import subjects
from gameai.bus.batches import Buffer, Limits, Loss, Occurrence
from gameai.bus.lane import Lane
from gameai.bus.log import Log
from gameai.bus.metrics import BusMetrics
from gameai.bus.subjects import World
from gameai.bus.types import Types
from gameai.bus.v1.bus_pb2 import OVERFLOW_DROP_OLDEST

_LOG = logging.getLogger(__name__)
ACK_SECONDS = 5.0
_DRAIN_SECONDS = 10.0
_MOST_EPOCH = (1 << 32) - 1


class Publisher:
    """An async context manager. Events that `publish` took are sent until they are stored, or the process ends.

    Leaving the context sends what is left, for at most 10 s, and logs what was not stored.
    """

    def __init__(
        self,
        log: Log,
        types: Types,
        service: str,
        source: int,
        *,
        metrics: BusMetrics,
        limits: Limits | None = None,
        now_us: Callable[[], int] = lambda: time.time_ns() // 1000,
        ack_seconds: float = ACK_SECONDS,
    ) -> None:
        self._types, self._source, self._now_us = types, source, now_us
        self._metrics = metrics
        chance, found = SystemRandom(), limits or Limits()

        def lane(*, kept: bool) -> Lane:
            buffer = Buffer(
                subjects.label(service),
                source,
                found,
                kept=kept,
                draw_epoch=lambda: chance.randint(1, _MOST_EPOCH),
                on_loss=self._lost,
            )
            return Lane(
                log,
                buffer,
                found,
                kept=kept,
                metrics=metrics,
                lost=self._lost,
                ack_seconds=ack_seconds,
            )

        self._kept, self._ambient = lane(kept=True), lane(kept=False)
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(each.run()) for each in (self._kept, self._ambient)]
        # They are open once they run.
        await asyncio.sleep(0)
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            async with asyncio.timeout(_DRAIN_SECONDS):
                await self.flush()
        except TimeoutError:
            _LOG.error(
                "%d events and %d batches were not stored: the bus did not acknowledge them within %g s",
                *(self._kept.events + self._ambient.events, self._kept.batches),
                _DRAIN_SECONDS,
            )
        finally:
            for each in self._tasks:
                each.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def overdue_seconds(self) -> float:
        """How long the broker has not stored the oldest batch that is kept; 0 where none is overdue."""
        return self._kept.overdue_seconds(asyncio.get_running_loop().time())

    async def publish(
        self,
        world: World,
        message: Message,
        *,
        world_us: int,
        trace: int = 0,
        sequence: int | None = None,
    ) -> None:
        """Take an event; it is sent within milliseconds. Waits while there is no room, unless its type allows to lose one.

        With a `sequence`, which replicas compute from world time, the broker keeps one of the equal events that replicas
        publish within 20 s, and consumers pass over a later one. It must rise over all events of this service and world.
        Raises ValueError for a type that is not declared, or is of another service, for more than 64 KiB, and for a number
        that does not fit; `ClosedError` outside of the context.
        """
        kind = self._types.of(message)
        if kind.source != self._source:
            raise ValueError(
                f"{kind.name} is an event of source {kind.source}: source {self._source} may not publish it"
            )
        given = Occurrence(
            type=kind,
            message=message,
            at_us=self._now_us(),
            world_us=world_us,
            trace=trace,
            sequence=sequence,
        )
        lane = self._ambient if kind.overflow == OVERFLOW_DROP_OLDEST else self._kept
        await lane.publish(world, given)

    async def flush(self) -> None:
        """Wait until all that was published is stored, or was given up as its type allows. Raises `ClosedError`."""
        await self._kept.flush()
        await self._ambient.flush()

    def _lost(self, number: int, reason: Loss) -> None:
        known = self._types.by_number.get(number)
        name = known.name.rpartition(".")[2] if known else str(number)
        self._metrics.lost.labels(name, reason.value).inc()
