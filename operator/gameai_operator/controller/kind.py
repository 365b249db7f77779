"""PURE: what the controller knows of a kind: what it watches, and how it decides."""

import datetime
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import Any

from gameai_operator.api.crd import Definition
from gameai_operator.controller.conditions import Condition
from gameai_operator.controller.manifest import Key, Manifest, Resource
from gameai_operator.controller.plan import Child, Creation
from gameai_operator.controller.pod_facts import Pod


class Absence(Enum):
    """Why a kind of another project is not used."""

    MISSING = "missing"
    UNSUPPORTED = "unsupported"
    FORBIDDEN = "forbidden"
    UNREADABLE = "unreadable"


class SlotUse(Enum):
    """What an object has to do with a roll-out that goes a few objects at a time."""

    NONE = "none"
    WAITS = "waits"
    HOLDS = "holds"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True, slots=True)
class RejectedWrite:
    """A write that was not done; `reason` is a condition's."""

    key: Key
    reason: str
    message: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Observed:
    """What is there: the root as the API server gave it, its children and pods, and which writes were not done.

    `rejections` last until somebody acts; `failures` are writes that may succeed later but have failed several times.
    `neighbours` finds the roots of its namespace that others refer to. `references` are projections of what the root
    refers to, None for what is absent. `turn` says whether it may begin a roll-out that goes a few objects at a time,
    `holds_slot` whether it is under way in one, `halted` why that roll-out was stopped.
    """

    root: Mapping[str, Any]
    children: Mapping[Key, Child]
    pods: tuple[Pod, ...]
    now: datetime.datetime
    rejections: tuple[RejectedWrite, ...] = ()
    failures: tuple[RejectedWrite, ...] = ()
    references: Mapping[Key, Any] = field(default_factory=lambda: MappingProxyType({}))
    turn: bool = True
    neighbours: Callable[[], tuple[Key, ...]] = tuple
    holds_slot: bool = False
    halted: str = ""

    def facts(self, kind: str, name: str) -> Any:
        """The facts kept of a child; None where it is absent, going, or of a former root of this name."""
        metadata = self.root["metadata"]
        child = self.children.get(Key(kind, metadata["namespace"], name))
        if child is None or child.terminating:
            return None
        former = child.owner is not None and child.owner.uid != metadata["uid"]
        return None if former else child.facts

    def applied(self, kind: str, name: str) -> Any:
        """The facts of a child that we applied; None for one that we could not take over, whose pods are not ours."""
        metadata = self.root["metadata"]
        child = self.children.get(Key(kind, metadata["namespace"], name))
        return self.facts(kind, name) if child is not None and child.applied else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """What is to be: children, status fields, conditions.

    Children in `keep` are left as they are: their manifest cannot be rendered, or others have not taken their place
    yet. `replicas` are the numbers of children that can be scaled, of those in `keep` too; `own_replicas` is filled into the root's own
    `spec.replicas`, which its scale subresource needs, where that is absent. `creations` are tried each time, so a decision has them
    only while what needs them is absent. `requeue_after_seconds` is when time alone changes
    the decision. `turn` says what it has to do with a paced roll-out, `healthy` whether it works as that begins.
    """

    wanted: tuple[Manifest, ...]
    status: Mapping[str, Any]
    conditions: tuple[Condition, ...]
    keep: tuple[Key, ...] = ()
    replicas: Mapping[Key, int] = field(default_factory=lambda: MappingProxyType({}))
    own_replicas: int | None = None
    creations: tuple[Creation, ...] = ()
    requeue_after_seconds: float | None = None
    turn: SlotUse = SlotUse.NONE
    healthy: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """How a user's object is read for the roots that name it.

    `read` may take seconds: it runs in a thread. `size_bytes` is what a result takes of its namespace's
    `budget_bytes`; `refuse` and `unread` make the result of one that does not fit there, and of one that the API server
    does not give, for a reason in words.
    """

    read: Callable[[Mapping[str, Any]], Any]
    refuse: Callable[[str], Any]
    unread: Callable[[str], Any]
    size_bytes: Callable[[Any], int]
    budget_bytes: int


def _unread(_: Mapping[str, Any]) -> None:
    """No decision needs more than whether it is there and ours."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Watched:
    """A kind of child: how to find its root, what to keep of it, and whether a name may be taken in silence.

    Where `get_before_apply`, an object of that kind could be adopted without any conflict (nothing that we set need differ),
    so the first apply is preceded by a GET. Where `optimistic_lock`, what is applied was derived from what the object held, so it
    is applied onto the version that the decision saw. Where `apply_barrier`, nothing that `starts_pods` is created before it
    is there: pods do not start without the limits that were meant for them. `reads` is how users' objects of this kind
    are read, which roots name. `are_pods`: the root is found by its label, and its kind says how they are read. `stuck` gives
    the seconds until an object without any change for so long counts as stuck, 0.0 if it does, None where it does not.
    `hosts_pods`: pods run on objects of this kind, so a change of its projection wakes the roots of those pods.
    `supported` marks a kind of another project, which may not be installed: objects of that kind are written only where it
    is served and its CustomResourceDefinition is one that this function accepts.
    """

    resource: Resource
    project: Callable[[Mapping[str, Any]], Any] = _unread
    get_before_apply: bool = False
    optimistic_lock: bool = False
    apply_barrier: bool = False
    starts_pods: bool = False
    are_pods: bool = False
    hosts_pods: bool = False
    stuck: Callable[[Any, float], float | None] | None = None
    reads: Reading | None = None
    supported: Callable[[Mapping[str, Any]], bool] | None = None


def _to_nothing(_: Mapping[str, Any]) -> tuple[Key, ...]:
    return ()


def _shows_nothing(_: Mapping[str, Any]) -> None:
    return None


def _never(_: Mapping[str, Any]) -> bool:
    return False


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """One row of the table of kinds.

    `label` is what children carry with the root's name as value; `status_fields` and `condition_types` are the part of
    status that the operator writes, of which `counts` may wait a moment. `read_pod` gives the facts of a pod of this kind. `refers` names what a root depends on,
    `project` is what others see of it, `rolls` whether it is under way in a paced roll-out.
    Children of the kinds `despite_pause` are written for a paused root too: a pause must keep no access alive.
    """

    definition: Definition
    resource: Resource
    label: str
    status_fields: tuple[str, ...]
    condition_types: tuple[str, ...]
    decide: Callable[[Observed], Decision]
    read_pod: Callable[[Mapping[str, Any]], Pod]
    counts: frozenset[str] = frozenset()
    refers: Callable[[Mapping[str, Any]], tuple[Key, ...]] = _to_nothing
    project: Callable[[Mapping[str, Any]], Any] = _shows_nothing
    rolls: Callable[[Mapping[str, Any]], bool] = _never
    despite_pause: frozenset[str] = frozenset()

    @property
    def referred_to(self) -> bool:
        """Whether other roots refer to roots of this kind."""
        return self.project is not _shows_nothing
