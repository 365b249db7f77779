"""PURE: windows and rate limits of scaling, by the arithmetic of the HorizontalPodAutoscaler v2.

Times are seconds of one clock. Formulas are those of `pkg/controller/podautoscaler/horizontal.go` and
`replica_calculator.go`; `tests/data/hpa.yaml` holds Kubernetes' own cases.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum


class Select(StrEnum):
    """Which policy holds where several do: the largest change, the smallest, or no change at all."""

    MAX = "Max"
    MIN = "Min"
    DISABLED = "Disabled"


class Unit(StrEnum):
    """What a policy counts."""

    PODS = "Pods"
    PERCENT = "Percent"


class Limit(StrEnum):
    """What limited a number, in the words of the condition ScalingLimited."""

    WITHIN_RANGE = "DesiredWithinRange"
    TOO_FEW = "TooFewReplicas"
    TOO_MANY = "TooManyReplicas"
    SCALE_UP = "ScaleUpLimit"
    SCALE_DOWN = "ScaleDownLimit"


@dataclass(frozen=True, kw_only=True, slots=True)
class Policy:
    """At most `value` pods, or percent of those at the start of the period, within `period_seconds`."""

    unit: Unit
    value: int
    period_seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Rules:
    """Limits of one direction. Within `window_seconds` the most careful recommendation holds."""

    policies: Sequence[Policy]
    window_seconds: float = 0.0
    select: Select = Select.MAX
    tolerance: float = 0.1


@dataclass(frozen=True, kw_only=True, slots=True)
class Behavior:
    """Limits of both directions, and the range of replicas."""

    up: Rules
    down: Rules
    minimum: int
    maximum: int


@dataclass(frozen=True, slots=True)
class Stamped:
    """A number and when it was: a recommendation, or a change of replicas."""

    at: float
    number: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Memory:
    """What later decisions need of earlier ones."""

    recommendations: tuple[Stamped, ...] = ()
    added: tuple[Stamped, ...] = ()
    removed: tuple[Stamped, ...] = ()


def average_value(total: float, target: float, replicas: int, behavior: Behavior) -> int:
    """Replicas for an External metric of type AverageValue: ⌈total ÷ target⌉ unless within tolerance, ends included."""
    if replicas:
        ratio = total / (target * replicas)
        if 1.0 - behavior.down.tolerance <= ratio <= 1.0 + behavior.up.tolerance:
            return replicas
    return math.ceil(total / target)


def stabilized(memory: Memory, current: int, desired: int, behavior: Behavior, now: float) -> int:
    """The recommendation that the windows allow: the lowest of the up window, the highest of the down window."""
    recent = memory.recommendations
    up = min(_within(recent, behavior.up.window_seconds, now), default=desired)
    down = max(_within(recent, behavior.down.window_seconds, now), default=desired)
    up, down = min(up, desired), max(down, desired)
    return min(max(current, up), down)


def limited(
    memory: Memory, current: int, desired: int, behavior: Behavior, now: float
) -> tuple[int, Limit]:
    """The number that rate limits and range allow, and what limited it."""
    if desired > current:
        limit = max(current, _up_limit(memory, current, behavior.up, now))
        ceiling, why = behavior.maximum, Limit.TOO_MANY
        if ceiling > limit:
            ceiling, why = limit, Limit.SCALE_UP
        if desired > ceiling:
            return ceiling, why
    elif desired < current:
        limit = min(current, _down_limit(memory, current, behavior.down, now))
        floor, why = behavior.minimum, Limit.TOO_FEW
        if floor < limit:
            floor, why = limit, Limit.SCALE_DOWN
        if desired < floor:
            return floor, why
    return desired, Limit.WITHIN_RANGE


def remembered(memory: Memory, recommended: int, behavior: Behavior, now: float) -> Memory:
    """The memory after a recommendation, without what no window or period needs any more."""
    windows = (behavior.up.window_seconds, behavior.down.window_seconds)
    periods = [
        each.period_seconds for rules in (behavior.up, behavior.down) for each in rules.policies
    ]
    period = max(periods, default=0.0)
    return Memory(
        recommendations=(
            *_younger(memory.recommendations, max(windows), now),
            Stamped(now, recommended),
        ),
        added=_younger(memory.added, period, now),
        removed=_younger(memory.removed, period, now),
    )


def changed(memory: Memory, before: int, after: int, now: float) -> Memory:
    """The memory after a change that was carried out: only such changes count for the rate limits."""
    change = (Stamped(now, abs(after - before)),)
    if after > before:
        return replace(memory, added=(*memory.added, *change))
    return replace(memory, removed=(*memory.removed, *change)) if after < before else memory


def _younger(stamped: Iterable[Stamped], seconds: float, now: float) -> tuple[Stamped, ...]:
    return tuple(each for each in stamped if each.at > now - seconds)


def _within(stamped: Iterable[Stamped], seconds: float, now: float) -> list[int]:
    return [each.number for each in _younger(stamped, seconds, now)]


def _start(memory: Memory, current: int, period: float, now: float) -> int:
    """Replicas at the start of a period."""
    added = sum(_within(memory.added, period, now))
    removed = sum(_within(memory.removed, period, now))
    return current - added + removed


def _up_limit(memory: Memory, current: int, rules: Rules, now: float) -> int:
    if rules.select is Select.DISABLED:
        return current
    proposed = []
    for policy in rules.policies:
        start = _start(memory, current, policy.period_seconds, now)
        pods = policy.unit is Unit.PODS
        proposed.append(
            start + policy.value if pods else math.ceil(start * (1 + policy.value / 100))
        )
    return min(proposed) if rules.select is Select.MIN else max(proposed)


def _down_limit(memory: Memory, current: int, rules: Rules, now: float) -> int:
    if rules.select is Select.DISABLED:
        return current
    proposed = []
    for policy in rules.policies:
        start = _start(memory, current, policy.period_seconds, now)
        pods = policy.unit is Unit.PODS
        proposed.append(start - policy.value if pods else int(start * (1 - policy.value / 100)))
    return max(proposed) if rules.select is Select.MIN else min(proposed)
