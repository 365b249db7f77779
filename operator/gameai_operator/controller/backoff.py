"""PURE: how long to wait before the next try: 5 ms · 2ⁿ up to 5 min, ±20 %."""

FIRST_SECONDS = 0.005
MOST_SECONDS = 300.0
JITTER = 0.2
_MOST_DOUBLINGS = 16  # 5 ms · 2¹⁶ is past the most already, and a float never overflows


def delay_seconds(failures: int, chance: float, *, most: float = MOST_SECONDS) -> float:
    """Seconds to wait after so many failures in a row (≥ 1); `chance` is uniform in [0, 1)."""
    doublings = min(max(failures, 1) - 1, _MOST_DOUBLINGS)
    base = min(FIRST_SECONDS * 2.0**doublings, most)
    return base * (1 + JITTER * (2 * chance - 1))
