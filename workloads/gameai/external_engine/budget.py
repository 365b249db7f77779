"""PURE: what may be spent within 60 minutes. Sums are whole nano-dollars (1e-9 USD)."""

import math
from collections import deque
from dataclasses import dataclass
from decimal import Decimal

NANO = 1_000_000_000
_WINDOW_SECONDS, _STEP_SECONDS = 3600.0, 60.0
_MILLION = 1_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Prices:
    """USD for a million tokens of prompts and of answers."""

    input_usd: Decimal
    output_usd: Decimal

    def of(self, prompt_tokens: int, completion_tokens: int) -> int:
        """What so many tokens cost, rounded up."""
        usd = self.input_usd * prompt_tokens + self.output_usd * completion_tokens
        return math.ceil(usd * NANO / _MILLION)


class Budget:
    """A sum for any 60 minutes, in steps of a minute. Requests that run count with what they may cost at most."""

    def __init__(self, usd_per_hour: Decimal, prices: Prices) -> None:
        self.whole = int(usd_per_hour * NANO)
        self.prices = prices
        self._spent: deque[tuple[float, int]] = deque()
        self._reserved = 0
        self._usual = 0

    def reserve(self, most: int, now: float) -> bool:
        """Set the largest price of a request aside; False where there is no room."""
        if most > self.left(now):
            return False
        self._reserved += most
        self._usual = most if not self._usual else (7 * self._usual + most) // 8
        return True

    def fault(self, now: float) -> str:
        """Why no usual request has room, apart from what runs; empty where one has. A large request alone says nothing of it."""
        seconds = self.seconds_until(min(self._usual, self.whole), now)
        return f"the budget is spent: room in {seconds:.0f} s" if seconds else ""

    def settle(self, reserved: int, spent: int, now: float) -> None:
        """A request that was given room has ended, and has cost this."""
        self._reserved -= reserved
        step = now - now % _STEP_SECONDS
        if self._spent and self._spent[-1][0] == step:
            self._spent[-1] = (step, self._spent[-1][1] + spent)
        elif spent:
            self._spent.append((step, spent))

    def left(self, now: float) -> int:
        """What may still be spent."""
        self._forget(now)
        return self.whole - self._reserved - sum(each for _, each in self._spent)

    def seconds_until(self, most: int, now: float) -> float:
        """When there is room for a sum, if no more is spent; requests that run may free theirs earlier."""
        self._forget(now)
        free = self.whole - sum(each for _, each in self._spent)
        for step, spent in self._spent:
            if free >= most:
                break
            free += spent
            if free >= most:
                return step + _STEP_SECONDS + _WINDOW_SECONDS - now
        return 0.0

    def _forget(self, now: float) -> None:
        while self._spent and self._spent[0][0] + _STEP_SECONDS + _WINDOW_SECONDS <= now:
            self._spent.popleft()
