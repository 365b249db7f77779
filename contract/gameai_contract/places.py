"""PURE: a bounded number of places, for the labels of metrics, shared fairly by namespaces."""

from collections.abc import Iterator
from typing import Generic, TypeVar

K = TypeVar("K")


class Places(Generic[K]):
    """Keys that have a place, at most `most`. When all are taken, the namespace that has most gives one to one that has fewer."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._namespaces: dict[str, dict[K, None]] = {}
        self._namespace_of: dict[K, str] = {}

    def enter(self, key: K, namespace: str) -> K | None:
        """Give a key a place. The key that has none afterwards: itself, another one that made room, or None."""
        if key in self._namespace_of:
            return None
        mine = self._namespaces.get(namespace, {})
        lost: K | None = None
        if len(self._namespace_of) >= self.most:
            largest = max(self._namespaces.values(), key=len, default={})
            if len(mine) + 1 >= len(largest):
                return key
            # The youngest: series that exist for long are the ones that are watched.
            lost = next(reversed(largest))
            self.leave(lost)
        self._namespaces.setdefault(namespace, {})[key] = None
        self._namespace_of[key] = namespace
        return lost

    def leave(self, key: K) -> None:
        """A key needs no place any more."""
        namespace = self._namespace_of.pop(key, None)
        if namespace is None:
            return
        del self._namespaces[namespace][key]
        if not self._namespaces[namespace]:
            del self._namespaces[namespace]

    def __contains__(self, key: K) -> bool:
        """Whether a key has a place."""
        return key in self._namespace_of

    def __iter__(self) -> Iterator[K]:
        return iter(tuple(self._namespace_of))
