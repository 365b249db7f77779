"""PURE: what a ServiceAccount may do on the bus, read from the WorldViews that the operator publishes."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from gameai.bus import subjects
from gameai.bus.subjects import World
from gameai.cluster.world_views import is_current

# An account with more services, of all its worlds, is refused: its permissions would not fit a message of the servers.
MOST_SERVICES = 512
_ACCOUNT = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")


@dataclass(frozen=True, kw_only=True, slots=True)
class Grant:
    """The services of a world that run as an account, `<namespace>/<name>`."""

    account: str
    world: World
    services: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Permissions:
    """Subjects that a connection may publish to and subscribe to; neither is ever empty, which would allow everything."""

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]


def grants(document: Mapping[str, Any]) -> tuple[Grant, ...] | None:
    """What a WorldView grants; None if it is being deleted, or is not owned by its GameWorld.

    Raises `ValueError`, `KeyError`, `TypeError` or `AttributeError` where it cannot be read.
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
    )


class Directory:
    """The grants of all worlds, by account."""

    def __init__(self, found: Iterable[Iterable[Grant]] = ()) -> None:
        self._grants: dict[str, list[Grant]] = {}
        for each in found:
            for grant in each:
                self._grants.setdefault(grant.account, []).append(grant)

    def of(self, account: str) -> tuple[Grant, ...]:
        """What an account is granted; empty if it is unknown."""
        return tuple(self._grants.get(account, ()))


def permissions(granted: Iterable[Grant]) -> Permissions | None:
    """The permissions of an account with these grants; None if it has none.

    It may publish as each of its services, in their worlds only. Nothing is granted of JetStream's own subjects: who may
    create a consumer chooses where the broker delivers to, which can be another world's inbox.
    """
    found = sorted(granted, key=lambda each: (each.world.namespace, each.world.name))
    publish = [
        subject(grant.world, service)
        for grant in found
        for service in sorted(grant.services)
        for subject in (subjects.log, subjects.ambient)
    ]
    if not publish:
        return None
    return Permissions(publish=tuple(publish), subscribe=(f"{subjects.inbox(found[0].account)}.>",))
