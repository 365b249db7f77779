"""PURE: what of an object's status is worth a metric, for a bounded number of objects."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gameai_contract.places import Places

from gameai_operator.controller.manifest import Key

# Series of further objects are left out and counted: a metric store must not fail for a cluster that grew.
MOST_OBJECTS = 2000
_NUMBERS = {
    "wanted_replicas": ("wantedReplicas",),
    "ready_replicas": ("readyReplicas",),
    "lent_replicas": ("capacity", "lent"),
    "cost_usd_per_hour": ("cost", "perHour"),
    "wanted_cost_usd_per_hour": ("cost", "wantedPerHour"),
}
NUMBERS = tuple(_NUMBERS)


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """Numbers by their metric's name, and conditions as (type, status, reason)."""

    numbers: tuple[tuple[str, float], ...]
    conditions: tuple[tuple[str, str, str], ...]


class ObjectMetrics:
    """The facts of so many objects, and of each namespace's fair part of them."""

    def __init__(self, most: int = MOST_OBJECTS) -> None:
        self._places = Places[Key](most)
        self._facts: dict[Key, Facts] = {}
        self._left_out: set[Key] = set()

    def see(self, key: Key, root: Mapping[str, Any] | None) -> None:
        """An object is so; None: it is gone."""
        if root is None:
            self._places.leave(key)
            self._facts.pop(key, None)
            self._left_out.discard(key)
            return
        lost = self._places.enter(key, key.namespace)
        if lost is not None:
            self._left_out.add(lost)
            self._facts.pop(lost, None)
        if lost != key:
            self._left_out.discard(key)
            self._facts[key] = facts(root.get("status", {}))

    def __iter__(self) -> Iterator[tuple[Key, Facts]]:
        return iter(tuple(self._facts.items()))

    @property
    def left_out(self) -> int:
        """Objects without series."""
        return len(self._left_out)


def facts(status: Mapping[str, Any]) -> Facts:
    """What of a status is worth a metric."""
    found = ((name, _number(status, path)) for name, path in _NUMBERS.items())
    return Facts(
        numbers=tuple((name, value) for name, value in found if value is not None),
        conditions=tuple(
            (each["type"], each["status"], each["reason"]) for each in status.get("conditions", ())
        ),
    )


def _number(status: Mapping[str, Any], path: tuple[str, ...]) -> float | None:
    value: Any = status
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    try:
        return None if value is None else float(value)
    except ValueError:
        return None
