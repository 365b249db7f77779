"""What the bus needs of a broker. `nats` is the real one; `gameai.testing` has one in memory with the same behaviour."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol

from gameai.bus.streams import Durable, Stream


class BusError(Exception):
    """The broker did not do what it was asked for; it may when it is asked again."""


class RefusedError(BusError):
    """The broker refuses this caller: the message says what it may not do."""


class StreamFullError(BusError):
    """The stream, or its part for the subject, is full and refuses more."""


class DuplicateError(BusError):
    """The broker has stored a message with this id already, and did not store this one.

    `sequence` is that of the first one. It may be gone: the broker remembers ids for a while.
    """

    def __init__(self, sequence: int) -> None:
        super().__init__("the broker has this message already")
        self.sequence = sequence


class MovedError(BusError):
    """The last message of the subject is not the one that was expected: it was changed since it was read.

    `last` is the sequence of the last message, 0 where there is none; None: another message is just being stored.
    """

    def __init__(self, message: str, last: int | None) -> None:
        super().__init__(message)
        self.last = last


@dataclass(frozen=True, kw_only=True, slots=True)
class Outgoing:
    """A message to store. The broker stores one `message_id` once within the duplicate window of its stream."""

    subject: str
    payload: bytes
    message_id: str = ""
    headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    # How long it is kept, where its stream allows that; 0: as long as its stream keeps it.
    kept_seconds: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Stored:
    """A message as it is in a stream; `at_us` is the broker's time when it was stored (microseconds since 1970)."""

    subject: str
    payload: bytes
    sequence: int
    at_us: int
    headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, kw_only=True, slots=True)
class Delivery:
    """A message that a consumer has, until it calls one of the three. `deliveries` counts from 1.

    `number` counts the deliveries of the consumer, to all its replicas; 0: the broker does not count them.

    `working` begins the time in which the broker waits again; it is for handlers that take long.
    """

    message: Stored
    deliveries: int
    number: int
    done: Callable[[], Awaitable[None]]
    again: Callable[[float], Awaitable[None]]
    working: Callable[[], Awaitable[None]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Start:
    """Where a replay begins: at a sequence of the stream, at a wall-clock time (seconds since 1970), or with what comes."""

    sequence: int | None = None
    time: float | None = None


def other_filters(name: str, revision: int) -> BusError:
    """Two programs, or releases of one, declare a durable consumer differently."""
    return BusError(
        f"the consumer {name} reads other subjects with the same revision {revision}: raise Group.revision where services change"
    )


# Called with None once the message is stored, or with what kept it from that: `DuplicateError` where one of its id is.
Done = Callable[[BusError | None], None]


class Subscription(Protocol):
    """A durable consumer, open in this process."""

    async def fetch(self, most: int, seconds: float) -> Sequence[Delivery]:
        """At most so many messages; empty where none came within the time. Raises `BusError`."""

    async def close(self) -> None:
        """Take no more messages. Those that were fetched may still be answered."""


class Log(Protocol):
    """A broker with streams, as JetStream has them."""

    async def send(self, message: Outgoing, done: Done) -> None:
        """Send without waiting for the answer, which `done` gets, once or never. Raises `BusError`."""

    async def store(self, message: Outgoing, *, after: int | None = None) -> int:
        """Store a message and return its sequence; `after` is the sequence that the last one of its subject must have, 0 for none.

        Raises `BusError`, `MovedError`, `DuplicateError`, `StreamFullError`.
        """

    async def last_sequence(self, stream: Stream, subject: str) -> int:
        """The sequence of the last message of a subject, 0 where there is none. The caller must be allowed to publish there.

        Raises `BusError`.
        """

    async def last(self, stream: Stream, subject: str) -> Stored | None:
        """The last message of a subject. Raises `BusError`."""

    async def first(self, stream: Stream, subject: str, sequence: int = 1) -> Stored | None:
        """The first message of a subject from this sequence on. Raises `BusError`."""

    async def remove(self, stream: Stream, subject: str, sequence: int) -> None:
        """Remove a message of a subject; one that is not there is no error. Raises `BusError`."""

    async def subscribe(self, durable: Durable) -> Subscription:
        """Open a durable consumer, and declare it where it is not there, or has a lower revision.

        A service of a world may not declare: the bus's controller does. Raises `BusError`, also where it has other filters
        with the same revision.
        """

    def replay(self, stream: Stream, subject: str, start: Start) -> AsyncGenerator[Stored, None]:
        """The messages of a subject, which may have wildcards, in order and without end. Raises `BusError`.

        After an error a replay can be opened behind the last message that came.
        """

    async def renew(self) -> None:
        """Open the connection again. Raises `BusError`."""
