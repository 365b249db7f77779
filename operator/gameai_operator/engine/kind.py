"""PURE: what a kind tells the engine: what it watches, and how it decides."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gameai_operator.api.crd import Definition
from gameai_operator.engine.conditions import Condition
from gameai_operator.engine.manifest import Key, Manifest, Resource
from gameai_operator.engine.plan import Child
from gameai_operator.engine.pods import Pod


@dataclass(frozen=True, kw_only=True, slots=True)
class Refusal:
    """A write that the API server or another owner will not have, for good; `reason` is a condition's."""

    key: Key
    reason: str
    message: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Sight:
    """What is there: the root as the API server gave it, its children and pods, and what was refused."""

    root: Mapping[str, Any]
    children: Mapping[Key, Child]
    pods: tuple[Pod, ...]
    refusals: tuple[Refusal, ...] = ()

    def facts(self, kind: str, name: str) -> Any:
        """The facts kept of a child; None where it is absent or going."""
        child = self.children.get(Key(kind, self.root["metadata"]["namespace"], name))
        return None if child is None or child.terminating else child.facts


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """What is to be: children (None leaves them as they are), status fields, conditions.

    Children in `keep` are no longer wanted, but needed until others have taken their place.
    """

    wanted: tuple[Manifest, ...] | None
    status: Mapping[str, Any]
    conditions: tuple[Condition, ...]
    keep: tuple[Key, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Watched:
    """A kind of child: how to find its root, what to keep of it, and whether a name may be taken in silence.

    Where `look_first`, an object of that kind could be adopted without any conflict (nothing that we set need differ),
    so the first apply is preceded by a GET.
    """

    resource: Resource
    project: Callable[[Mapping[str, Any]], Any]
    look_first: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """One row of the table of kinds.

    `label` is what children carry with the root's name as value; `status_fields` and `condition_types` are the part of
    status that the operator writes.
    """

    definition: Definition
    resource: Resource
    label: str
    status_fields: tuple[str, ...]
    condition_types: tuple[str, ...]
    decide: Callable[[Sight], Decision]
