"""PURE: how much of a process one world may use, so that the others have the rest."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from gameai.errors import ExhaustedError

_MOST_WORLDS = 20_000


@dataclass(frozen=True, kw_only=True, slots=True)
class CallLimits:
    """Of one world in one process: calls at a time, calls a second, and how many may come at once after a quiet time."""

    at_a_time: int = 64
    per_second: float = 1000.0
    burst: int = 2000


@dataclass(slots=True, kw_only=True)
class _Use:
    tokens: float
    at: float
    running: int = 0


class CallLimiter:
    """Counts the calls of each world; `now` is a clock in seconds that only rises."""

    def __init__(self, limits: CallLimits, now: Callable[[], float]) -> None:
        self._limits, self._now = limits, now
        self._used: dict[str, _Use] = {}

    @contextlib.contextmanager
    def held(self, world: str) -> Iterator[None]:
        """A place for one call. Raises `ExhaustedError`, which says when to call again."""
        use = self._refilled(world)
        limits = self._limits
        if use.running >= limits.at_a_time:
            raise ExhaustedError(
                f"{limits.at_a_time} calls of {world} are running here: wait for their answers"
            )
        if use.tokens < 1:
            wait_ms = max(1, round((1 - use.tokens) / limits.per_second * 1000))
            raise ExhaustedError(
                f"{world} may call {limits.per_second:g} times a second: call again in {wait_ms} ms"
            )
        use.tokens -= 1
        use.running += 1
        try:
            yield
        finally:
            use.running -= 1

    def _refilled(self, world: str) -> _Use:
        now, limits = self._now(), self._limits
        use = self._used.get(world)
        if use is None:
            if len(self._used) >= _MOST_WORLDS:
                self._forget(now)
            use = self._used[world] = _Use(tokens=limits.burst, at=now)
        use.tokens = min(limits.burst, use.tokens + (now - use.at) * limits.per_second)
        use.at = now
        return use

    def _forget(self, now: float) -> None:
        """Worlds without calls, whose burst is whole again."""
        whole = self._limits.burst / self._limits.per_second
        self._used = {
            name: each for name, each in self._used.items() if each.running or now - each.at < whole
        }
