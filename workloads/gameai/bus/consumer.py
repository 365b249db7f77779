"""EDGE: handles the events of the bus: in order for each world, and a batch that cannot be handled stops its world alone.

A batch whose handler raises `PoisonError`, or fails five times, is stored as a dead letter, and its world is parked for
this consumer: the world's later batches follow it there, in order, without being tried. `redrive` handles them again.
Whether a world is parked is read from the stream of dead letters itself, so that every replica sees the same.
Batches of events that may be lost are passed over instead, and counted.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable

from gameai.bus import subjects
from gameai.bus.batches import DamagedBatchError, parsed
from gameai.bus.cancellation import end_if_cancelled
from gameai.bus.dead_letters import MOST_REASON, SEQUENCE, SUBJECT, Dead, is_letter_of
from gameai.bus.deliveries import address_of, batch_of, released
from gameai.bus.group import (
    WORLD_ACK_SECONDS,
    Group,
    Handler,
    PoisonError,
    Received,
    RetryError,
    WorldGroup,
)
from gameai.bus.log import (
    BusError,
    Delivery,
    Log,
    MovedError,
    Outgoing,
    RefusedError,
    Stored,
    Subscription,
)
from gameai.bus.metrics import BusMetrics
from gameai.bus.parking import Parking
from gameai.bus.streams import DEAD_LETTERS, Durable
from gameai.bus.subjects import Address
from gameai.bus.types import DamagedEventError, LaterSchemaError

_LOG = logging.getLogger(__name__)
# A handler that failed is called again after so many seconds each; then its batch is a dead letter.
BACKOFF = (0.5, 1.0, 2.0, 4.0)
MOST_TRIES = len(BACKOFF) + 1
# A handler that needs longer has timed out; the second time makes its batch a dead letter.
HANDLER_SECONDS = 20.0
_MOST_TIMEOUTS = 2
_LEAST_PAUSE_SECONDS = 0.5
# Deliveries after which nothing was said: the handler's process ended each time.
_MOST_SILENT = 10
# A batch of a later schema waits so long for a replica that knows it, and one of a service that this replica does not read
# for one that does.
_MOST_LATER_US, _MOST_FOREIGN_US = 3_600_000_000, 60_000_000
_FOREIGN_SECONDS = 1.0
_FETCH_SECONDS = 5.0
_LOST_SECONDS = 1.0
# A request that took so long has used a part of the time that the broker waits for an answer to a batch.
_LONG_SECONDS = 1.0
# A consumer that is refused opens another connection after so long; each time after twice as long.
_REFUSED_SECONDS, _MOST_REFUSED_SECONDS = 10.0, 300.0
_FINAL = (PoisonError, DamagedBatchError, DamagedEventError, LaterSchemaError)


class _OverdueError(Exception):
    """A handler took longer than it may."""


class _FailedError(Exception):
    """A handler, or the reading of its batch, failed. `final`: it would fail again; `overdue`: it took too long."""

    def __init__(self, error: Exception) -> None:
        super().__init__(f"{type(error).__name__.removeprefix('_')}: {error}"[:MOST_REASON])
        self.final = isinstance(error, _FINAL)
        self.overdue = isinstance(error, _OverdueError)


class Consumer:
    """Handles the batches of a group, one after the other, until it is cancelled. Any number of replicas may run."""

    def __init__(
        self,
        log: Log,
        group: Group | WorldGroup,
        handler: Handler,
        *,
        metrics: BusMetrics,
        handler_seconds: float = HANDLER_SECONDS,
        now_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        if isinstance(group, WorldGroup) and handler_seconds > HANDLER_SECONDS:
            raise ValueError(f"a handler of a world's service has at most {HANDLER_SECONDS:g} s")
        self._log, self._group, self._handler = log, group, handler
        self._metrics, self._parking = metrics, Parking()
        self._handler_seconds, self._now_us = handler_seconds, now_us

    async def run(self) -> None:
        """Handle batches and orders to redrive; a broker that is away is waited for."""
        ack_seconds = self._handler_seconds * WORLD_ACK_SECONDS / HANDLER_SECONDS
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._read(self._group.durable(ack_seconds), self._one))
            if not self._group.ambient:
                tasks.create_task(self._read(self._group.redrives(ack_seconds), self._redrive))

    async def _read(self, durable: Durable, handle: Callable[[Delivery], Awaitable[None]]) -> None:
        now, pause = asyncio.get_running_loop().time, _REFUSED_SECONDS
        while True:
            began = now()
            try:
                subscription = await self._log.subscribe(durable)
                try:
                    await self._fetched(subscription, durable, handle)
                finally:
                    await subscription.close()
            except RefusedError as error:
                if now() - began > _MOST_REFUSED_SECONDS:
                    pause = _REFUSED_SECONDS
                _LOG.warning("%s connects again in %g s: %s", durable.name, pause, error)
                await asyncio.sleep(pause)
                pause = min(2 * pause, _MOST_REFUSED_SECONDS)
                # Permissions are those of the time at which a connection was opened.
                with contextlib.suppress(BusError):
                    await self._log.renew()
            except BusError as error:
                end_if_cancelled()
                _LOG.warning("%s waits for the bus: %s", durable.name, error)
                await asyncio.sleep(_LOST_SECONDS)
                pause = _REFUSED_SECONDS

    async def _fetched(
        self,
        subscription: Subscription,
        durable: Durable,
        handle: Callable[[Delivery], Awaitable[None]],
    ) -> None:
        while True:
            for each in await subscription.fetch(durable.most_pending, _FETCH_SECONDS):
                async with released(each):
                    end_if_cancelled()
                    await handle(each)
            end_if_cancelled()

    async def _one(self, given: Delivery) -> None:
        self._parking.delivered(given.number)
        address = await address_of(given)
        if address is None:
            return
        if not self._group.reads(address.service):
            await self._left(given)
            return
        if self._group.ambient:
            await self._passed_over(address, given)
            return
        await self._kept(address, given)

    async def _left(self, given: Delivery) -> None:
        """Leave a batch to a replica of a higher revision; there is none after a rollback."""
        if not self._is_late(given.message, _MOST_FOREIGN_US):
            await given.again(_FOREIGN_SECONDS)
            return
        self._count("passed_over")
        _LOG.warning(
            "%s passes over batch %d of %s: no replica that reads this service took it within %d s",
            *(self._group.name, given.message.sequence, given.message.subject),
            _MOST_FOREIGN_US // 1_000_000,
        )
        await given.done()

    async def _passed_over(self, address: Address, given: Delivery) -> None:
        """Try a batch that may be lost."""
        dead = await self._tried(address, given)
        if dead is not None:
            self._count("dropped")
            _LOG.error(
                "%s drops batch %d: %s", self._group.name, given.message.sequence, dead.reason
            )
        await given.done()

    async def _kept(self, address: Address, given: Delivery) -> None:
        letters = self._group.letters(address)
        while True:
            try:
                if await self._settled(address, letters, given):
                    return
            except RefusedError:
                # Another connection may have other permissions.
                raise
            except BusError as error:
                # The stream of dead letters may be full. While this connection is open the batch stays here.
                _LOG.warning("%s waits for the bus: %s", self._group.name, error)
                await self._pause(given, _LOST_SECONDS)

    async def _settled(self, address: Address, letters: str, given: Delivery) -> bool:
        """Handle a batch, or store it as a dead letter; False: its world was parked or unparked meanwhile."""
        last = None if self._parking.is_open(letters) else await self._looked(letters, given)
        dead: Dead | None = Dead("its world is parked", 0)
        if last is None:
            dead = await self._tried(address, given)
        if dead is not None:
            self._parking.parked(letters)
            try:
                await self._bury(letters, given, dead, last)
            except MovedError:
                return False
        await given.done()
        return True

    async def _looked(self, letters: str, given: Delivery) -> Stored | None:
        """The last dead letter of a world; None: it is not parked."""
        began = asyncio.get_running_loop().time()
        last = await self._log.last(DEAD_LETTERS, letters)
        if asyncio.get_running_loop().time() - began > _LONG_SECONDS:
            # The handler has its whole time from now on.
            await given.working()
        if last is None:
            self._parking.opened(letters)
        elif self._parking.parked(letters):
            _LOG.warning("%s: a world is parked until a redrive: %s", self._group.name, letters)
        return last

    def _is_late(self, message: Stored, most_us: int) -> bool:
        """Whether no replica will come that can handle a batch."""
        # The broker's clock counts too: that of the publisher may be ahead.
        at_us = message.at_us
        with contextlib.suppress(DamagedBatchError):
            at_us = min(at_us, parsed(message.payload).at_us)
        return self._now_us() - at_us > most_us

    async def _tried(self, address: Address, given: Delivery) -> Dead | None:
        """Try a batch until it is handled, which is None, or cannot be handled. Raises `BusError`."""
        if given.deliveries > _MOST_SILENT:
            # The process ended each time, before it could say why.
            return Dead(f"{given.deliveries - 1} deliveries without an end", given.deliveries - 1)
        failures = timeouts = 0
        while True:
            try:
                await self._handled(address, given.message, given)
            except _FailedError as error:
                failed = error
            else:
                self._count("handled")
                return None
            failures, timeouts = failures + 1, timeouts + failed.overdue
            # The first time with the trace: its text alone, as a dead letter has it, may say little.
            trace = failed.__cause__ if failures == 1 else None
            if failed.final or timeouts >= _MOST_TIMEOUTS or failures >= MOST_TRIES:
                if trace:
                    _LOG.error("%s: %s", self._group.name, failed, exc_info=trace)
                return Dead(str(failed), failures)
            _LOG.warning(
                "%s did not handle batch %d (try %d): %s",
                *(self._group.name, given.message.sequence, failures, failed),
                exc_info=trace,
            )
            self._count("retried")
            await self._pause(given, BACKOFF[failures - 1])

    async def _pause(self, given: Delivery, seconds: float) -> None:
        end_if_cancelled()
        await given.working()
        await asyncio.sleep(seconds)
        await given.working()

    async def _handled(self, address: Address, message: Stored, given: Delivery) -> None:
        """Call the handler, again and again while something that it needs is away. Raises `_FailedError`, `BusError`."""
        try:
            batch = batch_of(address, message)
        except DamagedBatchError as error:
            raise _FailedError(error) from error
        redriven = given.message is not message
        # Only headers of dead letters are trusted: those of events come from their publishers.
        sequence = message.headers.get(SEQUENCE, "") if redriven else ""
        received = Received(
            address=address,
            batch=batch,
            sequence=int(sequence) if sequence.isdecimal() else message.sequence,
            deliveries=given.deliveries,
            redriven=redriven,
        )
        pause = _LEAST_PAUSE_SECONDS
        while True:
            try:
                await self._timed(received)
                return
            except LaterSchemaError as error:
                # A replica of the next release may be starting.
                if self._is_late(message, _MOST_LATER_US):
                    raise _FailedError(error) from error
            except (RetryError, BusError) as error:
                _LOG.warning("%s waits: %s", self._group.name, error)
            except Exception as error:
                raise _FailedError(error) from error
            await self._pause(given, pause)
            pause = min(2 * pause, self._handler_seconds / 2)

    async def _timed(self, received: Received) -> None:
        with self._metrics.handling.labels(self._group.consumer).time():
            try:
                async with asyncio.timeout(self._handler_seconds) as limit:
                    await self._handler(received)
            except TimeoutError as error:
                if not limit.expired():
                    raise
                raise _OverdueError(f"no end within {self._handler_seconds:g} s") from error
            except asyncio.CancelledError as error:
                # This consumer is not cancelled: something that its handler waited for was.
                task = asyncio.current_task()
                if task is not None and task.cancelling():
                    raise
                raise RuntimeError("the handler was cancelled by itself") from error

    async def _bury(self, letters: str, given: Delivery, dead: Dead, last: Stored | None) -> None:
        """Store a batch behind the last dead letter of its world. Raises `MovedError` where that is another one now."""
        message = given.message
        if last is not None and is_letter_of(last, message):
            return
        await self._log.store(dead.letter(letters, message), after=last.sequence if last else 0)
        self._count("dead_lettered")
        if last is None:
            _LOG.error(
                "%s cannot handle batch %d, and its world is parked (%s) until a redrive: %s",
                *(self._group.name, message.sequence, letters, dead.reason),
            )

    async def _redrive(self, order: Delivery) -> None:
        """Handle the dead letters of a world in order, up to the first that fails again."""
        address = await address_of(order)
        if address is None:
            return
        letters = self._group.letters(address)
        if order.deliveries > _MOST_SILENT:
            _LOG.error("the redrive of %s ended its process each time, and is given up", letters)
            await order.done()
            return
        while not await self._redriven(order, letters):
            await self._pause(order, _LOST_SECONDS)

    async def _redriven(self, order: Delivery, letters: str) -> bool:
        """Carry out an order; False: the bus was away, and the rest of it is left."""
        try:
            while letter := await self._log.first(DEAD_LETTERS, letters):
                await order.working()
                if not await self._once_more(order, letters, letter):
                    break
            await order.done()
        except RefusedError:
            raise
        except BusError as error:
            _LOG.warning("the redrive of %s waits for the bus: %s", letters, error)
            return False
        return True

    async def _once_more(self, order: Delivery, letters: str, letter: Stored) -> bool:
        """Whether a dead letter was handled now. Raises `BusError`."""
        try:
            original = subjects.parsed(letter.headers.get(SUBJECT, letter.subject))
            await self._handled(original, letter, order)
        except (_FailedError, ValueError) as error:
            _LOG.error("the redrive of %s stopped: %s", letters, error, exc_info=error.__cause__)
            self._count("retried")
            return False
        self._count("redriven")
        await self._log.remove(DEAD_LETTERS, letters, letter.sequence)
        return True

    def _count(self, result: str) -> None:
        self._metrics.handled.labels(self._group.consumer, result).inc()


async def redrive(log: Log, address: Address, consumer: str) -> None:
    """Order the consumer to handle the dead letters of this world again, in order. Raises `BusError`."""
    await log.store(Outgoing(subject=subjects.redrive(address, consumer), payload=b""))
