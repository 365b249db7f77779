"""PURE: how long an engine will take, from how long it took."""

import math
from dataclasses import dataclass

# Weight of the newest of about 20.
_NEWEST = 0.05
# A mean and this many mean deviations are about the 95th percentile of a bell curve.
_DEVIATIONS = 2.0
# What is known is forgotten so fast while nothing comes: else a tier that was slow once would be shed for ever.
_HALF_LIFE_SECONDS = 5.0
_MOST_OF_BUDGET = 0.75
# The shortest free answer that is worth asking for, and the part of its time in which it should be written.
LEAST_TOKENS = 8
_FITTING = 0.75


@dataclass(slots=True)
class _Spread:
    mean: float
    deviation: float
    seen: float


class Estimate:
    """Service times by size: tokens of an answer, in powers of two. Nothing known is 0: it is tried."""

    def __init__(self) -> None:
        self._spreads: dict[int, _Spread] = {}

    def observe(self, tokens: int, seconds: float, now: float) -> None:
        """A request of at most so many tokens took so long."""
        size = tokens.bit_length()
        spread = self._spreads.get(size)
        if spread is None:
            self._spreads[size] = _Spread(seconds, seconds / 4, now)
            return
        off = abs(seconds - spread.mean)
        spread.mean += _NEWEST * (seconds - spread.mean)
        spread.deviation += _NEWEST * (off - spread.deviation)
        spread.seen = now

    def mean(self, tokens: int, now: float) -> float:
        """Seconds on average."""
        spread = self._spreads.get(tokens.bit_length())
        return spread.mean * _faded(now - spread.seen) if spread else 0.0

    def needed(self, tokens: int, budget: float, now: float) -> float:
        """Seconds that a request must have left to be worth a slot, where `budget` is what it had in the beginning.

        Those that 19 of 20 do not exceed: with the mean, half of those at the edge take a slot and are late. But no
        more than three quarters of the budget, or the mean if that is more: else an engine that just makes it would
        be asked nothing at all.
        """
        mean = self.mean(tokens, now)
        return max(mean, min(self.high(tokens, now), _MOST_OF_BUDGET * budget))

    def high(self, tokens: int, now: float) -> float:
        """Seconds that 19 of 20 do not exceed."""
        spread = self._spreads.get(tokens.bit_length())
        if spread is None:
            return 0.0
        return (spread.mean + _DEVIATIONS * spread.deviation) * _faded(now - spread.seen)


def _faded(age: float) -> float:
    return 1.0 if age <= 1.0 else math.pow(0.5, (age - 1.0) / _HALF_LIFE_SECONDS)


class Pace:
    """How fast an engine writes, and so how long a free answer may be whose asker names no length."""

    def __init__(self) -> None:
        # Seconds for each token of an answer, the prompt's time included; 0: not known.
        self._seconds = 0.0

    def wrote(self, tokens: int, seconds: float) -> None:
        """An answer of so many tokens took so long. A few tokens say more of the prompt than of the pace."""
        if tokens < LEAST_TOKENS:
            return
        each = seconds / tokens
        self._seconds += (_NEWEST if self._seconds else 1.0) * (each - self._seconds)

    def missed(self, tokens: int, seconds: float) -> None:
        """So many tokens were not written in this time."""
        if tokens >= LEAST_TOKENS:
            self._seconds = max(self._seconds, seconds / tokens)

    def fitting(self, tokens: int, seconds: float) -> int:
        """How many of so many tokens fit so many seconds, but no fewer than `LEAST_TOKENS`."""
        if not self._seconds or tokens <= LEAST_TOKENS:
            return tokens
        return min(tokens, max(LEAST_TOKENS, int(_FITTING * max(0.0, seconds) / self._seconds)))
