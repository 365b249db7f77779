"""PURE: how long objects have been seen without any change, by our own clock alone.

Times that an API server wrote are never compared with ours: a minute of skew would make every roll-out look stuck.
"""

from collections.abc import Iterable, Mapping

from gameai_operator.controller.manifest import Key


class Stillness:
    """Remembers for each root when each version of its children was first seen; times are seconds of a steady clock."""

    def __init__(self) -> None:
        self._first: dict[Key, dict[Key, tuple[int, float]]] = {}

    def note(
        self, root: Key, versions: Iterable[tuple[Key, int]], now: float
    ) -> Mapping[Key, float]:
        """Take note of the present versions of a root's children; for how many seconds each has been seen."""
        before = self._first.get(root, {})
        seen = {
            key: before[key] if key in before and before[key][0] == version else (version, now)
            for key, version in versions
        }
        self._first[root] = seen
        return {key: now - first for key, (_, first) in seen.items()}

    def forget(self, root: Key) -> None:
        """A root is gone."""
        self._first.pop(root, None)
