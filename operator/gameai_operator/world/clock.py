"""PURE: the anchors of a world's clock: when it turns, and that it never jumps.

What counts is what is published in the configuration object: an anchor that status tells but no pod can have read yet is
chosen anew, so that a late write never makes replicas turn at different instants.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

from gameai import contract
from gameai.worldtime import (
    MICROSECOND,
    MINUTES_PER_DAY,
    START_MICROSECONDS,
    Anchor,
    follow,
    parse_anchor,
    parse_time,
)

from gameai_operator.api.world import ClockStatus, GameWorld, WorldState
from gameai_operator.engine.ownership import applied_fields

# A kubelet looks after a pod's mounts every 60 to 90 s, and our write and the service's own look take seconds more.
LEAD_SECONDS = 120
# Anchors that have not taken effect; the next change waits until there is room.
MOST_PENDING = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Turning:
    """The anchors to publish, and when to look again where a change had to wait."""

    anchors: tuple[Anchor, ...]
    again_seconds: float | None = None


def turning(world: GameWorld, published: Sequence[Anchor] | None, now: int) -> Turning:
    """The anchors of a world at a wall time in µs; `published` are those that pods may have read."""
    speed, day = _wanted(world)
    anchors = tuple(published or reported(world.status.clock))
    if not anchors:
        first = Anchor(
            effective_at=parse_time(world.metadata.creation_timestamp),
            world=START_MICROSECONDS,
            speed=speed,
            day_length_minutes=day,
        )
        return Turning(anchors=(first,))
    if anchors[-1].rate == Fraction(speed) * MINUTES_PER_DAY / day:
        return Turning(anchors=anchors)
    past = [each for each in anchors if each.effective_at <= now]
    pending = [each for each in anchors if each.effective_at > now]
    if len(pending) >= MOST_PENDING:
        wait = (pending[0].effective_at - now) / MICROSECOND
        return Turning(anchors=anchors, again_seconds=wait)
    second = -(-now // MICROSECOND) * MICROSECOND
    effective_at = max(second + LEAD_SECONDS * MICROSECOND, anchors[-1].effective_at)
    kept = (*past[-1:], *pending)
    return Turning(anchors=(*kept, follow(kept, effective_at, speed, day)))


def _wanted(world: GameWorld) -> tuple[Decimal, int]:
    clock = world.spec.clock
    stands = clock.paused or world.spec.state is WorldState.HIBERNATED
    return Decimal(0 if stands else clock.speed), clock.day_length_minutes


def reported(clock: ClockStatus | None) -> tuple[Anchor, ...]:
    """The anchors that status tells, the oldest first."""
    if clock is None:
        return ()
    documents = [each.model_dump(by_alias=True) for each in (*clock.earlier, clock)]
    return tuple(parse_anchor(each) for each in documents)


def clock_status(anchors: Sequence[Anchor]) -> dict[str, Any]:
    """The newest anchor, and those before it where there are any."""
    *earlier, newest = [each.document() for each in anchors]
    return {**newest, "earlier": earlier} if earlier else newest


def published(document: Mapping[str, Any]) -> tuple[Anchor, ...] | None:
    """The anchors in a configuration object; None where a hand touched them or there are none."""
    fields = applied_fields(document["metadata"]) or {}
    if f"f:{contract.CONFIG_KEY}" not in fields.get("f:data", {}):
        return None
    try:
        entries = json.loads(document["data"][contract.CONFIG_KEY])["clock"]["anchors"]
        return tuple(parse_anchor(each) for each in entries) or None
    except (ValueError, KeyError, TypeError, ArithmeticError):
        return None
