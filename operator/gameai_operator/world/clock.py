"""PURE: the anchors of a world's clock: when it changes, and that it never jumps.

What counts is what is published in the configuration object: an anchor in status that no pod can have read yet is
recomputed, so that a late write never makes replicas switch at different instants.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

from gameai_contract.names import CONFIG_KEY
from gameai_contract.world_time import (
    MICROSECOND,
    MINUTES_PER_DAY,
    START_MICROSECONDS,
    Anchor,
    follow,
    parse_anchor,
    parse_time,
)

from gameai_operator.api.world import ClockStatus, GameWorld, WorldState
from gameai_operator.controller.conditions import Condition
from gameai_operator.controller.field_ownership import applied_fields
from gameai_operator.controller.manifest import MANIFEST_HASH, controller

# A kubelet looks after a pod's mounts every 60 to 90 s, and our write and the service's own look take seconds more.
LEAD_SECONDS = 120
# Anchors that have not taken effect; the next change waits until there is room.
MOST_PENDING = 4
STARTED = "ClockStarted"
_MOST_ANCHORS = MOST_PENDING + 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Turning:
    """The anchors to publish, and when to look again where a change had to wait.

    `started` says how world time began (a reason and a message), None where an earlier clock continues.
    """

    anchors: tuple[Anchor, ...]
    requeue_after_seconds: float | None = None
    started: tuple[str, str] | None = None


def turning(world: GameWorld, published: Sequence[Anchor] | None, now: int) -> Turning:
    """The anchors of a world at a wall time in µs; `published` are those that pods may have read."""
    speed, day = _wanted(world)
    anchors = tuple(published or reported(world.status.clock))
    if not anchors:
        began, started = _start(world, now)
        first = Anchor(
            effective_at=began, world=START_MICROSECONDS, speed=speed, day_length_minutes=day
        )
        return Turning(anchors=(first,), started=started)
    if anchors[-1].rate == Fraction(speed) * MINUTES_PER_DAY / day:
        return Turning(anchors=anchors)
    past = [each for each in anchors if each.effective_at <= now]
    pending = [each for each in anchors if each.effective_at > now]
    if len(pending) >= MOST_PENDING:
        wait = (pending[0].effective_at - now) / MICROSECOND
        return Turning(anchors=anchors, requeue_after_seconds=wait)
    second = -(-now // MICROSECOND) * MICROSECOND
    effective_at = max(second + LEAD_SECONDS * MICROSECOND, anchors[-1].effective_at)
    kept = (*past[-1:], *pending)
    return Turning(anchors=(*kept, follow(kept, effective_at, speed, day)))


def _start(world: GameWorld, now: int) -> tuple[int, tuple[str, str]]:
    """When the clock of a world without one began, with reason and message."""
    created, given = world.metadata.creation_timestamp, world.spec.clock.start_at
    start = _as_time(given)
    if start is not None and start <= now:
        return start, (
            "StartAt",
            f"no earlier clock was found: world time began at {given}, as spec.clock.startAt says",
        )
    why = "not a valid start of a clock" if start is None else "in the future"
    ignored = f"spec.clock.startAt {given} is {why} and not used; " if given else ""
    message = (
        f"{ignored}no earlier clock was found: world time began at {created}, the creation of this object; to continue "
        "that of a former object, create it again with spec.clock.startAt"
    )
    return parse_time(created), ("Created", message)


def _as_time(given: str | None) -> int | None:
    """A time as µs; None if absent, or one from before the schema refused it: the year 0, say."""
    try:
        return parse_time(given) if given else None
    except ValueError:
        return None


def started(world: GameWorld, turned: Turning) -> Condition:
    """`ClockStarted`: how the world's time began; what was reported stays for as long as the clock continues."""
    if not turned.anchors:
        message = "world time starts once the spec is valid"
        return Condition(type=STARTED, status=False, reason="NotStarted", message=message)
    if turned.started:
        reason, message = turned.started
        return Condition(type=STARTED, status=True, reason=reason, message=message)
    before = next((each for each in world.status.conditions if each.type == STARTED), None)
    given = world.spec.clock.start_at
    if given and (before is None or given not in before.message):
        message = f"spec.clock.startAt {given} is ignored: this world already has a clock"
        return Condition(type=STARTED, status=True, reason="StartAtNotUsed", message=message)
    if before is not None:
        return Condition(type=STARTED, status=True, reason=before.reason, message=before.message)
    return Condition(
        type=STARTED, status=True, reason="Continued", message="an earlier clock continues"
    )


def _wanted(world: GameWorld) -> tuple[Decimal, int]:
    clock = world.spec.clock
    stands = clock.paused or world.spec.state is WorldState.HIBERNATED
    return Decimal(0 if stands else clock.speed), clock.day_length_minutes


def reported(clock: ClockStatus | None) -> tuple[Anchor, ...]:
    """The anchors in status, the oldest first."""
    if clock is None:
        return ()
    documents = [each.model_dump(by_alias=True) for each in (*clock.earlier, clock)]
    return _parsed(documents) or ()


def clock_status(anchors: Sequence[Anchor]) -> dict[str, Any]:
    """The newest anchor, and those before it where there are any."""
    *earlier, newest = [each.document() for each in anchors]
    return {**newest, "earlier": earlier} if earlier else newest


def published(document: Mapping[str, Any]) -> tuple[Anchor, ...] | None:
    """The anchors in a configuration object; None if somebody edited them or there are none."""
    if not _is_ours(document["metadata"]):
        return None
    try:
        entries = json.loads(document["data"][CONFIG_KEY])["clock"]["anchors"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return _parsed(entries)


def _parsed(entries: Any) -> tuple[Anchor, ...] | None:
    """Anchors that can be used, all of them; None if absent. Others than we may have written them."""
    try:
        return tuple(parse_anchor(each) for each in entries[:_MOST_ANCHORS]) or None
    except (ValueError, KeyError, TypeError, ArithmeticError):
        return None


def _is_ours(metadata: Mapping[str, Any]) -> bool:
    """Whether we wrote the anchors: by managedFields or, restored from a backup without them and without an owner, by our hash."""
    fields = applied_fields(metadata)
    if fields is not None:
        return f"f:{CONFIG_KEY}" in fields.get("f:data", {})
    return MANIFEST_HASH in metadata.get("annotations", {}) and controller(metadata) is None
