"""EDGE: says in the status of WorldViews which services of a world have parked events."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp

from gameai.bus.admin import NatsAdmin
from gameai.bus.dead_letters import reason, since
from gameai.bus.group import WorldGroup
from gameai.bus.streams import DEAD_LETTERS
from gameai.bus_controller.grants import Grant, grants
from gameai.cluster.api import ApiError, Server
from gameai.cluster.watch import OUR_GROUP

_LOG = logging.getLogger(__name__)
_MOST_REASON = 300
# Worlds whose status is written in one comparison; the others follow with the next.
_MOST_WRITES = 100
_NOT_FOUND = 404

# Namespace and name of a world.
WorldKey = tuple[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Parked:
    """A service whose events are parked: since when, and why its first batch was not handled."""

    service: str
    since: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class SeenWorld:
    """What a WorldView grants, and what its status says."""

    grants: tuple[Grant, ...]
    parked: tuple[Parked, ...]


def seen(document: Mapping[str, Any]) -> SeenWorld | None:
    """What is kept of a WorldView; None if it is being deleted, or is not owned by its GameWorld.

    Raises as `grants` does.
    """
    found = grants(document)
    if found is None:
        return None
    entries = (document.get("status") or {}).get("parked") or ()
    return SeenWorld(grants=found, parked=tuple(map(_parked, entries)))


def _parked(entry: Mapping[str, Any]) -> Parked:
    return Parked(
        service=str(entry.get("service")),
        since=str(entry.get("since")),
        reason=str(entry.get("reason", "")),
    )


async def observed(
    log: NatsAdmin, groups: Iterable[WorldGroup], counts: Mapping[str, int]
) -> dict[WorldKey, tuple[Parked, ...]]:
    """The parked services of each world; `counts` are the dead letters by subject. Raises `BusError`."""
    found: dict[WorldKey, list[Parked]] = {}
    for each in groups:
        if each.own_letters not in counts:
            continue
        letter = await log.first(DEAD_LETTERS, each.own_letters)
        if letter is None:
            continue
        found.setdefault((each.world.namespace, each.world.name), []).append(
            Parked(
                service=each.consumer,
                since=since(letter),
                reason=reason(letter)[:_MOST_REASON],
            )
        )
    return {
        key: tuple(sorted(services, key=lambda each: each.service))
        for key, services in found.items()
    }


async def reported(
    server: Server,
    worlds: Mapping[WorldKey, SeenWorld],
    wanted: Mapping[WorldKey, tuple[Parked, ...]],
) -> None:
    """Bring the status of these worlds to what is wanted. An API server that is away is asked again with the next comparison."""
    due = [key for key, world in worlds.items() if world.parked != wanted.get(key, ())]
    if not due:
        return
    try:
        async with server.session() as session:
            for key in due[:_MOST_WRITES]:
                await _write(server, session, key, wanted.get(key, ()))
    except (ApiError, aiohttp.ClientError, OSError, TimeoutError) as error:
        _LOG.warning("the status of worlds is not written: %s", error or type(error))


async def _write(
    server: Server, session: aiohttp.ClientSession, key: WorldKey, parked: tuple[Parked, ...]
) -> None:
    namespace, name = key
    path = f"{OUR_GROUP}/namespaces/{namespace}/worldviews/{name}/status"
    entries = [
        {"service": each.service, "since": each.since, "reason": each.reason} for each in parked
    ]
    try:
        await server.merge(session, path, {"status": {"parked": entries}})
    except ApiError as error:
        # The world was deleted just now.
        if error.status != _NOT_FOUND:
            raise
