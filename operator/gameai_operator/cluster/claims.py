"""EDGE: which operators run: each holds a Lease, and its objects name it in their status."""

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from gameai_operator.cluster.lease import LEASES, SCOPE
from gameai_operator.controller.errors import ApiError
from gameai_operator.controller.manifest import Resource

_LOG = logging.getLogger(__name__)
# One answer serves all objects of an operator for this long.
_KEPT_SECONDS = 2.0
_MOST_CLAIMS = 256
_MOST_SECONDS = 120.0
_NAME = r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?"
_CLAIM = re.compile(f"{_NAME}/{_NAME}")


class Leases(Protocol):
    """What is needed of a client."""

    async def get(self, resource: Resource, namespace: str, name: str) -> dict[str, Any] | None:
        """A live object; None if absent. Raises `ApiError`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Seen:
    """A Lease as last read: when, since when its version has been the same, and the namespaces watched (none: all)."""

    alive: bool
    namespaces: tuple[str, ...]
    version: str
    since: float
    at: float


class LeaseClaims:
    """Judges operators by their Leases: one that is held and still renewed is alive. Times are of a steady clock."""

    def __init__(self, leases: Leases, own: str, clock: Callable[[], float]) -> None:
        self.own = own
        self._leases = leases
        self._clock = clock
        self._seen: dict[str, _Seen] = {}

    async def alive(self, claim: str, namespace: str) -> bool:
        """Whether the operator whose Lease is `namespace/name` still runs and watches a namespace. Raises `ApiError`.

        A Lease is judged by whether it changes within its own duration, never by the times in it. One that may not be
        read says nothing, so that its operator counts as gone: then only the damping of repairs is left.
        """
        known = self._seen.get(claim)
        if known is None or self._clock() - known.at >= _KEPT_SECONDS:
            known = await self._look(claim, known)
            self._keep(claim, known)
        return known.alive and (not known.namespaces or namespace in known.namespaces)

    def _keep(self, claim: str, seen: _Seen) -> None:
        """Claims stand in statuses, which others may write: those that were read longest ago make room."""
        self._seen.pop(claim, None)
        self._seen[claim] = seen
        if len(self._seen) > _MOST_CLAIMS:
            del self._seen[next(iter(self._seen))]

    async def _look(self, claim: str, known: _Seen | None) -> _Seen:
        namespace, _, name = claim.partition("/")
        now = self._clock()
        try:
            # Anyone with rights on status may write anything there, and this becomes a URL path.
            known_form = _CLAIM.fullmatch(claim)
            lease = await self._leases.get(LEASES, namespace, name) if known_form else None
        except ApiError as error:
            if error.status != 403:
                raise
            if known is None:
                _LOG.warning("reading Lease %s is forbidden: its operator counts as stopped", claim)
            lease = None
        if lease is None:
            return _Seen(alive=False, namespaces=(), version="", since=now, at=now)
        metadata, spec = lease["metadata"], lease.get("spec", {})
        version = metadata["resourceVersion"]
        same = known is not None and known.version == version
        since = known.since if known is not None and same else now
        # Any Lease may be named, a node's too: only one that an operator wrote counts, and none for long.
        scope = metadata.get("annotations", {}).get(SCOPE)
        lasts = min(spec.get("leaseDurationSeconds", 0), _MOST_SECONDS)
        alive = scope is not None and bool(spec.get("holderIdentity")) and now - since < lasts
        namespaces = tuple(filter(None, (scope or "").split(",")))
        return _Seen(alive=alive, namespaces=namespaces, version=version, since=since, at=now)
