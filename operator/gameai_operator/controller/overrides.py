"""PURE: when numbers of replicas that something overrides are written again.

An admission policy that lowers a number may be changed or removed at any time, and no event says so.
"""

from collections.abc import Iterable

from gameai_operator.controller.manifest import Key

RETRY_SECONDS = 300.0


class Overrides:
    """Remembers for each root when its overridden Deployments were last written; times are seconds of a steady clock."""

    def __init__(self) -> None:
        self._written: dict[Key, dict[Key, float]] = {}

    def due(self, root: Key, overridden: Iterable[Key], now: float) -> tuple[Key, ...]:
        """Those of a root's overridden Deployments that are to be written now: at once, then every RETRY_SECONDS."""
        before = self._written.get(root, {})
        written = {key: before.get(key, -RETRY_SECONDS) for key in overridden}
        due = tuple(key for key, last in written.items() if now - last >= RETRY_SECONDS)
        self._written[root] = written | dict.fromkeys(due, now)
        return due

    def forget(self, root: Key) -> None:
        """A root is gone."""
        self._written.pop(root, None)

    def clear(self) -> None:
        """Another operator may have written since."""
        self._written.clear()
