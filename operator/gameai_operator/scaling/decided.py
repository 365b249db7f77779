"""PURE: what the scaler keeps of a tier, and a decision with what it was made from."""

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gameai_operator.api.scaling import Scaling
from gameai_operator.api.tier import ModelTier, PerformanceStatus
from gameai_operator.controller.manifest import PAUSED, Key, Manifest
from gameai_operator.scaling import report
from gameai_operator.scaling.agents import Seen
from gameai_operator.scaling.behavior import Memory
from gameai_operator.scaling.decide import Decision, Fleet
from gameai_operator.scaling.report import Change
from gameai_operator.scaling.signals import Signals


@dataclass(slots=True)
class State:
    """What is kept of one tier between two decisions.

    `written` is the number that was last written or seen, `foreign` are times at which something else changed it, and `rival` names the last that did, as far as the object says it.
    `keda` says who carried the last decision out, `since` from when on; `wrote_at` is the time of the last write of a number.
    """

    uid: str
    memory: Memory
    history: deque[Change] = field(default_factory=lambda: deque(maxlen=report.MOST_HISTORY))
    written: int | None = None
    foreign: deque[float] = field(default_factory=deque)
    rival: str = ""
    keda: bool | None = None
    since: float = 0.0
    wrote_at: float = -math.inf
    reported_at: float = -math.inf
    reported: Mapping[str, Any] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Made:
    """A decision with what it was made from."""

    scaling: Scaling
    state: State
    fleet: Fleet
    signals: Signals
    decision: Decision
    agents: Seen
    performance: tuple[PerformanceStatus, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Decided:
    """A tier, and the decision for it at a time of the clock; None where it is not scaled."""

    key: Key
    root: Mapping[str, Any]
    tier: ModelTier
    at: float
    made: Made | None = None

    @property
    def paused(self) -> bool:
        """Whether nothing of it may be changed."""
        annotations = self.root["metadata"].get("annotations", {})
        return bool(annotations.get(PAUSED) == "true")


def learned(tier: ModelTier, scaling: Scaling) -> float:
    """Requests per player as a former process learned them, else as declared."""
    known = tier.status.scaling and tier.status.scaling.requests_per_player_per_minute
    return float(known or scaling.players.requests_per_player_per_minute)


def manifest(root: Mapping[str, Any], status: Mapping[str, Any]) -> Manifest:
    """What is applied to the status of a tier."""
    metadata = root["metadata"]
    return {
        "apiVersion": root["apiVersion"],
        "kind": root["kind"],
        "metadata": {"name": metadata["name"], "namespace": metadata["namespace"]},
        "status": status,
    }
