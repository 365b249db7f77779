"""PURE: how long an engine will take, from how long it took."""

import math
from dataclasses import dataclass

# Weight of the newest of about 20.
_NEWEST = 0.05
# A mean and this many mean deviations are about the 95th percentile of a bell curve.
_DEVIATIONS = 2.0
# What is known is forgotten so fast while nothing comes: else a tier that was slow once would be shed forever.
_HALF_LIFE_SECONDS = 5.0
_MOST_OF_BUDGET = 0.75
# The shortest free answer that is worth asking for, and the part of its time in which it should be written.
LEAST_TOKENS = 8
# Fewer say nothing of a pace.
_TELLING_TOKENS = 16
# Prompts of less than 1 KiB are alike.
_LEAST_PROMPT_BITS = 10
_FITTING = 0.75


@dataclass(slots=True)
class _Spread:
    mean: float
    deviation: float
    seen: float


def size_of(tokens: int, prompt_bytes: int) -> int:
    """The size of a request: tokens of its answer and bytes of its prompt, both in powers of two.

    The time of a long prompt does not predict the time of a short one: clients with long prompts must not cause others to be shed.
    """
    return tokens.bit_length() << 5 | _prompt_bits(prompt_bytes)


def _prompt_bits(prompt_bytes: int) -> int:
    return max(_LEAST_PROMPT_BITS, prompt_bytes.bit_length())


class Estimate:
    """Service times by size. Nothing known is 0: it is tried."""

    def __init__(self) -> None:
        self._spreads: dict[int, _Spread] = {}

    def observe(self, size: int, seconds: float, now: float) -> None:
        """A request of a size took so long."""
        spread = self._spreads.get(size)
        if spread is None:
            self._spreads[size] = _Spread(seconds, seconds / 4, now)
            return
        off = abs(seconds - spread.mean)
        spread.mean += _NEWEST * (seconds - spread.mean)
        spread.deviation += _NEWEST * (off - spread.deviation)
        spread.seen = now

    def mean(self, size: int, now: float) -> float:
        """Seconds on average."""
        spread = self._spreads.get(size)
        return spread.mean * _faded(now - spread.seen) if spread else 0.0

    def needed(self, size: int, budget: float, now: float) -> float:
        """Seconds that a request must have left to be worth a slot, where `budget` is what it had in the beginning.

        Those that 19 of 20 do not exceed: with the mean, half of those at the edge take a slot and are late. But no
        more than three quarters of the budget, or the mean if that is more: else an engine that just makes it would
        be asked nothing at all.
        """
        mean = self.mean(size, now)
        return max(mean, min(self.high(size, now), _MOST_OF_BUDGET * budget))

    def high(self, size: int, now: float) -> float:
        """Seconds that 19 of 20 do not exceed."""
        spread = self._spreads.get(size)
        if spread is None:
            return 0.0
        return (spread.mean + _DEVIATIONS * spread.deviation) * _faded(now - spread.seen)


def _faded(age: float) -> float:
    return 1.0 if age <= 1.0 else math.pow(0.5, (age - 1.0) / _HALF_LIFE_SECONDS)


class Pace:
    """How fast an engine writes, and so the default length of a free answer.

    By bytes of the prompt, in powers of two: its time counts too.
    """

    def __init__(self) -> None:
        # Seconds for each token of an answer.
        self._seconds: dict[int, float] = {}

    def wrote(self, tokens: int, prompt_bytes: int, seconds: float) -> None:
        """An answer of so many tokens took so long. A few tokens say more of the prompt than of the pace."""
        each = seconds / max(1, tokens)
        # Short answers count if they were faster: otherwise an engine that was slow once would stay slow with short answers.
        if tokens >= _TELLING_TOKENS or (tokens >= LEAST_TOKENS and each < self._of(prompt_bytes)):
            self._learn(prompt_bytes, each)

    def missed(self, tokens: int, prompt_bytes: int, seconds: float) -> None:
        """So many tokens were not written in this time. Less time than is known says nothing."""
        if tokens >= _TELLING_TOKENS and seconds / tokens > self._of(prompt_bytes):
            self._learn(prompt_bytes, seconds / tokens)

    def fitting(self, tokens: int, prompt_bytes: int, seconds: float) -> int:
        """How many of so many tokens fit so many seconds, but no fewer than `LEAST_TOKENS`."""
        each = self._of(prompt_bytes)
        if not each or tokens <= LEAST_TOKENS:
            return tokens
        return min(tokens, max(LEAST_TOKENS, int(_FITTING * max(0.0, seconds) / each)))

    def _of(self, prompt_bytes: int) -> float:
        return self._seconds.get(_prompt_bits(prompt_bytes), 0.0)

    def _learn(self, prompt_bytes: int, each: float) -> None:
        known = self._of(prompt_bytes)
        self._seconds[_prompt_bits(prompt_bytes)] = known + (_NEWEST if known else 1.0) * (
            each - known
        )
