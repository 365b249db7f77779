"""PURE: batches of events as they are on the wire, and those that wait to be sent.

A world has one batch on its way at a time, so that batches of a world are stored in order whatever is lost or refused on
the way. While one is on its way the next one fills.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

from google.protobuf.message import DecodeError, Message

from gameai.bus.subjects import World, ambient, log
from gameai.bus.types import EventType
from gameai.bus.v1.bus_pb2 import (
    OVERFLOW_COALESCE,
    OVERFLOW_DROP_OLDEST,
    Event,
    EventBatch,
)

MOST_BODY_BYTES = 65_536
_MOST_DELTA_US = _MOST_TRACE = (1 << 32) - 1
_MOST_WORLD_US = (1 << 63) - 1
_MOST_SEQUENCE = (1 << 64) - 1
_MOST_QUEUES = 20_000


class Loss(Enum):
    """How an event ended that was not sent, as its type allows: for want of room, or for a newer one about the same thing."""

    DROPPED = "dropped"
    REPLACED = "replaced"


class DamagedBatchError(Exception):
    """A message of the bus is not a batch."""


def parsed(payload: bytes) -> EventBatch:
    """The batch of a message. Raises `DamagedBatchError`."""
    try:
        found = EventBatch.FromString(payload)
    except DecodeError as error:
        raise DamagedBatchError("the message is not an EventBatch") from error
    if not found.events:
        raise DamagedBatchError("the batch has no events")
    foreign = next((each.type for each in found.events if each.type >> 4 != found.source), None)
    if foreign is not None:
        raise DamagedBatchError(
            f"the batch of source {found.source} has an event of source {foreign >> 4}"
        )
    return found


def message_id(batch: EventBatch) -> str:
    """By this the broker knows a batch that is sent again: `<world>.<source>.<epoch>.<first sequence number>`."""
    return f"{batch.world:x}.{batch.source}.{batch.epoch:x}.{batch.first_sequence}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Of a publisher. A batch is sent once it has so many events or bytes, or its first event has waited for so long.

    Where nothing waits, an event has room whatever its size. Raises ValueError where nothing could ever be sent.
    """

    batch_events: int = 64
    batch_bytes: int = 32_768
    linger_seconds: float = 0.002
    # Batches on their way, of all worlds.
    window: int = 2048
    window_bytes: int = 8 << 20
    # Events that wait, of all worlds.
    waiting_events: int = 16_384
    waiting_bytes: int = 8 << 20

    def __post_init__(self) -> None:
        if min(self.batch_events, self.window, self.window_bytes, self.waiting_events) < 1:
            raise ValueError(f"each limit of a publisher must be at least 1: {self}")


@dataclass(slots=True, kw_only=True)
class _Waiting:
    """A batch that is not full, or not sent. `about` finds its events that a newer one may replace."""

    batch: EventBatch
    size: int = 0
    about: dict[tuple[object, ...], Event] = field(default_factory=dict)
    # Its number is given: it is one event.
    numbered: bool = False


@dataclass(slots=True, kw_only=True, eq=False)
class Queue:
    """The batches of one world that wait. `last_given` is the last sequence number that the service itself gave."""

    world: World
    subject: str
    epoch: int
    next_sequence: int = 1
    last_given: int = 0
    waiting: deque[_Waiting] = field(default_factory=deque)
    sending: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Occurrence:
    """An event to publish: its type and message, wall clock and world time in microseconds, and where it is counted by world time its number.

    Raises ValueError for what does not fit the wire.
    """

    type: EventType
    message: Message
    at_us: int
    world_us: int
    trace: int = 0
    sequence: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.trace <= _MOST_TRACE:
            raise _out_of("trace", self.trace, 0, _MOST_TRACE)
        if not -_MOST_WORLD_US <= self.world_us <= _MOST_WORLD_US:
            raise _out_of("world_us", self.world_us, -_MOST_WORLD_US, _MOST_WORLD_US)
        if self.sequence is not None and not 1 <= self.sequence <= _MOST_SEQUENCE:
            raise _out_of("sequence", self.sequence, 1, _MOST_SEQUENCE)


class Buffer:
    """The events of one service that wait to be sent, in order for each world: those that are kept, or those that may be lost.

    Not thread-safe.
    """

    def __init__(
        self,
        service: str,
        source: int,
        limits: Limits,
        *,
        kept: bool,
        draw_epoch: Callable[[], int],
        on_loss: Callable[[int, Loss], None],
    ) -> None:
        self._subject = log if kept else ambient
        self._service, self._source, self._limits = service, source, limits
        self._draw_epoch, self._on_loss = draw_epoch, on_loss
        self._queues: dict[World, Queue] = {}
        self._lingering: dict[Queue, None] = {}
        self._ready: dict[Queue, None] = {}
        self.events = 0
        self._bytes = 0
        self._sending = 0

    @property
    def ready(self) -> bool:
        """Whether a batch can be sent now."""
        return bool(self._ready)

    @property
    def lingering(self) -> bool:
        """Whether a batch waits for more events."""
        return bool(self._lingering)

    @property
    def idle(self) -> bool:
        """Whether every event is stored."""
        return not self.events and not self._sending

    def add(self, world: World, given: Occurrence) -> bool:
        """Take an event; False: there is no room, and its type does not allow to lose one.

        Raises ValueError where it is too large, or its sequence number is not above the last one of its world.
        """
        body = given.message.SerializeToString()
        if len(body) > MOST_BODY_BYTES:
            raise ValueError(
                f"an event of {given.type.name} has {len(body)} bytes: at most {MOST_BODY_BYTES} are allowed"
            )
        queue = self._queue(world)
        if given.sequence is not None and given.sequence <= queue.last_given:
            raise ValueError(
                f"sequence {given.sequence} of {given.type.name} is not above {queue.last_given}, the last one of world {world.namespace}/{world.name}: "
                "all events that a service numbers for a world share one sequence, by which consumers know them"
            )
        if self._full(len(body)) and not self._made_room(queue, given, body):
            return given.type.overflow == OVERFLOW_DROP_OLDEST or self._replaced(queue, given, body)
        self._append(queue, given, body)
        return True

    def linger(self) -> None:
        """What has waited for more events need not wait any longer."""
        self._ready.update(self._lingering)
        self._lingering.clear()

    def take(self) -> tuple[Queue, EventBatch] | None:
        """The next batch to send, or None. Its world has no other until `sent`."""
        if not self._ready:
            return None
        queue = next(iter(self._ready))
        del self._ready[queue]
        taken = queue.waiting.popleft()
        self.events -= len(taken.batch.events)
        self._bytes -= taken.size
        if not taken.numbered:
            taken.batch.first_sequence = queue.next_sequence
            queue.next_sequence += len(taken.batch.events)
        queue.sending = True
        self._sending += 1
        return queue, taken.batch

    def sent(self, queue: Queue) -> None:
        """The batch of this queue is stored, or given up."""
        queue.sending = False
        self._sending -= 1
        if queue.waiting:
            self._ready[queue] = None

    def _queue(self, world: World) -> Queue:
        found = self._queues.get(world)
        if found is None:
            if len(self._queues) >= _MOST_QUEUES:
                self._forget()
            subject = self._subject(world, self._service)
            found = Queue(world=world, subject=subject, epoch=self._draw_epoch())
            self._queues[world] = found
        return found

    def _forget(self) -> None:
        """Worlds without events. Should one have events again, they are counted in another epoch."""
        busy = {key: each for key, each in self._queues.items() if each.waiting or each.sending}
        self._queues = busy

    def _full(self, size: int) -> bool:
        limits = self._limits
        if not self.events:
            return False
        return self.events >= limits.waiting_events or self._bytes + size > limits.waiting_bytes

    def _made_room(self, queue: Queue, given: Occurrence, body: bytes) -> bool:
        """Drop the oldest events of this world that may be lost, or the one that is given."""
        if given.type.overflow != OVERFLOW_DROP_OLDEST:
            return False
        while queue.waiting and self._full(len(body)):
            self._drop(queue)
        if self._full(len(body)):
            self._on_loss(given.type.number, Loss.DROPPED)
            return False
        return True

    def _drop(self, queue: Queue) -> None:
        first = queue.waiting[0]
        lost = first.batch.events[0]
        size, number = len(lost.body), lost.type
        del first.batch.events[0]
        first.size -= size
        self._bytes -= size
        self.events -= 1
        self._on_loss(number, Loss.DROPPED)
        if not first.batch.events:
            queue.waiting.popleft()
        if not queue.waiting:
            self._ready.pop(queue, None)
            self._lingering.pop(queue, None)

    def _replaced(self, queue: Queue, given: Occurrence, body: bytes) -> bool:
        """Whether an event that waits, about the same thing, now is this one."""
        if given.type.overflow != OVERFLOW_COALESCE or given.sequence is not None:
            return False
        about = given.type.about(given.message)
        for each in queue.waiting:
            older = each.about.get(about)
            if older is not None:
                more = len(body) - len(older.body)
                if not self._may_grow(each, more):
                    return False
                each.size += more
                self._bytes += more
                _fill(older, each.batch, given, body)
                self._on_loss(given.type.number, Loss.REPLACED)
                return True
        return False

    def _may_grow(self, waiting: _Waiting, more: int) -> bool:
        alone = len(waiting.batch.events) == 1
        fits = alone or waiting.size + more <= self._limits.batch_bytes
        return more <= 0 or (fits and self._bytes + more <= self._limits.waiting_bytes)

    def _append(self, queue: Queue, given: Occurrence, body: bytes) -> None:
        waiting = queue.waiting[-1] if queue.waiting else None
        if waiting is None or not self._fits(waiting, given, len(body)):
            waiting = _Waiting(
                batch=EventBatch(
                    world=queue.world.number,
                    source=self._source,
                    epoch=0 if given.sequence is not None else queue.epoch,
                    first_sequence=given.sequence or 0,
                    at_us=given.at_us,
                    world_us=given.world_us,
                ),
                numbered=given.sequence is not None,
            )
            queue.waiting.append(waiting)
            queue.last_given = given.sequence or queue.last_given
        event = waiting.batch.events.add()
        _fill(event, waiting.batch, given, body)
        if given.type.overflow == OVERFLOW_COALESCE and not waiting.numbered:
            waiting.about[given.type.about(given.message)] = event
        waiting.size += len(body)
        self.events += 1
        self._bytes += len(body)
        if not queue.sending:
            self._wait(queue, waiting)

    def _fits(self, waiting: _Waiting, given: Occurrence, size: int) -> bool:
        limits, batch = self._limits, waiting.batch
        return (
            not waiting.numbered
            and given.sequence is None
            and len(batch.events) < limits.batch_events
            and waiting.size + size <= limits.batch_bytes
            and 0 <= given.at_us - batch.at_us <= _MOST_DELTA_US
        )

    def _wait(self, queue: Queue, waiting: _Waiting) -> None:
        limits = self._limits
        full = (
            len(queue.waiting) > 1
            or waiting.numbered
            or len(waiting.batch.events) >= limits.batch_events
            or waiting.size >= limits.batch_bytes
        )
        if full:
            self._lingering.pop(queue, None)
            self._ready[queue] = None
        elif queue not in self._ready:
            self._lingering[queue] = None


def _out_of(name: str, value: int, least: int, most: int) -> ValueError:
    return ValueError(f"{name} is {value}: it must be from {least} to {most}")


def _fill(event: Event, batch: EventBatch, given: Occurrence, body: bytes) -> None:
    event.delta_us = max(0, min(given.at_us - batch.at_us, _MOST_DELTA_US))
    event.trace = given.trace
    event.schema = given.type.schema
    event.type = given.type.number
    event.body = body
