"""PURE: on-demand replicas that stand in for spot replicas which find no node.

Spot replicas keep waiting meanwhile, so that a node is looked for. Once they have one, the hand-over gives the
on-demand replicas up as the spot ones become ready.
"""

import datetime
from collections.abc import Iterable
from dataclasses import dataclass

from gameai_operator.controller.pod_facts import Pod
from gameai_operator.tier.split import Split
from gameai_operator.tier.template import SPOT


@dataclass(frozen=True, kw_only=True, slots=True)
class Loan:
    """How many replicas are lent now, and the seconds until one more would be; None where none would."""

    lent: int = 0
    next_seconds: float | None = None

    def shares(self, wanted: Split) -> Split:
        """The sizes of both groups with what is lent."""
        return Split(on_demand=wanted.on_demand + self.lent, spot=wanted.spot)


def loan(pods: Iterable[Pod], wanted: Split, after_seconds: int, now: datetime.datetime) -> Loan:
    """What is lent for spot pods that have waited for a node for `after_seconds`; 0 lends nothing."""
    spot = [each for each in pods if each.group == SPOT and not each.terminating]
    missing = max(0, wanted.spot - sum(each.placed for each in spot))
    if not after_seconds or not missing:
        return Loan()
    waits = sorted((_waited(each, now) for each in spot if each.unschedulable), reverse=True)
    due = sum(each >= after_seconds for each in waits)
    left = [after_seconds - each for each in waits if each < after_seconds]
    return Loan(lent=min(due, missing), next_seconds=min(left, default=None))


def _waited(pod: Pod, now: datetime.datetime) -> float:
    """Seconds; a pod whose time is not known has just begun."""
    if not pod.unschedulable_since:
        return 0.0
    since = datetime.datetime.fromisoformat(pod.unschedulable_since)
    return (now - since).total_seconds()
