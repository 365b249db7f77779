"""PURE: what a ServiceAccount may do on the bus, read from the WorldViews that the operator publishes."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from gameai.bus import subjects
from gameai.bus.group import WorldGroup
from gameai.bus.streams import DEAD_LETTERS, JOBS, WORK
from gameai.bus.subjects import World
from gameai.cluster.world_views import is_current

# An account with more services, of all its worlds, is refused: its permissions would not fit a message of the servers, and
# take long to sign. A service that consumes counts as five; a world has at most 32.
MOST_SERVICES = 160
_WEIGHT_OF_CONSUMER = 4
# What `grants` raises for a WorldView that cannot be read.
UNREADABLE = (ValueError, LookupError, TypeError, AttributeError)
_ACCOUNT = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")


@dataclass(frozen=True, kw_only=True, slots=True)
class Grant:
    """The services of a world that run as an account, `<namespace>/<name>`, and those of them that consume events."""

    account: str
    world: World
    services: tuple[str, ...]
    consumers: tuple[WorldGroup, ...] = ()

    @property
    def weight(self) -> int:
        """Services, as they count for the limit of an account."""
        return len(self.services) + _WEIGHT_OF_CONSUMER * len(self.consumers)


@dataclass(frozen=True, kw_only=True, slots=True)
class Permissions:
    """Subjects that a connection may publish to and subscribe to; neither is ever empty, which would allow everything."""

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]
    # Whether the connection is with the streams themselves, and not with what worlds see of them.
    inside: bool = False


def of_gateways(account: str) -> Permissions:
    """What gateways, which run as this account, may do: use jobs and their queues, and nothing else."""
    work, jobs = WORK.name, JOBS.name
    return Permissions(
        publish=(
            "job.>",
            "work.>",
            f"$JS.API.STREAM.INFO.{jobs}",
            f"$JS.API.STREAM.MSG.GET.{jobs}",
            f"$JS.API.STREAM.INFO.{work}",
            f"$JS.API.STREAM.MSG.DELETE.{work}",
            f"$JS.API.CONSUMER.CREATE.{work}.>",
            f"$JS.API.CONSUMER.INFO.{work}.*",
            f"$JS.API.CONSUMER.MSG.NEXT.{work}.*",
            f"$JS.ACK.{work}.>",
        ),
        subscribe=(f"{subjects.inbox(account)}.>",),
        inside=True,
    )


def grants(document: Mapping[str, Any]) -> tuple[Grant, ...] | None:
    """What a WorldView grants; None if it is being deleted, or is not owned by its GameWorld.

    Raises one of `UNREADABLE` where it cannot be read.
    """
    if not is_current(document):
        return None
    metadata, spec = document["metadata"], document["spec"]
    bus = spec.get("bus") or {}
    world = subjects.world(
        metadata["namespace"], metadata["name"], spec["world"], bus.get("knowledgeBase", "")
    )
    return tuple(_grant(world, each) for each in bus.get("accounts") or ())


def _grant(world: World, given: Mapping[str, Any]) -> Grant:
    name, services = given["name"], given["services"]
    if not _ACCOUNT.fullmatch(name) or not isinstance(services, list):
        raise ValueError(f"{name!r} is no ServiceAccount with a list of services")
    return Grant(
        account=f"{world.namespace}/{name}",
        world=world,
        services=tuple(map(subjects.label, services)),
        consumers=tuple(_consumer(world, each, services) for each in given.get("consumers") or ()),
    )


def _consumer(world: World, given: Mapping[str, Any], services: list[str]) -> WorldGroup:
    name, read = given["name"], given["services"]
    if name not in services or not isinstance(read, list) or not read:
        raise ValueError(f"{name!r} is none of the account's services, or reads none")
    return WorldGroup(world=world, consumer=name, services=tuple(map(subjects.label, read)))


class Directory:
    """The grants of all worlds, by account."""

    def __init__(self, found: Iterable[Iterable[Grant]] = ()) -> None:
        self.all = tuple(grant for each in found for grant in each)
        self._grants: dict[str, list[Grant]] = {}
        for grant in self.all:
            self._grants.setdefault(grant.account, []).append(grant)

    def of(self, account: str) -> tuple[Grant, ...]:
        """What an account is granted; empty if it is unknown."""
        return tuple(self._grants.get(account, ()))


def permissions(granted: Iterable[Grant]) -> Permissions | None:
    """The permissions of an account with these grants; None if it has none.

    It may publish as each of its services, in their worlds only, and use the consumers of these services. It may not create
    a consumer: who does chooses where the broker delivers to, which can be another world's inbox.
    """
    found = sorted(granted, key=lambda each: (each.world.namespace, each.world.name))
    publish = [
        subject(grant.world, service)
        for grant in found
        for service in sorted(grant.services)
        for subject in (subjects.log, subjects.ambient)
    ]
    publish += [
        subject for grant in found for each in grant.consumers for subject in _used_by(each)
    ]
    if not publish:
        return None
    return Permissions(publish=tuple(publish), subscribe=(f"{subjects.inbox(found[0].account)}.>",))


def _used_by(consumer: WorldGroup) -> list[str]:
    """The subjects on which a consumer asks for batches and orders, answers them, and keeps its dead letters."""
    read = [each.stream.name for each in (consumer.durable(), consumer.redrives())]
    letters = consumer.own_letters
    return [
        *(f"$JS.API.CONSUMER.MSG.NEXT.{each}.{consumer.name}" for each in read),
        # All of its parts: newer forms of these subjects have others before the names.
        *(f"$JS.ACK.{each}.{consumer.name}.*.*.*.*.*" for each in read),
        letters,
        f"$JS.API.DIRECT.GET.{DEAD_LETTERS.name}.{letters}",
        *(
            subjects.letter_request(each, letters)
            for each in (subjects.FIRST, subjects.LAST, subjects.REMOVE)
        ),
    ]
