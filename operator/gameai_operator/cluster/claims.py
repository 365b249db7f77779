"""EDGE: which operators run: each holds a Lease, and its objects name it in their status."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from gameai_operator.cluster.lease import LEASES
from gameai_operator.engine.errors import ApiError
from gameai_operator.engine.manifest import Resource

_LOG = logging.getLogger(__name__)
# One answer serves all objects of an operator for this long.
_KEPT_SECONDS = 2.0


class Leases(Protocol):
    """What is needed of a client."""

    async def get(self, resource: Resource, namespace: str, name: str) -> dict[str, Any] | None:
        """A live object; None where there is none. Raises `ApiError`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Seen:
    """A Lease as last read: when, and since when its version has been the same."""

    alive: bool
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

    async def alive(self, claim: str) -> bool:
        """Whether the operator whose Lease is `namespace/name` still runs. Raises `ApiError`.

        A Lease is judged by whether it changes within its own duration, never by the times in it. One that may not be
        read says nothing, so that its operator counts as gone: then only the damping of repairs is left.
        """
        known = self._seen.get(claim)
        if known is None or self._clock() - known.at >= _KEPT_SECONDS:
            known = self._seen[claim] = await self._look(claim, known)
        return known.alive

    async def _look(self, claim: str, known: _Seen | None) -> _Seen:
        namespace, _, name = claim.partition("/")
        now = self._clock()
        try:
            lease = await self._leases.get(LEASES, namespace, name) if name else None
        except ApiError as error:
            if error.status != 403:
                raise
            if known is None:
                _LOG.warning("Lease %s may not be read: its operator counts as gone", claim)
            lease = None
        if lease is None:
            return _Seen(alive=False, version="", since=now, at=now)
        version, spec = lease["metadata"]["resourceVersion"], lease.get("spec", {})
        same = known is not None and known.version == version
        since = known.since if known is not None and same else now
        lasts: float = spec.get("leaseDurationSeconds", 0)
        alive = bool(spec.get("holderIdentity")) and now - since < lasts
        return _Seen(alive=alive, version=version, since=since, at=now)
