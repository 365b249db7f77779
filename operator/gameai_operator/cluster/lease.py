"""EDGE: leader election with one Lease. Expiry is judged by our own boot-time clock, never by times in the Lease.

A leader that cannot renew closes the gate `renew_seconds` after its last renewal was *asked for*, well before others
may take over at `duration_seconds`: no instance writes in the time between the two.
"""

import asyncio
import datetime
import logging
import math
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from gameai_operator import telemetry
from gameai_operator.api.base import GROUP
from gameai_operator.controller.errors import ApiError, NotLeadingError
from gameai_operator.controller.manifest import Resource
from gameai_operator.settings import LeaseSettings

# Which namespaces the holder watches, with commas; empty: all. A second release may have the others.
SCOPE = f"{GROUP}/namespaces"
LEASES = Resource(group="coordination.k8s.io", version="v1", kind="Lease", plural="leases")
_LOG = logging.getLogger(__name__)
_JITTER = 0.2
_RELEASE_SECONDS, _CONFLICT = 3.0, 409
_MICRO_TIME = "%Y-%m-%dT%H:%M:%S.%fZ"


def boot_seconds() -> float:
    """Seconds since boot, sleep included: a laptop or a virtual machine that slept has lost its lease."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


class WriteGate:
    """Open until a time; every write asks just before it is sent."""

    def __init__(self, clock: Callable[[], float] = boot_seconds) -> None:
        self._clock = clock
        self._until = 0.0

    def open_until(self, until: float) -> None:
        """Let writes pass until this time of the clock."""
        self._until = until

    def close(self) -> None:
        """Let no write pass."""
        self._until = 0.0

    def remaining_seconds(self) -> float:
        """How long it is still open; 0 or less when it is closed."""
        return self._until - self._clock()

    def __call__(self) -> None:
        """Raise `NotLeadingError` when it is closed."""
        if self.remaining_seconds() <= 0:
            raise NotLeadingError


class Leases(Protocol):
    """What the elector needs of a client."""

    async def get(self, resource: Resource, namespace: str, name: str) -> dict[str, Any] | None:
        """A live object; None if absent."""

    async def put(
        self, resource: Resource, document: Mapping[str, Any], seconds: float
    ) -> dict[str, Any]:
        """Replace or create an object, within so many seconds."""


class Elector:
    """Leads whenever it can: acquires, holds, and on loss starts again.

    While `eligible` says no, the lease is not asked for, and given up by who holds it.
    """

    def __init__(
        self,
        leases: Leases,
        settings: LeaseSettings,
        gate: WriteGate,
        eligible: Callable[[], bool] = lambda: True,
    ) -> None:
        self._leases = leases
        self._eligible = eligible
        self._settings = settings
        self._gate = gate
        self._lease: dict[str, Any] | None = None
        self._seen_version = ""
        self._led = False
        self._seen_at = 0.0
        self._waits_for = ""

    async def run(self, lead: Callable[[], Awaitable[None]]) -> None:
        """Run `lead` while leading, cancel it on loss, forever. Ends when `lead` itself fails."""
        while True:
            await self._acquire()
            self._waits_for = ""
            _LOG.info("leading as %s", self._settings.identity)
            telemetry.LEADER.set(1)
            try:
                await self._lead(lead)
            finally:
                self._gate.close()
                telemetry.LEADER.set(0)
            _LOG.warning("the lease was lost: waiting as standby")

    async def release(self) -> None:
        """Give the lease up, so that a standby need not wait for its end."""
        self._gate.close()
        if not self._led:
            return
        try:
            async with asyncio.timeout(_RELEASE_SECONDS):
                await self._give_up()
        except (ApiError, TimeoutError) as error:
            _LOG.warning("the lease was not released: %s", error)

    async def _give_up(self) -> None:
        """Write no holder. Where a renewal was under way, its answer is not known: then look first, and once more after a conflict."""
        if self._lease is not None:
            try:
                await self._leases.put(LEASES, self._document(self._lease, ""), _RELEASE_SECONDS)
            except ApiError as error:
                if error.status != _CONFLICT:
                    raise
            else:
                return
        settings = self._settings
        found = await self._leases.get(LEASES, settings.namespace, settings.name)
        if found and found.get("spec", {}).get("holderIdentity") == settings.identity:
            await self._leases.put(LEASES, self._document(found, ""), _RELEASE_SECONDS)

    async def _lead(self, lead: Callable[[], Awaitable[None]]) -> None:
        leading = asyncio.ensure_future(lead())
        holding = asyncio.ensure_future(self._hold())
        try:
            await asyncio.wait((leading, holding), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._gate.close()
            holding.cancel()
            leading.cancel()
            # A write that does not end in 5 s might still arrive under the next leader: then only an exit is safe.
            done, _ = await asyncio.wait((leading, holding), timeout=5.0)
            if leading not in done:
                raise SystemExit("a request did not end after the lease was lost")
        if leading.done() and not leading.cancelled():
            leading.result()

    async def _acquire(self) -> None:
        while not (self._eligible() and await self._attempt()):
            spread = random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 - spreads retries
            await asyncio.sleep(self._settings.retry_seconds * spread)

    async def _hold(self) -> None:
        """Renew until the gate closes; a gate that has closed does not open again under this leadership."""
        while (left := self._gate.remaining_seconds()) > 0:
            await asyncio.sleep(min(self._settings.retry_seconds, left))
            if not self._eligible():
                await self.release()
                return
            try:
                async with asyncio.timeout(max(0.0, self._gate.remaining_seconds())):
                    await self._attempt()
            except TimeoutError:
                return

    async def _attempt(self) -> bool:
        """Ask once for the lease; the time it is held counts from the asking."""
        asked = boot_seconds()
        seconds = max(0.1, min(self._settings.renew_seconds, 5.0))
        try:
            async with asyncio.timeout(seconds):
                held = await self._take(seconds)
        except (ApiError, TimeoutError) as error:
            _LOG.info("the lease could not be acquired or renewed: %s", error)
            self._lease = None
            return False
        if held:
            self._led = True
            self._gate.open_until(asked + self._settings.renew_seconds)
        return held

    async def _take(self, seconds: float) -> bool:
        """One GET when we hold no answer, one PUT with its resourceVersion; True when it is ours."""
        settings = self._settings
        lease = self._lease
        if lease is None:
            lease = await self._leases.get(LEASES, settings.namespace, settings.name)
            if lease is not None and self._held_by_another(lease):
                self._gate.close()
                self._stand_by(lease["spec"]["holderIdentity"])
                return False
        document = self._document(lease, settings.identity)
        self._lease = None  # unknown until the PUT is answered
        self._lease = await self._leases.put(LEASES, document, seconds)
        return True

    def _stand_by(self, holder: str) -> None:
        """Say once for each holder why nothing is done."""
        if holder != self._waits_for:
            where = f"{self._settings.namespace}/{self._settings.name}"
            _LOG.info("standby: the Lease %s is held by %s", where, holder)
        self._waits_for = holder

    def _held_by_another(self, lease: Mapping[str, Any]) -> bool:
        version, spec = lease["metadata"]["resourceVersion"], lease.get("spec", {})
        if version != self._seen_version:
            self._seen_version, self._seen_at = version, boot_seconds()
        holder = spec.get("holderIdentity")
        if not holder or holder == self._settings.identity:
            return False
        lasts: float = spec.get("leaseDurationSeconds", self._settings.duration_seconds)
        return boot_seconds() - self._seen_at < lasts

    def _document(self, lease: Mapping[str, Any] | None, holder: str) -> dict[str, Any]:
        """The Lease as it is to be; its times are for people and are never compared."""
        settings = self._settings
        now = datetime.datetime.now(datetime.UTC)  # noqa: TID251 - for people to read
        old = (lease or {}).get("spec", {})
        taken = bool(holder) and old.get("holderIdentity") != holder
        metadata = (lease or {}).get("metadata") or {
            "name": settings.name,
            "namespace": settings.namespace,
        }
        annotations = {**metadata.get("annotations", {}), SCOPE: ",".join(settings.scope)}
        metadata = {**metadata, "annotations": annotations}
        spec = {
            "holderIdentity": holder,
            # The API keeps whole seconds.
            "leaseDurationSeconds": math.ceil(settings.duration_seconds) if holder else 1,
            "renewTime": now.strftime(_MICRO_TIME),
            "acquireTime": now.strftime(_MICRO_TIME)
            if taken
            else old.get("acquireTime", now.strftime(_MICRO_TIME)),
            "leaseTransitions": old.get("leaseTransitions", 0) + int(taken and lease is not None),
        }
        return {
            "apiVersion": LEASES.api_version,
            "kind": "Lease",
            "metadata": metadata,
            "spec": spec,
        }
