"""PURE: the scaling decision of one tier: what is measured → how many replicas, and why.

    wanted = max(players' floor, schedule, queue, GPU), and the latency guard on top
    desired = wanted, within bounds, windows and rate limits

Stale or missing signals keep replicas and never remove any. Replicas that still start count as capacity.
"""

import datetime
import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from gameai_operator.api.scaling import Freeze, Scaling
from gameai_operator.scaling.agents import Capacity
from gameai_operator.scaling.behavior import (
    Behavior,
    Limit,
    Memory,
    Policy,
    Rules,
    Select,
    Unit,
    average_value,
    limited,
    remembered,
    stabilized,
)
from gameai_operator.scaling.signals import Freshness, Sample, Signals, fresh, freshness
from gameai_operator.tier import schedule

# A fleet is planned for this part of what its replicas can do.
_UTILISATION = 0.775
# So little of another replica is no reason for one: a learned number never quite reaches the true one.
_LEAST_PART = 0.02
# A forecast looks as far ahead as a replica takes to start, and this much further.
_AHEAD_SECONDS = 30.0
# The GPU signal counts only while at least this part of the slots is busy: one long decode shows 100 %.
_BUSY = 0.5
_BACKLOG = 1.5
_MOST_LEARNT, _LEAST_LEARNT = 2.0, 0.05


# Questions at a time of a replica, where neither the spec says it nor a measurement.
DEFAULT_PER_REPLICA = 8


def questions_per_replica(declared: int | None, capacity: Capacity | None) -> int:
    """Questions at a time that a replica is planned for. A capacity that misses the target without load says nothing."""
    if declared is not None:
        return declared
    if capacity is None or not capacity.reachable:
        return DEFAULT_PER_REPLICA
    return max(1, int(_UTILISATION * capacity.concurrency))


def replicas_for(requests_per_second: float, capacity: float) -> int:
    """Replicas planned for a load, at least one; `capacity` is requests per second of a replica."""
    return max(1, math.ceil(requests_per_second / (capacity * _UTILISATION) - _LEAST_PART))


@dataclass(frozen=True, kw_only=True, slots=True)
class Fleet:
    """A tier's replicas: `current` are wished for, `ready` answer, each for `per_replica` questions at a time."""

    current: int
    ready: int
    target_ms: int
    per_replica: int = DEFAULT_PER_REPLICA

    @property
    def starting(self) -> int:
        """Replicas that are not ready yet."""
        return max(0, self.current - self.ready)


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """What one signal asks for; `wants` 0 is nothing."""

    name: str
    value: str
    target: str
    wants: int
    state: Freshness
    at: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """How many replicas there are to be, the signal that won, and one sentence.

    `recommended` is the number within bounds, before windows, rates and freezes. `memory` is for the next decision; a change that is carried out is added to it by `behavior.changed`.
    """

    desired: int
    recommended: int
    reason: str
    message: str
    limit: Limit
    wishes: tuple[Wish, ...]
    blind: bool
    memory: Memory = field(default_factory=Memory)

    @property
    def because(self) -> str:
        """The sentence without the numbers that it begins with."""
        return self.message.partition("; ")[2]


def behavior_of(scaling: Scaling) -> Behavior:
    """The limits of a spec. Small steps of large fleets count when scaling out, and are tolerated when scaling in."""
    out, back = scaling.scale_out, scaling.scale_in
    return Behavior(
        up=Rules(
            policies=(
                Policy(unit=Unit.PODS, value=out.pods, period_seconds=out.period_seconds),
                Policy(unit=Unit.PERCENT, value=out.percent, period_seconds=out.period_seconds),
            ),
            window_seconds=out.window_seconds,
            tolerance=0.0,
        ),
        down=Rules(
            policies=(Policy(unit=Unit.PODS, value=back.pods, period_seconds=back.period_seconds),),
            window_seconds=back.window_seconds,
            select=Select.MIN,
        ),
        minimum=scaling.min_replicas,
        maximum=max(scaling.min_replicas, scaling.max_replicas),
    )


def decide(
    scaling: Scaling,
    fleet: Fleet,
    signals: Signals,
    memory: Memory,
    *,
    now: float,
    wall: datetime.datetime,
) -> Decision:
    """Decide for one tier; `now` is the clock of the samples, `wall` the time with a time zone."""
    behavior = behavior_of(scaling)
    players = _players(scaling, fleet, signals, now)
    wishes = (
        _queue(fleet, signals, behavior, players, now),
        _gpu(scaling, fleet, signals, behavior, now),
        players,
        _schedule(scaling, wall),
    )
    blind = wishes[0].state is not Freshness.FRESH or bool(signals.silent or signals.without_bus)
    wanted, reason = _highest(wishes, behavior.minimum)
    guard = _guard(scaling, fleet, signals, max(wanted, fleet.current), now)
    if guard.wants > wanted:
        wanted, reason = guard.wants, guard.name
    if blind and wanted < fleet.current:
        wanted, reason = fleet.current, "blind"
    bounded = min(max(wanted, behavior.minimum), behavior.maximum)
    calm = stabilized(memory, fleet.current, bounded, behavior, now)
    desired, limit = limited(memory, fleet.current, calm, behavior, now)
    if wanted > behavior.maximum and limit is Limit.WITHIN_RANGE:
        limit = Limit.TOO_MANY
    desired = _thawed(scaling.freeze, fleet.current, desired)
    return Decision(
        desired=desired,
        recommended=bounded,
        reason=reason,
        message=_sentence(fleet, desired, wanted, reason, limit, (*wishes, guard), scaling.freeze),
        limit=limit,
        wishes=(*wishes, guard, *_engine(signals, now)),
        blind=blind,
        memory=remembered(memory, bounded, behavior, now),
    )


def _highest(wishes: Iterable[Wish], minimum: int) -> tuple[int, str]:
    best = max(wishes, key=lambda each: each.wants)
    return (best.wants, best.name) if best.wants > minimum else (minimum, "minimum")


def _thawed(freeze: Freeze, current: int, desired: int) -> int:
    if freeze is Freeze.ALL:
        return current
    return max(current, desired) if freeze is Freeze.IN else desired


def _queue(
    fleet: Fleet,
    signals: Signals,
    behavior: Behavior,
    players: Wish,
    now: float,
) -> Wish:
    """Questions that wait and run: what waits alone is 0 while the fleet has the right size.

    A backlog is no lasting load. While replicas start for it, it asks for no more than half as much again as the players do.
    """
    target = fleet.per_replica
    queued, running = fresh(signals.queued, now), fresh(signals.in_flight, now)
    text, wants = "unknown", 0
    if queued is not None and running is not None:
        text = f"{queued + running:.0f}"
        wants = average_value(queued + running, target, fleet.current, behavior)
    if fleet.starting and players.wants and players.state is Freshness.FRESH:
        wants = min(wants, max(fleet.current, math.ceil(_BACKLOG * players.wants)))
    oldest = None
    if signals.queued is not None and signals.in_flight is not None:
        oldest = min(signals.queued, signals.in_flight, key=lambda each: each.at)
    return _wish("queue", text, f"{target} per replica", wants, oldest, now)


def _gpu(scaling: Scaling, fleet: Fleet, signals: Signals, behavior: Behavior, now: float) -> Wish:
    """At most one replica more at a time, and none while other replicas start or most slots are free."""
    if scaling.gpu is None:
        return Wish(name="gpu", value="not used", target="", wants=0, state=Freshness.NOT_USED)
    percent, running = fresh(signals.gpu_percent, now), fresh(signals.in_flight, now)
    target, wants = scaling.gpu.target_percent, 0
    if percent is not None and running is not None and fleet.ready:
        busy = running >= _BUSY * fleet.per_replica * fleet.ready
        band = replace(behavior, up=behavior.down)
        found = average_value(percent * fleet.ready, target, fleet.ready, band)
        if busy and found > fleet.ready and not fleet.starting:
            wants = fleet.current + 1
        elif busy:
            wants = min(found, fleet.current)
    text = "unknown" if percent is None else f"{percent:.0f} %"
    return _wish("gpu", text, f"{target} %", wants, signals.gpu_percent, now)


def _players(scaling: Scaling, fleet: Fleet, signals: Signals, now: float) -> Wish:
    """The load of the players that will be there when a replica that is asked for now is ready.

    A tier that may have no replica is there for jobs: players alone do not keep one.
    """
    if not scaling.min_replicas:
        return Wish(name="players", value="not used", target="", wants=0, state=Freshness.NOT_USED)
    declared = float(scaling.players.requests_per_player_per_minute)
    learnt = declared if signals.requests_per_player is None else signals.requests_per_player
    per_minute = min(max(learnt, declared * _LEAST_LEARNT), declared * _MOST_LEARNT)
    present = None if signals.players is None else signals.players.value
    players = signals.expected_players if present is None else present
    lobby = 0.0 if signals.lobby is None else signals.lobby.value
    ahead = signals.starting_seconds + _AHEAD_SECONDS
    state = freshness(signals.players, now)
    if state is Freshness.FRESH:
        players += lobby + max(0.0, signals.players_per_second) * ahead
    capacity, target = _capacity(fleet, signals)
    wants = 0
    if capacity is not None and players:
        wants = replicas_for(players * per_minute / 60, capacity)
    seen = "no report" if present is None else f"{present:.0f} players"
    text = f"{seen}, {players:.0f} forecast, at {per_minute:.3g} requests/min"
    return _wish("players", text, target, wants, signals.players, now)


def _capacity(fleet: Fleet, signals: Signals) -> tuple[float | None, str]:
    """Requests per second of a replica, and what that rests on: real requests rather than a measurement with made-up ones."""
    service = signals.service_ms
    if service is not None and service.value > 0:
        # Little's law: a replica with so many requests at a time serves so many a second.
        each = f"{fleet.per_replica} at a time of {service.value:.3g} ms"
        return fleet.per_replica * 1000 / service.value, f"{_UTILISATION:.1%} of {each}"
    measured = signals.capacity_per_second
    if measured:
        return measured, f"{_UTILISATION:.1%} of {measured:.1f} requests/s measured"
    return None, "capacity unknown"


def _engine(signals: Signals, now: float) -> tuple[Wish, ...]:
    """What engines say themselves, to compare: far more than the queue signal means that they have other callers."""
    running, waiting = signals.engine_running, signals.engine_waiting
    if running is None or waiting is None:
        return ()
    text = f"{running.value:.0f} running, {waiting.value:.0f} waiting"
    return (_wish("engine", text, "for comparison", 0, running, now),)


def _schedule(scaling: Scaling, wall: datetime.datetime) -> Wish:
    wants, name = schedule.minimum(scaling.schedule, wall)
    return Wish(
        name="schedule",
        value=name or "no event",
        target=f"{wants} replicas" if wants else "",
        wants=wants,
        state=Freshness.FRESH,
    )


def _guard(scaling: Scaling, fleet: Fleet, signals: Signals, wanted: int, now: float) -> Wish:
    """More replicas help only where questions wait and an idle engine keeps the target."""
    p95, wait = fresh(signals.p95_ms, now), fresh(signals.queue_wait_ms, now)
    idle, wants = signals.idle_p95_ms, 0
    late = p95 is not None and p95 > fleet.target_ms
    helps = wait is not None and wait > 0 and (idle is None or idle.value <= fleet.target_ms)
    percent = scaling.latency_guard.max_extra_percent
    if late and helps and percent and not fleet.starting:
        wants = wanted + math.ceil(fleet.current * percent / 100)
    text = "unknown" if p95 is None else f"{p95:.0f} ms"
    return _wish("latency", text, f"{fleet.target_ms} ms", wants, signals.p95_ms, now)


def unreachable(fleet: Fleet, signals: Signals) -> bool:
    """Whether an idle engine misses the latency target already: no number of replicas keeps it."""
    idle = signals.idle_p95_ms
    return idle is not None and idle.value > fleet.target_ms


def _wish(
    name: str, value: str, target: str, wants: int, sample: Sample | None, now: float
) -> Wish:
    return Wish(
        name=name,
        value=value,
        target=target,
        wants=wants,
        state=freshness(sample, now),
        at=None if sample is None else sample.at,
    )


def _sentence(
    fleet: Fleet,
    desired: int,
    wanted: int,
    reason: str,
    limit: Limit,
    wishes: Iterable[Wish],
    freeze: Freeze,
) -> str:
    by_name = {each.name: each for each in wishes}
    if reason == "blind":
        why = "not every gateway answers, or knows the jobs that wait: replicas are kept"
    elif reason in by_name:
        wish = by_name[reason]
        why = f"{reason}: {wish.value} for {wish.target} asks for {wanted}"
    else:
        why = f"no signal asks for more than the minimum of {wanted}"
    parts = [f"{fleet.current} → {desired} replicas", why]
    if limit is not Limit.WITHIN_RANGE and freeze is not Freeze.ALL:
        parts.append(f"limited by {limit.value}")
    elif desired > wanted and freeze is Freeze.NONE:
        parts.append("kept for the scale-in window")
    if freeze is not Freeze.NONE:
        parts.append(f"freeze: {freeze.value}")
    return "; ".join(parts)
