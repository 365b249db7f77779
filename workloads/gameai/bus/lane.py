"""EDGE: sends the batches of a publisher until the broker has stored them: those that are kept, or those that may be lost.

The two do not wait for each other: what may be lost has a window and room of its own, and is given up after some refusals.
"""

import asyncio
import logging
import secrets  # noqa: TID251 - the edge: an id that others cannot foresee
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from gameai.bus.batches import Buffer, Limits, Loss, Occurrence, Queue, message_id
from gameai.bus.cancellation import end_if_cancelled
from gameai.bus.log import BusError, DuplicateError, Log, Outgoing, RefusedError
from gameai.bus.metrics import BusMetrics
from gameai.bus.subjects import World
from gameai.bus.v1.bus_pb2 import EventBatch

_LOG = logging.getLogger(__name__)
# After so many times without an acknowledgement the connection is opened again.
_RENEW_AFTER, _RENEW_REFUSED_AFTER = 3, 60
# A batch that may be lost is given up after it was sent so many times.
_MOST_TIMES = 3
_CHECK_SECONDS = 0.25
# A broker that answered that it cannot is asked again after this time.
_FAULT_SECONDS = 1.0


class ClosedError(BusError):
    """The publisher is not open: its context was left, or a task of it ended."""


@dataclass(slots=True, kw_only=True, eq=False)
class _OnItsWay:
    queue: Queue
    batch: EventBatch
    message: Outgoing
    first_at: float
    sent_at: float
    times: int = 1
    fault: BusError | None = field(default=None)


class Lane:
    """The batches of one kind. `run` must run for anything to be sent."""

    def __init__(
        self,
        log: Log,
        buffer: Buffer,
        limits: Limits,
        *,
        kept: bool,
        metrics: BusMetrics,
        lost: Callable[[int, Loss], None],
        ack_seconds: float,
    ) -> None:
        self._log, self._buffer, self._limits = log, buffer, limits
        self._kept, self._metrics, self._lost = kept, metrics, lost
        self._ack_seconds = ack_seconds
        self._on_their_way: dict[_OnItsWay, None] = {}
        self._bytes = 0
        self._measured = 0
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._closed: ClosedError | None = ClosedError("use the publisher as `async with`")

    @property
    def events(self) -> int:
        """Events that wait to be sent."""
        return self._buffer.events

    @property
    def batches(self) -> int:
        """Batches that were sent and are not stored."""
        return len(self._on_their_way)

    def overdue_seconds(self, now: float) -> float:
        """How long the broker has not stored the oldest batch; 0 where none is overdue."""
        waited = now - min((each.first_at for each in self._on_their_way), default=now)
        return waited if waited > self._ack_seconds else 0.0

    async def run(self) -> None:
        """Send until cancelled. Callers that wait for room then get `ClosedError`."""
        self._closed = None
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._send_all())
                tasks.create_task(self._send_again())
        except ExceptionGroup:
            _LOG.exception("the publisher ended; this is a bug")
        finally:
            self._closed = ClosedError("the publisher was closed")
            self._room.set()
            if self._timer:
                self._timer.cancel()
            self._metrics.waiting.dec(self._measured)

    async def publish(self, world: World, given: Occurrence) -> None:
        """Take an event; wait while there is no room. Raises ValueError, `ClosedError`."""
        while self._is_open() and not self._buffer.add(world, given):
            self._measure()
            self._room.clear()
            await self._room.wait()
        if self._buffer.lingering and self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._limits.linger_seconds, self._lingered)
        if self._buffer.ready:
            self._wake.set()
            # A loop of one world would fill the buffer before the first batch leaves.
            await asyncio.sleep(0)

    async def flush(self) -> None:
        """Wait until all that was published is stored or given up. Raises `ClosedError`."""
        while self._is_open() and not self._buffer.idle:
            self._lingered()
            self._room.clear()
            await self._room.wait()

    def _is_open(self) -> bool:
        if self._closed is not None:
            raise self._closed
        return True

    def _measure(self) -> None:
        self._metrics.waiting.inc(self._buffer.events - self._measured)
        self._measured = self._buffer.events

    def _lingered(self) -> None:
        self._timer = None
        self._buffer.linger()
        self._wake.set()

    async def _send_all(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._has_window() and (taken := self._buffer.take()):
                self._room.set()
                await self._begin(*taken)
            self._measure()

    async def _begin(self, queue: Queue, batch: EventBatch) -> None:
        message = Outgoing(
            subject=queue.subject, payload=batch.SerializeToString(), message_id=message_id(batch)
        )
        now = asyncio.get_running_loop().time()
        sent = _OnItsWay(queue=queue, batch=batch, message=message, first_at=now, sent_at=now)
        self._on_their_way[sent] = None
        self._bytes += len(message.payload)
        await self._send(sent)

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
        if isinstance(fault, DuplicateError):
            if sent.batch.epoch and sent.times == 1:
                # It was not sent before: another publisher has used its id, which is drawn by chance.
                _LOG.error(
                    "%s is the id of a message of another publisher", sent.message.message_id
                )
                number = f"{sent.message.message_id}.{secrets.token_hex(8)}"
                sent.message = replace(sent.message, message_id=number)
            else:
                fault = None
        if fault is None:
            self._ended(sent, stored=True)
        else:
            sent.fault = fault

    def _ended(self, sent: _OnItsWay, *, stored: bool) -> None:
        if sent not in self._on_their_way:
            return
        del self._on_their_way[sent]
        self._bytes -= len(sent.message.payload)
        if stored:
            self._metrics.published.labels(str(sent.batch.source)).inc(len(sent.batch.events))
        self._buffer.sent(sent.queue)
        self._room.set()
        if self._buffer.ready:
            self._wake.set()

    async def _send_again(self) -> None:
        """What was not acknowledged in time, with the same id: the broker stores it once."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_CHECK_SECONDS)
            end_if_cancelled()
            now = loop.time()
            late = [
                each
                for each in self._on_their_way
                if now - each.sent_at >= (_FAULT_SECONDS if each.fault else self._ack_seconds)
            ]
            if late:
                await self._resend(late, now)

    async def _resend(self, late: list[_OnItsWay], now: float) -> None:
        oldest = max(late, key=lambda each: each.times)
        _LOG.warning(
            "%d batches are not stored, the oldest was sent %d times: %s",
            *(len(late), oldest.times, oldest.fault or "the bus did not acknowledge it"),
        )
        # Permissions are those of the time of the connection.
        refused = isinstance(oldest.fault, RefusedError)
        if oldest.times % (_RENEW_REFUSED_AFTER if refused else _RENEW_AFTER) == 0:
            await self._renew()
        for each in late:
            if each not in self._on_their_way:
                continue
            if not self._kept and each.times >= _MOST_TIMES:
                self._give_up(each)
                continue
            each.times += 1
            each.sent_at, each.fault = now, None
            self._metrics.resent.inc()
            await self._send(each)

    def _give_up(self, sent: _OnItsWay) -> None:
        for each in sent.batch.events:
            self._lost(each.type, Loss.DROPPED)
        self._ended(sent, stored=False)

    async def _renew(self) -> None:
        try:
            await self._log.renew()
        except BusError as error:
            _LOG.warning("the connection to the bus was not opened again: %s", error)
