"""PURE: a consumer as its service declares it, and what its handler gets and may raise."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from gameai.bus import subjects
from gameai.bus.batches import message_id
from gameai.bus.streams import AMBIENT, LOG, ORDERS, Durable
from gameai.bus.subjects import Address, World
from gameai.bus.v1.bus_pb2 import EventBatch

# How long the broker waits for an answer to a batch, where the bus's controller declares the consumer.
WORLD_ACK_SECONDS = 30.0


class PoisonError(Exception):
    """A handler cannot handle this batch, now or later: the message says why. It becomes a dead letter at once."""


class RetryError(Exception):
    """Something that the handler needs is away. The consumer waits, and tries the batch again; no world is parked.

    A `BusError` of a handler means the same.
    """


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
    """What replicas of a consumer have in common: the worlds of a set, the services whose events they read, and shards.

    Shards follow each other; none means all. A change of `services` needs a higher `revision`: while replicas of both run,
    batches of a service that is new wait for a replica that reads it. Raises ValueError where that does not hold, or a name
    cannot be a part of a subject.
    """

    world_set: str
    consumer: str
    services: tuple[str, ...]
    shards: tuple[int, ...] = ()
    ambient: bool = False
    revision: int = 1

    def __post_init__(self) -> None:
        subjects.set_label(self.world_set)
        for each in (self.consumer, *self.services):
            subjects.label(each)
        if self.shards and self.shards != tuple(range(self.shards[0], self.shards[-1] + 1)):
            raise ValueError(f"the shards {self.shards} of {self.consumer} must follow each other")

    @property
    def name(self) -> str:
        """The name by which the broker remembers its position. A consumer with other shards begins with what the stream has."""
        shards = f"_{self.shards[0]:02x}-{self.shards[-1]:02x}" if self.shards else ""
        return f"{self.world_set}_{self.consumer}{shards}{'_ambient' if self.ambient else ''}"

    def reads(self, service: str) -> bool:
        """Whether this release reads the events of a service; the durable consumer may be that of a later one."""
        return service in self.services

    def letters(self, address: Address) -> str:
        """The subject of the dead letters of a world."""
        return subjects.dead_letters(address, self.consumer)

    def durable(self, ack_seconds: float) -> Durable:
        """The consumer that the broker remembers."""
        return Durable(
            name=self.name,
            stream=AMBIENT if self.ambient else LOG,
            filters=subjects.filters(
                self.world_set, self.services, self.shards, kept=not self.ambient
            ),
            ack_seconds=ack_seconds,
            revision=self.revision,
        )

    def redrives(self, ack_seconds: float) -> Durable:
        """The consumer of its orders to handle dead letters again."""
        return Durable(
            name=f"{self.world_set}_{self.consumer}_redrive",
            stream=ORDERS,
            filters=(subjects.redrives_of(self.world_set, self.consumer),),
            ack_seconds=ack_seconds,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class WorldGroup:
    """The replicas of a service that consumes events of its own world.

    The bus's controller declares its consumer with the `services` that the GameWorld names; replicas need not name them.
    """

    world: World
    consumer: str
    services: tuple[str, ...] = ()

    @property
    def ambient(self) -> bool:
        """Whether it reads events that may be lost."""
        return False

    @property
    def name(self) -> str:
        """The name by which the broker remembers its position. A world that is created again has another."""
        of = self.world
        return f"{of.namespace}_{of.name}_{of.number:016x}_{self.consumer}"

    def reads(self, service: str) -> bool:  # noqa: ARG002 - as `Group` has it
        """All that the broker delivers: replicas learn later than the broker what the GameWorld names."""
        return True

    def letters(self, address: Address) -> str:  # noqa: ARG002 - as `Group` has it
        """As `own_letters`: a consumer of one world has one subject of dead letters."""
        return self.own_letters

    @property
    def own_letters(self) -> str:
        """The subject of its dead letters."""
        return subjects.dead_letters(self._own, self.consumer)

    def durable(self, ack_seconds: float = WORLD_ACK_SECONDS) -> Durable:
        """The consumer that the broker remembers."""
        read = [subjects.events_of(self.world, each) for each in sorted(self.services)]
        return Durable(
            name=self.name,
            stream=LOG,
            filters=tuple(read) or (subjects.events_of(self.world),),
            ack_seconds=ack_seconds,
            world=f"{self.world.namespace}/{self.world.name}",
        )

    def redrives(self, ack_seconds: float = WORLD_ACK_SECONDS) -> Durable:
        """The consumer of its orders to handle dead letters again."""
        return Durable(
            name=self.name,
            stream=ORDERS,
            filters=(subjects.redrive(self._own, self.consumer),),
            ack_seconds=ack_seconds,
            world=f"{self.world.namespace}/{self.world.name}",
        )

    @property
    def _own(self) -> Address:
        return subjects.own(self.world, self.consumer)
