"""PURE: how many of a tier's slots one group (a namespace, or a world) may take while others need some.

Long requests keep their slots for seconds, however fair the order is in which slots are given. So a group leaves free
what the other groups took lately, up to an equal share each, and one slot more, so that they can grow. A group that
asks nothing for `RECENT_SECONDS` has nothing left free for it.
"""

import math
from dataclasses import dataclass

RECENT_SECONDS = 5.0
_MOST_GROUPS = 64
_FADE_SECONDS = 0.05


@dataclass(slots=True)
class _Group:
    in_flight: int = 0
    # The most that was in flight lately, which fades by half in each second.
    peak: float = 0.0
    at: float = 0.0
    asked: float = -1e9

    def peak_at(self, now: float) -> float:
        faded = self.peak * math.pow(0.5, min(60.0, max(0.0, now - self.at)))
        return max(faded, float(self.in_flight))

    def take(self, now: float) -> None:
        self.in_flight += 1
        # A peak fades by 3 % in this time: comparing more often is not worth its cost.
        if self.in_flight >= self.peak or now - self.at > _FADE_SECONDS:
            self.peak, self.at = self.peak_at(now), now


class Shares:
    """Groups by name. Times are seconds of one clock."""

    def __init__(self) -> None:
        self._groups: dict[str, _Group] = {}

    def asks(self, name: str, now: float) -> None:
        """A request of a group came."""
        group = self._groups.get(name)
        if group is None:
            if len(self._groups) >= _MOST_GROUPS:
                self._forget(now)
            group = self._groups[name] = _Group()
        group.asked = now

    def takes(self, name: str, now: float) -> None:
        """A request of a group takes a slot."""
        group = self._groups.get(name)
        if group is None:
            group = self._groups[name] = _Group(asked=now)
        group.take(now)

    def frees(self, name: str) -> None:
        """A request of a group has ended."""
        self._groups[name].in_flight -= 1

    def in_flight(self, name: str) -> int:
        """How many requests of a group are in flight."""
        group = self._groups.get(name)
        return 0 if group is None else group.in_flight

    def full(self, name: str, slots: int, now: float) -> bool:
        """Whether a group has as many of so many slots in flight as it may; 0 slots have no limit."""
        if self.surely_not_full(name, slots):
            return False
        return self._groups[name].in_flight >= self.most(name, slots, now)

    def surely_not_full(self, name: str, slots: int) -> bool:
        """Whether no look at the others is needed to know that a group is not full: it has fewer than an equal share."""
        if not slots or len(self._groups) == 1:
            return True
        group = self._groups.get(name)
        return group is None or group.in_flight < max(1, slots // len(self._groups))

    def most(self, name: str, slots: int, now: float) -> int:
        """How many of so many slots a group may have in flight: what the others leave, and an equal share at least."""
        others = [
            each
            for other, each in self._groups.items()
            if other != name and (each.in_flight or now - each.asked < RECENT_SECONDS)
        ]
        equal = max(1, slots // (len(others) + 1))
        kept = sum(min(equal, math.ceil(each.peak_at(now)) + 1) for each in others)
        return max(equal, slots - kept)

    def __contains__(self, name: str) -> bool:
        """Whether a group is known."""
        return name in self._groups

    def __len__(self) -> int:
        """How many groups are known."""
        return len(self._groups)

    def _forget(self, now: float) -> None:
        gone = [
            name
            for name, each in self._groups.items()
            if not each.in_flight and now - each.asked >= RECENT_SECONDS
        ]
        for name in gone:
            del self._groups[name]
