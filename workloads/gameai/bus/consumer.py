"""EDGE: handles the events of the bus: in order for each world, and a batch that cannot be handled stops its world alone.

A batch whose handler raises `PoisonError`, or fails five times, is stored as a dead letter, and its world is parked for
this consumer: the world's later batches follow it there, in order, without being tried. `redrive` handles them again.
Whether a world is parked is read from the stream of dead letters itself, so that every replica sees the same.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from gameai.bus import subjects
from gameai.bus.batches import DamagedBatchError, message_id, parsed
from gameai.bus.log import BusError, Delivery, Log, MovedError, Outgoing, Stored, Subscription
from gameai.bus.metrics import BusMetrics
from gameai.bus.streams import AMBIENT, DEAD_LETTERS, LOG, Durable
from gameai.bus.subjects import Address
from gameai.bus.types import DamagedEventError, LaterSchemaError
from gameai.bus.v1.bus_pb2 import EventBatch

_LOG = logging.getLogger(__name__)
# A batch that was not handled is tried again after so many seconds each; then it is a dead letter.
BACKOFF = (0.5, 1.0, 2.0, 4.0)
MOST_DELIVERIES = len(BACKOFF) + 1
# A handler that needs longer has timed out; the second time makes its batch a dead letter.
HANDLER_SECONDS = 20.0
_MOST_TIMEOUTS = 2
_LEAST_PAUSE_SECONDS = 0.5
# Deliveries after which nothing was said: the handler's process ended each time.
_MOST_SILENT = 10
# A batch of a later schema waits so long for a replica that knows it.
_MOST_LATER_US = 3_600_000_000
_FETCH_SECONDS = 5.0
_LOST_SECONDS = 1.0
# Headers of a dead letter.
REASON, DELIVERIES, SEQUENCE, SUBJECT = (
    "Gameai-Reason",
    "Gameai-Deliveries",
    "Gameai-Sequence",
    "Gameai-Subject",
)
_MOST_REASON = 500


class PoisonError(Exception):
    """A handler cannot handle this batch, now or later: the message says why. It becomes a dead letter at once."""


_FINAL = (PoisonError, DamagedBatchError, DamagedEventError, LaterSchemaError)


class RetryError(Exception):
    """Something that the handler needs is away. The consumer waits, and tries the batch again; no world is parked."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Received:
    """A batch as a handler gets it. The same batch may come again: `id` and its sequence numbers stay the same."""

    address: Address
    batch: EventBatch
    # Of the stream, for replays; that of the dead letter's original in a redrive.
    sequence: int
    deliveries: int
    redriven: bool = False

    @property
    def id(self) -> str:
        """The batch's identity: `<world>.<source>.<epoch>.<first sequence number>`."""
        return message_id(self.batch)


Handler = Callable[[Received], Awaitable[None]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """What replicas of a consumer have in common: the worlds of a set, the services whose events they read, and shards; none means all."""

    world_set: str
    consumer: str
    services: tuple[str, ...]
    shards: tuple[int, ...] = ()
    ambient: bool = False

    def durable(self, ack_seconds: float) -> Durable:
        """The consumer that the broker remembers."""
        shards = f"_{min(self.shards):02x}" if self.shards else ""
        kind = "_ambient" if self.ambient else ""
        return Durable(
            name=f"{self.world_set}_{self.consumer}{shards}{kind}",
            stream=AMBIENT if self.ambient else LOG,
            filters=subjects.filters(
                self.world_set, self.services, self.shards, kept=not self.ambient
            ),
            ack_seconds=ack_seconds,
        )

    def redrives(self, ack_seconds: float) -> Durable:
        """The consumer of its orders to handle dead letters again."""
        return Durable(
            name=f"{self.world_set}_{self.consumer}_redrive",
            stream=DEAD_LETTERS,
            filters=(subjects.redrives_of(self.world_set, self.consumer),),
            ack_seconds=ack_seconds,
        )


class Consumer:
    """Handles the batches of a group, one after the other, until it is cancelled. Any number of replicas may run."""

    def __init__(
        self,
        log: Log,
        group: Group,
        handler: Handler,
        *,
        metrics: BusMetrics,
        handler_seconds: float = HANDLER_SECONDS,
        now_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        self._log, self._group, self._handler = log, group, handler
        self._metrics = metrics
        self._handler_seconds, self._now_us = handler_seconds, now_us
        self._timeouts: dict[int, int] = {}

    async def run(self) -> None:
        """Handle batches and orders to redrive; a broker that is away is waited for."""
        ack_seconds = self._handler_seconds * 1.5
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._read(self._group.durable(ack_seconds), self._one))
            tasks.create_task(self._read(self._group.redrives(ack_seconds), self._redrive))

    async def _read(self, durable: Durable, handle: Callable[[Delivery], Awaitable[None]]) -> None:
        subscription: Subscription | None = None
        while True:
            try:
                subscription = subscription or await self._log.subscribe(durable)
                for each in await subscription.fetch(durable.most_pending, _FETCH_SECONDS):
                    await handle(each)
            except BusError as error:
                _LOG.warning("%s waits for the bus: %s", durable.name, error)
                subscription = None
                await asyncio.sleep(_LOST_SECONDS)

    async def _one(self, given: Delivery) -> None:
        try:
            address = subjects.parsed(given.message.subject)
        except ValueError:
            _LOG.exception("a message is none of the bus, and is passed over")
            await given.done()
            return
        letters = subjects.dead_letters(address, self._group.consumer)
        while True:
            last = await self._log.last(DEAD_LETTERS, letters)
            reason = "its world is parked"
            if last is None:
                found = await self._tried(address, given)
                if found is None:
                    return
                reason = found
            with contextlib.suppress(MovedError):
                await self._bury(letters, given, reason, last)
                await given.done()
                return

    async def _tried(self, address: Address, given: Delivery) -> str | None:
        """Try a batch. None: it is handled, or comes again; else why it is a dead letter."""
        if given.deliveries > _MOST_SILENT:
            # Its handler, or the process, did not live to say why.
            return f"{given.deliveries - 1} deliveries without an end"
        try:
            await self._handled(address, given.message, given)
        except Exception as error:  # noqa: BLE001 - of a handler, which may raise anything
            return await self._failed(given, error)
        self._count("handled")
        await given.done()
        return None

    async def _failed(self, given: Delivery, error: Exception) -> str | None:
        """Why a batch is a dead letter; None: it comes again."""
        words, sequence = _words(error), given.message.sequence
        timed_out = isinstance(error, TimeoutError)
        times = self._timeouts.pop(sequence, 0) + timed_out
        if (
            isinstance(error, _FINAL)
            or times >= _MOST_TIMEOUTS
            or given.deliveries >= MOST_DELIVERIES
        ):
            return words
        if timed_out:
            # Of the batches before it none comes again.
            self._timeouts = {sequence: times}
        _LOG.warning(
            "%s did not handle batch %d (delivery %d): %s",
            *(self._group.consumer, sequence, given.deliveries, words),
        )
        self._count("retried")
        await given.again(BACKOFF[given.deliveries - 1])
        return None

    async def _handled(self, address: Address, message: Stored, given: Delivery) -> None:
        """Call the handler, again and again while something that it needs is away. Raises what it raises else."""
        batch = parsed(message.payload)
        received = Received(
            address=address,
            batch=batch,
            sequence=int(message.headers.get(SEQUENCE, message.sequence)),
            deliveries=given.deliveries,
            redriven=given.message is not message,
        )
        pause = _LEAST_PAUSE_SECONDS
        while True:
            try:
                await self._timed(received)
                return
            except LaterSchemaError:
                # A replica of the next release may be starting.
                if self._now_us() - batch.at_us > _MOST_LATER_US:
                    raise
            except RetryError as error:
                _LOG.warning("%s waits: %s", self._group.consumer, error)
            await given.working()
            await asyncio.sleep(pause)
            await given.working()
            pause = min(2 * pause, self._handler_seconds / 2)

    async def _timed(self, received: Received) -> None:
        with self._metrics.handling.labels(self._group.consumer).time():
            async with asyncio.timeout(self._handler_seconds):
                await self._handler(received)

    async def _bury(self, letters: str, given: Delivery, reason: str, last: Stored | None) -> None:
        """Store a batch behind the last dead letter of its world. Raises `MovedError` where that is another one now."""
        message = given.message
        if last is not None and last.headers.get(SEQUENCE) == str(message.sequence):
            return
        headers = {
            REASON: reason.encode("ascii", "backslashreplace").decode().replace("\n", " "),
            DELIVERIES: str(given.deliveries),
            SEQUENCE: str(message.sequence),
            SUBJECT: message.subject,
        }
        stored = Outgoing(subject=letters, payload=message.payload, headers=headers)
        await self._log.store(stored, after=last.sequence if last else 0)
        self._count("dead_lettered")
        if last is None:
            _LOG.error(
                "%s cannot handle batch %d, and its world is parked (%s) until a redrive: %s",
                *(self._group.consumer, message.sequence, letters, reason),
            )

    async def _redrive(self, order: Delivery) -> None:
        """Handle the dead letters of a world in order, up to the first that fails again."""
        address = subjects.parsed(order.message.subject)
        letters = subjects.dead_letters(address, self._group.consumer)
        while letter := await self._log.first(DEAD_LETTERS, letters):
            await order.working()
            original = subjects.parsed(letter.headers.get(SUBJECT, letter.subject))
            try:
                await self._handled(original, letter, order)
            except Exception as error:  # noqa: BLE001 - of a handler, which may raise anything
                _LOG.error("the redrive of %s stopped: %s", letters, _words(error))
                self._count("retried")
                break
            self._count("redriven")
            await self._log.remove(DEAD_LETTERS, letter.sequence)
        await order.done()

    def _count(self, result: str) -> None:
        self._metrics.handled.labels(self._group.consumer, result).inc()


async def redrive(log: Log, address: Address, consumer: str) -> None:
    """Order the consumer to handle the dead letters of this world again, in order. Raises `BusError`."""
    await log.store(Outgoing(subject=subjects.redrive(address, consumer), payload=b""))


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:_MOST_REASON]
