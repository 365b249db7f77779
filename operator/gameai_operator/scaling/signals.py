"""PURE: what a scaling decision sees of a tier. Missing, stale and zero are three different things."""

from dataclasses import dataclass
from enum import StrEnum

# A value that is older says what was; it may keep replicas, and never removes any.
STALE_SECONDS = 60.0


class Freshness(StrEnum):
    """What is known of a signal."""

    FRESH = "Fresh"
    STALE = "Stale"
    MISSING = "Missing"
    NOT_USED = "NotUsed"


@dataclass(frozen=True, slots=True)
class Sample:
    """A value and when it was measured, in seconds of one clock."""

    value: float
    at: float

    def freshness(self, now: float) -> Freshness:
        """Whether it is recent enough to act on."""
        return Freshness.FRESH if now - self.at <= STALE_SECONDS else Freshness.STALE


def freshness(sample: Sample | None, now: float) -> Freshness:
    """Of a sample that may be missing."""
    return Freshness.MISSING if sample is None else sample.freshness(now)


def fresh(sample: Sample | None, now: float) -> float | None:
    """The value of a fresh sample; None where it is stale or missing."""
    return sample.value if sample is not None and now - sample.at <= STALE_SECONDS else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Signals:
    """All that is measured of a tier, summed over gateways and replicas.

    `queued` and `in_flight` are questions; `queue_wait_ms` their mean time in the queue; `p95_ms` that of answers of
    engine or fresh cache, as clients see them; `idle_p95_ms` the engine's own while the tier has room;
    `service_ms` the mean time of one engine request; `gpu_percent` the mean over GPUs of running replicas;
    `players` of the worlds that use the tier, `players_per_second` their slope; `requests_per_player` engine requests
    per player and minute; `starting_seconds` from the wish for a replica until it is ready. `silent` are gateways that do
    not answer: sums leave them out, so that they may add replicas and remove none. `engine_running` and `engine_waiting` are
    requests as the engines count them; `capacity_per_second` is the measured rate of a replica. `unknown_players` are worlds
    whose own services should count their players and do not. `without_bus` are gateways that do not know now which jobs wait.
    """

    silent: tuple[str, ...] = ()
    without_bus: tuple[str, ...] = ()
    queued: Sample | None = None
    in_flight: Sample | None = None
    queue_wait_ms: Sample | None = None
    p95_ms: Sample | None = None
    idle_p95_ms: Sample | None = None
    service_ms: Sample | None = None
    gpu_percent: Sample | None = None
    players: Sample | None = None
    lobby: Sample | None = None
    players_per_second: float = 0.0
    requests_per_player: float | None = None
    starting_seconds: float = 300.0
    expected_players: int = 0
    engine_running: Sample | None = None
    engine_waiting: Sample | None = None
    capacity_per_second: float | None = None
    unknown_players: tuple[str, ...] = ()
