"""PURE: how a tier's replicas move between its on-demand and its spot Deployment without losing ready pods.

A side gives up pods only as the other side's become ready. With A the side that shrinks, B the other, and N replicas
wanted in all, A keeps

    max(wanted of A, min(size of A, ready or starting of A, N - maxUnavailable - min(ready of B, wanted of B, size of B)))

(while B rolls out: its ready pods less its surge, and its size less maxUnavailable), so that
min(ready now, N - maxUnavailable) pods stay ready: pods that are not ready go first when a ReplicaSet shrinks.
A's ready pods are the more of those in its status and those that the operator sees. While A does not roll out, pods whose
container runs count as ready there: they may be by the time its controllers act, and a ready one would go in their place.
B's ready pods are the fewer of those in its status and those that the operator sees itself: status is summed up by two
controllers one after the other, and counts pods that are being deleted already when a roll-out is turned back.
A growing side takes what is free of N + maxSurge. A Deployment that rolls out a template is not shrunk, except to 0:
its controller can lose sight of the roll-out then (kubernetes/kubernetes#138036).
"""

from dataclasses import dataclass

from gameai_operator.resources.deployment import Deployment
from gameai_operator.tier.split import Split


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """Pods of both Deployments that are not being deleted: those that are ready, and those that start on their nodes."""

    ready: Split
    starting: Split


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """How many pods may be above and below the wanted number meanwhile: `spec.rollout`."""

    surge: int
    unavailable: int


def handover(
    wanted: Split,
    on_demand: Deployment | None,
    spot: Deployment | None,
    limits: Limits,
    seen: Seen,
) -> Split:
    """The sizes that both Deployments should have now, on the way to `wanted`; None is one that does not exist."""
    total = wanted.total
    if total == 0:
        return wanted
    floor = total - limits.unavailable
    by_spot = _serving(spot, wanted.spot, limits, seen.ready.spot)
    by_on_demand = _serving(on_demand, wanted.on_demand, limits, seen.ready.on_demand)
    ready, starting = seen.ready, seen.starting
    kept = Split(
        on_demand=_kept(
            wanted.on_demand, on_demand, floor - by_spot, ready.on_demand, starting.on_demand
        ),
        spot=_kept(wanted.spot, spot, floor - by_on_demand, ready.spot, starting.spot),
    )
    ceiling = total + limits.surge
    return Split(
        on_demand=_grown(kept.on_demand, wanted.on_demand, ceiling - kept.spot),
        spot=_grown(kept.spot, wanted.spot, ceiling - kept.on_demand),
    )


def _serving(live: Deployment | None, wanted: int, limits: Limits, seen: int) -> int:
    """Ready pods that will still be there: none of a roll-out's surge, and not those that it may take away.

    Its controller may be deleting as many as its surge, and status shows that later. A size that has grown since does
    not bring them back. One whose controller has not seen our last write may still carry out the one before.
    """
    if live is None or not live.observed:
        return 0
    ready = min(live.ready, seen)
    if live.replacing:
        return max(0, min(ready - limits.surge, wanted, live.size - limits.unavailable))
    return min(ready, wanted, live.size)


def _kept(wanted: int, live: Deployment | None, needed: int, ready: int, starting: int) -> int:
    """The size of a side before anything grows: at most what it has, at least what it is to have or must keep."""
    if live is None:
        return 0
    if live.size <= wanted:
        return live.size
    ready = max(live.ready, ready)
    if live.replacing:
        # Pods that start are its new ones, or those of a template that never starts: they do not hold up the other side.
        return live.size if max(wanted, min(ready, needed)) else 0
    return max(wanted, min(live.size, ready + starting, needed))


def _grown(kept: int, wanted: int, free: int) -> int:
    return max(kept, min(wanted, free))
