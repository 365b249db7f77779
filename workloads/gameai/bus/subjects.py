"""PURE: the identity of a world on the bus, and the subjects of its events."""

import re
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b

from gameai_contract.world_config import WorldConfig

SHARDS = 64
# Requests to the bus's controller about dead letters, and what they ask for.
LETTERS, FIRST, LAST, REMOVE = "letters", "first", "last", "remove"
# The set of worlds without a knowledge base.
NO_SET = "none"
# In place of a set: dead letters and orders of a consumer that reads one world, whose set may change. No set has this name.
OWN_SET = "own"
_NUMBER = re.compile(r"[0-9a-f]{16}")
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


def name_id(name: str) -> int:
    """The number of a name in an event: BLAKE2b-64 of its UTF-8 text, little-endian."""
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "little")


def inbox(account: str) -> str:
    """The first part of the subjects on which an account, `<namespace>/<name>`, gets answers. Names may have dots, a digest has none."""
    return f"_INBOX_{blake2b(account.encode(), digest_size=16).hexdigest()}"


@dataclass(frozen=True, kw_only=True, slots=True)
class World:
    """A world as the bus knows it. `number` is that of its uid; `world_set` is `<namespace>_<knowledge base>`, or `none`.

    Raises ValueError where a name cannot be a part of a subject.
    """

    namespace: str
    name: str
    number: int
    world_set: str = NO_SET

    def __post_init__(self) -> None:
        for each in (self.namespace, self.name):
            label(each)
        set_label(self.world_set)

    @property
    def shard(self) -> str:
        """Two hexadecimal digits: worlds are divided among the consumers of a service by it."""
        return f"{zlib.crc32(f'{self.namespace}/{self.name}'.encode()) % SHARDS:02x}"


def world(namespace: str, name: str, uid: str, knowledge_base: str = "") -> World:
    """A world from the names of its GameWorld and, if it has one, `<namespace>/<name>` of its KnowledgeBase.

    Raises ValueError where a name cannot be a part of a subject.
    """
    if knowledge_base and "/" not in knowledge_base:
        raise ValueError(f"{knowledge_base!r} is no knowledge base: write <namespace>/<name>")
    world_set = knowledge_base.replace("/", "_", 1) or NO_SET
    return World(namespace=namespace, name=name, number=name_id(uid), world_set=world_set)


def configured(config: WorldConfig) -> World | None:
    """The world of a configuration; None where its cluster has no event bus. Raises ValueError as `world` does."""
    bus = config.bus
    if bus is None:
        return None
    return world(config.namespace, config.world, bus.world, bus.knowledge_base)


def label(text: str) -> str:
    """The text itself, as one part of a subject. Raises ValueError where it is not a DNS label."""
    if not _LABEL.fullmatch(text):
        raise ValueError(
            f"{text!r} cannot be a part of a subject: use lower-case letters, digits and '-', at most 63"
        )
    return text


def set_label(text: str) -> str:
    """The text itself, as the name of a set of worlds. Raises ValueError where it is neither `none` nor `<namespace>_<name>`."""
    parts = text.split("_")
    if text != NO_SET and len(parts) != len(("namespace", "name")):
        raise ValueError(f"{text!r} is no set of worlds: it is {NO_SET} or <namespace>_<name>")
    for each in parts:
        label(each)
    return text


@dataclass(frozen=True, kw_only=True, slots=True)
class Address:
    """What a subject says: whose event it is, and of which service. `number` is that of the world: one made again has another."""

    world_set: str
    namespace: str
    world: str
    number: int
    service: str


def log(of: World, service: str) -> str:
    """The subject of events that are kept."""
    return f"log.{_place(of)}.{service}"


def ambient(of: World, service: str) -> str:
    """The subject of events that may be lost."""
    return f"amb.{_place(of)}.{service}"


def events_of(of: World, service: str = "*") -> str:
    """The subjects of a world's kept events, of one service or all, in whichever set the world was."""
    return f"log.*.*.{_identity(of)}.{service}"


def dead_letters(address: Address, consumer: str) -> str:
    """The subject of the batches that this consumer has not handled, of one world."""
    return f"dlq.{address.world_set}.{consumer}.{_world(address)}"


def dead_letters_of(world_set: str, consumer: str) -> str:
    """The subjects of a consumer's dead letters, of all worlds of a set."""
    return f"dlq.{world_set}.{consumer}.>"


def redrive(address: Address, consumer: str) -> str:
    """The subject of orders to handle the dead letters of a world again."""
    return f"redrive.{address.world_set}.{consumer}.{_world(address)}"


def redrives_of(world_set: str, consumer: str) -> str:
    """The subjects of a consumer's orders, of all worlds of a set."""
    return f"redrive.{world_set}.{consumer}.>"


def own(of: World, consumer: str) -> Address:
    """Where the dead letters and orders of a consumer that reads one world are."""
    return Address(
        world_set=OWN_SET,
        namespace=of.namespace,
        world=of.name,
        number=of.number,
        service=consumer,
    )


def letter_request(operation: str, letters: str) -> str:
    """The subject on which the bus's controller is asked for dead letters of this subject."""
    return f"{LETTERS}.{operation}.{letters.removeprefix('dlq.')}"


def filters(
    world_set: str, services: Iterable[str], shards: Iterable[int] = (), *, kept: bool = True
) -> tuple[str, ...]:
    """The subjects that a consumer reads: events of these services, in these shards; no shard means all."""
    first = "log" if kept else "amb"
    places = [f"{each:02x}" for each in sorted(shards)] or ["*"]
    return tuple(
        f"{first}.{world_set}.{place}.*.*.*.{service}"
        for place in places
        for service in sorted(services)
    )


def parsed(subject: str) -> Address:
    """What a subject of an event, of a dead letter or of a redrive says. Raises ValueError for others."""
    match subject.split("."):
        case ["log" | "amb", world_set, _, namespace, name, number, service]:
            pass
        case ["dlq" | "redrive", world_set, service, namespace, name, number]:
            pass
        case _:
            raise ValueError(f"{subject!r} is not a subject of the bus")
    if world_set != OWN_SET:
        set_label(world_set)
    for each in (namespace, name, service):
        label(each)
    if not _NUMBER.fullmatch(number):
        raise ValueError(f"{subject!r} has no number of a world, which is 16 hexadecimal digits")
    return Address(
        world_set=world_set,
        namespace=namespace,
        world=name,
        number=int(number, 16),
        service=service,
    )


def _place(of: World) -> str:
    return f"{of.world_set}.{of.shard}.{_identity(of)}"


def _identity(of: World) -> str:
    return f"{of.namespace}.{of.name}.{of.number:016x}"


def _world(of: Address) -> str:
    return f"{of.namespace}.{of.world}.{of.number:016x}"
