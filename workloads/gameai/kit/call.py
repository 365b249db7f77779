"""PURE: what a method of a service gets with its request, or with an event."""

from collections.abc import Callable
from dataclasses import dataclass, field

from google.protobuf.message import Message
from psycopg import AsyncConnection

from gameai.bus.batches import MOST_BODY_BYTES
from gameai.bus.types import EventType, Types
from gameai.bus.v1.bus_pb2 import OVERFLOW_DROP_OLDEST

MOST_EVENTS, MOST_EVENT_BYTES = 10_000, 1 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Occurred:
    """An event as it came: wall clock and world time (µs) when its batch was opened, its publisher, epoch and number."""

    at_us: int
    world_us: int
    source: int
    epoch: int
    sequence: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Emitted:
    """An event that becomes known with the transaction: wall clock and world time in microseconds."""

    type: EventType
    body: bytes
    at_us: int
    world_us: int


class Emitter:
    """Checks events of one source before they are written."""

    def __init__(self, types: Types, source: int, now_us: Callable[[], int]) -> None:
        self._types, self._source, self._now_us = types, source, now_us

    def emitted(self, message: Message, world_us: int) -> Emitted:
        """The event. Raises ValueError where this service may not publish it, it may be lost, or it is too large."""
        kind = self._types.of(message)
        if kind.source != self._source:
            raise ValueError(
                f"{kind.name} is an event of source {kind.source}: source {self._source} may not publish it"
            )
        if kind.overflow == OVERFLOW_DROP_OLDEST:
            raise ValueError(
                f"{kind.name} may be lost (OVERFLOW_DROP_OLDEST): publish it by gameai.client.Bus, without the database"
            )
        body = message.SerializeToString()
        if len(body) > MOST_BODY_BYTES:
            raise ValueError(
                f"an event of {kind.name} has {len(body)} bytes: at most {MOST_BODY_BYTES} are allowed"
            )
        return Emitted(type=kind, body=body, at_us=self._now_us(), world_us=world_us)


@dataclass(kw_only=True, slots=True)
class Call:
    """A request or an event of a world, and the transaction in which it takes effect.

    `world` is `<namespace>/<name>`, and `now_us` its time in microseconds. `db` has an open transaction, which the kit commits
    once the method has returned. `event` is None for a request.
    """

    world: str
    now_us: int
    db: AsyncConnection
    # None: it reads alone.
    emitter: Emitter | None
    event: Occurred | None = None
    events: list[Emitted] = field(default_factory=list)
    event_bytes: int = 0

    def emit(self, message: Message, *, world_us: int | None = None) -> None:
        """Publish an event once the transaction is committed; `world_us` is the world's time, now where it is absent.

        Raises ValueError in a query, for a type of another source or one that may be lost, for more than 64 KiB, and for more
        than 10,000 events or 1 MiB of one call.
        """
        if self.emitter is None:
            raise ValueError("a query emits nothing: make it a mutation")
        at = self.now_us if world_us is None else world_us
        found = self.emitter.emitted(message, at)
        self.event_bytes += len(found.body)
        if len(self.events) >= MOST_EVENTS or self.event_bytes > MOST_EVENT_BYTES:
            raise ValueError(
                f"a call emits at most {MOST_EVENTS} events and {MOST_EVENT_BYTES} bytes"
            )
        self.events.append(found)
