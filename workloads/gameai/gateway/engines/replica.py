"""EDGE: one replica of a tier: its connections, its slots, its breaker, and a look whether it lives."""

from collections.abc import Callable
from time import monotonic
from typing import Protocol

from gameai.gateway.engines.circuit_breaker import (
    SILENT_SECONDS,
    SLOW_START_SECONDS,
    Breaker,
    warm_slots,
)
from gameai.gateway.engines.http1 import Call, ConnectionPool, Failure, Listener
from gameai.gateway.routing.snapshot import Endpoint

_HEALTH = "GET /health HTTP/1.1\r\nHost: {}\r\n\r\n"
_PROBE_SECONDS = 2.0
_OK = 200
_MOST_HEALTH_BYTES = 4 << 10


class Caller(Listener, Protocol):
    """A listener with a call that the replica can end."""

    call: Call | None


class Replica:
    """Metrics its own requests in flight; `slots` are this gateway's share."""

    def __init__(
        self,
        endpoint: Endpoint,
        pool: ConnectionPool,
        known_since: float,
        judged: Callable[[], None],
    ) -> None:
        self.endpoint = endpoint
        self.address = endpoint.address
        self.pool = pool
        self.slots = 1
        self.in_flight = 0
        self.leaving = False
        self.breaker = Breaker()
        self._known_since = known_since
        self._judged = judged
        self._callers: set[Caller] = set()
        # Seconds with something in flight and not a byte: those that are over, and since when it is so again.
        self._silence = 0.0
        self._silent_since: float | None = None
        self._probe: _Probe | None = None

    def load(self) -> float:
        """What is in flight, as a part of its slots."""
        return self.in_flight / self.slots

    def room(self, now: float) -> bool:
        """Whether one more request may be sent."""
        if self.in_flight >= self.slots or self.leaving or self._probe is not None:
            return False
        age = now - self._known_since
        if age < SLOW_START_SECONDS and self.in_flight >= warm_slots(self.slots, age):
            return False
        return self.breaker.allows(now)

    def send(self, request: bytes, caller: Caller, now: float, *, streams: bool, most: int) -> None:
        """Send a request; its reply may have at most `most` bytes. Its slot counts until `free`."""
        self.in_flight += 1
        if self._silent_since is None:
            self._silent_since = now
        self._callers.add(caller)
        caller.call = self.pool.send(request, caller, streams=streams, most=most)

    def heard(self, now: float) -> None:
        """A byte came: it is not silent. What else is in flight may be."""
        self._silence, self._silent_since = 0.0, now if self.in_flight else None

    def settled(self, caller: Caller) -> None:
        """A call ended or was cancelled."""
        self._callers.discard(caller)

    def free(self, now: float) -> None:
        """A request's slot is free. Time without requests does not count as silence."""
        self.in_flight -= 1
        if not self.in_flight and self._silent_since is not None:
            self._silence += now - self._silent_since
            self._silent_since = None

    def look(self, now: float) -> None:
        """Now and then: ask after its health where that is due, give up a probe that gets no answer, close old connections.

        Whatever is in flight and however full it is: a replica that hangs is full soon, and asked nothing more.
        """
        self.pool.drop_old()
        if self._probe is not None:
            if now - self._probe.began > _PROBE_SECONDS:
                self._probe.call.cancel()
                self.judge(well=False, now=now)
        elif (self.breaker.due(now) and not self.leaving) or self._silent(now):
            self._probe = _Probe(self, now)

    def _silent(self, now: float) -> bool:
        """Whether the replica sent nothing for too long. Deadlines that are too short have the same effect."""
        if self.breaker.opened is not None or self._silent_since is None:
            return False
        return self._silence + now - self._silent_since > SILENT_SECONDS

    def close(self) -> None:
        """It is gone: nothing is asked of it any more."""
        if self._probe is not None:
            self._probe.call.cancel()
            self._probe = None
        self.pool.close()

    def judge(self, *, well: bool, now: float) -> None:
        """What its health says; times of the pool's clock. What a condemned one has in flight fails at once."""
        self._probe = None
        self.heard(now)
        if well:
            if self.breaker.lives():
                self._known_since = now
        else:
            self.breaker.condemned(now)
            for caller in list(self._callers):
                if caller.call is not None:
                    caller.call.cancel()
                caller.failed(Failure.SILENT)
        self._judged()


class _Probe:
    """A question after its health."""

    def __init__(self, replica: Replica, now: float) -> None:
        self.began = now
        self._replica = replica
        request = _HEALTH.format(replica.address).encode()
        self.call = replica.pool.send(request, self, most=_MOST_HEALTH_BYTES)

    def heard(self) -> None:
        """Not yet an answer."""

    def holding(self, size: int) -> None:
        """A reply on health is small."""

    def streamed(self, data: bytes) -> None:
        """Health is not streamed."""

    def replied(self, status: int, body: bytes) -> None:  # noqa: ARG002 - a listener's signature
        """It lives, or says that it does not."""
        self._replica.judge(well=status == _OK, now=monotonic())

    def failed(self, failure: Failure) -> None:  # noqa: ARG002 - same
        """It does not."""
        self._replica.judge(well=False, now=monotonic())
