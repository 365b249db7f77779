"""EDGE: publishes the events of one service: in batches, in order for each world, until the broker has stored them."""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from random import SystemRandom
from typing import Self

from google.protobuf.message import Message

from gameai.bus.batches import Buffer, Limits, Loss, Occurrence, Queue, message_id
from gameai.bus.log import BusError, Log, Outgoing, RefusedError
from gameai.bus.metrics import BusMetrics
from gameai.bus.subjects import World
from gameai.bus.types import Types

_LOG = logging.getLogger(__name__)
ACK_SECONDS = 5.0
# After so many times without an acknowledgement the connection is opened again.
_RENEW_AFTER = 3
_CHECK_SECONDS = 0.25
_DRAIN_SECONDS = 10.0
_MOST_EPOCH = (1 << 32) - 1


@dataclass(slots=True, kw_only=True, eq=False)
class _OnItsWay:
    queue: Queue
    message: Outgoing
    events: int
    first_at: float
    sent_at: float
    times: int = 1
    # A broker that answered that it cannot, at once.
    fault: BusError | None = None


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
        self._log, self._types, self._source = log, types, source
        self._metrics = metrics
        self._limits = limits or Limits()
        self._now_us, self._ack_seconds = now_us, ack_seconds
        chance = SystemRandom()
        self._buffer = Buffer(
            service,
            source,
            self._limits,
            draw_epoch=lambda: chance.randint(1, _MOST_EPOCH),
            on_loss=self._lost,
        )
        self._on_their_way: dict[_OnItsWay, None] = {}
        self._bytes = 0
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._stored = self._metrics.published.labels(str(source))

    async def __aenter__(self) -> Self:
        self._tasks = [
            asyncio.create_task(self._send_all(), name="bus publisher"),
            asyncio.create_task(self._send_again(), name="bus acknowledgements"),
        ]
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            async with asyncio.timeout(_DRAIN_SECONDS):
                await self.flush()
        except TimeoutError:
            _LOG.error(
                "%d events and %d batches were not stored: the bus did not acknowledge them within %g s",
                *(self._buffer.events, len(self._on_their_way), _DRAIN_SECONDS),
            )
        finally:
            for each in self._tasks:
                each.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            if self._timer:
                self._timer.cancel()

    @property
    def overdue_seconds(self) -> float:
        """How long the broker has not stored the oldest batch; 0 where none is overdue."""
        now = asyncio.get_running_loop().time()
        waited = now - min((each.first_at for each in self._on_their_way), default=now)
        return waited if waited > self._ack_seconds else 0.0

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

        With a `sequence`, which replicas compute from world time, the broker keeps one of the equal events of all replicas.
        Raises ValueError for a type that is not declared, or is of another service, and for more than 64 KiB.
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
        while not self._buffer.add(world, given):
            self._room.clear()
            await self._room.wait()
        if self._buffer.ready:
            self._wake.set()
            # A loop of one world would fill the buffer before the first batch leaves.
            await asyncio.sleep(0)
        elif self._timer is None and self._buffer.lingering:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._limits.linger_seconds, self._lingered)

    async def flush(self) -> None:
        """Wait until all that was published is stored."""
        while not self._buffer.idle:
            self._lingered()
            self._room.clear()
            await self._room.wait()

    def _lingered(self) -> None:
        self._timer = None
        self._buffer.linger()
        self._wake.set()

    async def _send_all(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._has_window() and (taken := self._buffer.take()):
                queue, batch = taken
                message = Outgoing(
                    subject=queue.subject,
                    payload=batch.SerializeToString(),
                    message_id=message_id(batch),
                )
                now = asyncio.get_running_loop().time()
                sent = _OnItsWay(
                    queue=queue,
                    message=message,
                    events=len(batch.events),
                    first_at=now,
                    sent_at=now,
                )
                self._on_their_way[sent] = None
                self._bytes += len(message.payload)
                await self._send(sent)
            self._metrics.waiting.set(self._buffer.events)

    def _has_window(self) -> bool:
        limits = self._limits
        return len(self._on_their_way) < limits.window and self._bytes < limits.window_bytes

    async def _send(self, sent: _OnItsWay) -> None:
        def done(fault: BusError | None) -> None:
            self._answered(sent, fault)

        try:
            await self._log.send(sent.message, done)
        except BusError as error:
            sent.fault = error

    def _answered(self, sent: _OnItsWay, fault: BusError | None) -> None:
        if sent not in self._on_their_way:
            return
        if fault is not None:
            sent.fault = fault
            return
        del self._on_their_way[sent]
        self._bytes -= len(sent.message.payload)
        self._stored.inc(sent.events)
        self._buffer.sent(sent.queue)
        self._room.set()
        if self._buffer.ready:
            self._wake.set()

    def _lost(self, number: int, reason: Loss) -> None:
        known = self._types.by_number.get(number)
        name = known.name.rpartition(".")[2] if known else str(number)
        self._metrics.lost.labels(name, reason.value).inc()

    async def _send_again(self) -> None:
        """What was not acknowledged in time, with the same id: the broker stores it once."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_CHECK_SECONDS)
            now = loop.time()
            late = [
                each
                for each in self._on_their_way
                if now - each.sent_at >= (1.0 if each.fault else self._ack_seconds)
            ]
            if late:
                await self._resend(late, now)

    async def _resend(self, late: list[_OnItsWay], now: float) -> None:
        oldest = max(late, key=lambda each: each.times)
        _LOG.warning(
            "%d batches are not stored, the oldest was sent %d times: %s",
            *(len(late), oldest.times, oldest.fault or "the bus did not acknowledge it"),
        )
        refused = isinstance(oldest.fault, RefusedError)
        if oldest.times % _RENEW_AFTER == 0 and not refused:
            await self._renew()
        for each in late:
            each.times += 1
            each.sent_at, each.fault = now, None
            self._metrics.resent.inc()
            await self._send(each)

    async def _renew(self) -> None:
        try:
            await self._log.renew()
        except BusError as error:
            _LOG.warning("the connection to the bus was not opened again: %s", error)
