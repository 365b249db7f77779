"""PURE: the streams of the bus and the consumers that the broker remembers, as they are declared to it."""

from dataclasses import dataclass, field
from enum import Enum

# Batches of one publisher are sent again within this time after they were sent first, or they may be stored twice.
DUPLICATE_SECONDS = 20.0


class Discard(Enum):
    """What a full stream does: it removes the oldest messages, or refuses new ones."""

    OLD = "old"
    NEW = "new"


@dataclass(frozen=True, kw_only=True, slots=True)
class Stream:
    """A stream. `most_bytes` are reserved on the disk, or in memory, of each server that has it."""

    name: str
    subjects: tuple[str, ...]
    most_seconds: float
    most_bytes: int
    on_disk: bool = True
    discard: Discard = Discard.OLD
    duplicate_seconds: float = DUPLICATE_SECONDS


_GIB = 1 << 30
# Events that are kept for a day: consumers catch up with them, and replays read them.
LOG = Stream(name="GAME_LOG", subjects=("log.>",), most_seconds=86_400, most_bytes=20 * _GIB)
# Events that may be lost.
AMBIENT = Stream(
    name="GAME_AMBIENT", subjects=("amb.>",), most_seconds=600, most_bytes=_GIB, on_disk=False
)
# Batches that a consumer has not handled, and orders to handle them again. It refuses rather than lose one.
DEAD_LETTERS = Stream(
    name="GAME_DLQ",
    subjects=("dlq.>", "redrive.>"),
    most_seconds=14 * 86_400,
    most_bytes=2 * _GIB,
    discard=Discard.NEW,
)
STREAMS = (LOG, AMBIENT, DEAD_LETTERS)


@dataclass(frozen=True, kw_only=True, slots=True)
class Durable:
    """A consumer that the broker remembers: replicas with the same name share its messages.

    With `most_pending` 1 they are handled one after the other, in order, whichever replica takes them.
    """

    name: str
    stream: Stream
    filters: tuple[str, ...] = field(default=())
    ack_seconds: float = 30.0
    most_pending: int = 1
