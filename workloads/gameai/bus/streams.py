"""PURE: the streams of the bus and the consumers that the broker remembers, as they are declared to it."""

from dataclasses import dataclass, field, replace
from enum import Enum
from hashlib import blake2b

# Batches of one publisher are sent again within this time after they were sent first, or they may be stored twice.
DUPLICATE_SECONDS = 20.0
# Twice the largest event.
MOST_BATCH_BYTES = 131_072
# A job with its question, or with its answer.
MOST_JOB_BYTES = 131_072


class Discard(Enum):
    """What a full stream does: it removes the oldest messages, or refuses new ones."""

    OLD = "old"
    NEW = "new"


class Keep(Enum):
    """What a stream keeps: all messages up to its limits, the last one of each subject, or each one until a consumer has handled it."""

    ALL = "all"
    LAST = "last"
    UNHANDLED = "unhandled"


@dataclass(frozen=True, kw_only=True, slots=True)
class Stream:
    """A stream. `most_bytes` are reserved on the disk of each server that has it; `most_seconds` 0 means without end.

    What is not replicated is on one server only.
    """

    name: str
    subjects: tuple[str, ...]
    most_seconds: float
    most_bytes: int
    # Larger messages are refused; a dead letter is one with more headers.
    most_message_bytes: int = MOST_BATCH_BYTES
    discard: Discard = Discard.OLD
    replicated: bool = True
    duplicate_seconds: float = DUPLICATE_SECONDS
    # Further messages of a subject are refused; 0: any number.
    most_per_subject: int = 0
    keep: Keep = Keep.ALL
    # Whether a message may say how long it is kept.
    own_times: bool = False


_GIB = 1 << 30
# Events that are kept for a day: consumers catch up with them, and replays read them.
LOG = Stream(name="GAME_LOG", subjects=("log.>",), most_seconds=86_400, most_bytes=13 * _GIB)
# Events that may be lost.
AMBIENT = Stream(
    name="GAME_AMBIENT", subjects=("amb.>",), most_seconds=600, most_bytes=_GIB, replicated=False
)
# Batches that a consumer has not handled. It keeps them until they are handled, and refuses rather than lose one. One world
# must not fill it.
DEAD_LETTERS = Stream(
    name="GAME_DLQ",
    subjects=("dlq.>",),
    most_seconds=0,
    most_bytes=2 * _GIB,
    most_message_bytes=MOST_BATCH_BYTES + (32 << 10),
    discard=Discard.NEW,
    most_per_subject=2000,
)
# Orders to handle dead letters again: apart from these, so that a full stream of dead letters can be emptied.
ORDERS = Stream(
    name="GAME_ORDERS", subjects=("redrive.>",), most_seconds=7 * 86_400, most_bytes=_GIB // 16
)
# Jobs as they are, and the ids of those that wait, for gateways alone. Each is kept as long as its job says.
JOBS = Stream(
    name="GAME_JOBS",
    subjects=("job.>",),
    most_seconds=3 * 86_400,
    most_bytes=2 * _GIB,
    most_message_bytes=MOST_JOB_BYTES,
    discard=Discard.NEW,
    keep=Keep.LAST,
    own_times=True,
)
WORK = Stream(
    name="GAME_WORK",
    subjects=("work.>",),
    most_seconds=2 * 86_400,
    most_bytes=_GIB // 16,
    most_message_bytes=1024,
    discard=Discard.NEW,
    most_per_subject=1000,
    keep=Keep.UNHANDLED,
    own_times=True,
)
STREAMS = (LOG, AMBIENT, DEAD_LETTERS, ORDERS, JOBS, WORK)


@dataclass(frozen=True, kw_only=True, slots=True)
class StreamUse:
    """What a stream holds, and how many bytes it may hold."""

    name: str
    bytes: int
    most_bytes: int
    messages: int
    consumers: int


def streams(disk_bytes: int) -> tuple[Stream, ...]:
    """The streams in the proportions above, on servers that have so much disk for them. A tenth of it stays free."""
    whole = sum(each.most_bytes for each in STREAMS)
    return tuple(
        replace(each, most_bytes=disk_bytes * 9 * each.most_bytes // (10 * whole))
        for each in STREAMS
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Durable:
    """A consumer that the broker remembers: replicas with the same name share its messages.

    Its filters are those of the replica with the highest revision; replicas with a lower one take what these find.
    With `most_pending` 1 they are handled one after the other, in order, whichever replica takes them.
    """

    name: str
    stream: Stream
    filters: tuple[str, ...] = field(default=())
    revision: int = 1
    ack_seconds: float = 30.0
    most_pending: int = 1
    # `<namespace>/<world>` whose service it is for, where the bus's controller declares it.
    world: str = ""
    # The broker removes it when no program has asked it for messages for this time; 0: it stays.
    idle_seconds: float = 0.0

    @property
    def digest(self) -> str:
        """Differs where anything that is declared differs."""
        declared = (sorted(self.filters), self.revision, self.ack_seconds, self.most_pending)
        return blake2b(repr(declared).encode(), digest_size=8).hexdigest()


@dataclass(frozen=True, kw_only=True, slots=True)
class ConsumerUse:
    """A durable consumer as the broker has it; `pending` messages were not handled yet.

    `digest` is that of the `Durable` it was declared as; empty: not known now.
    """

    name: str
    stream: str
    world: str
    digest: str
    pending: int = 0
