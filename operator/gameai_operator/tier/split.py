"""PURE: how many replicas run on demand and how many on spot nodes."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Split:
    """Replicas by capacity."""

    on_demand: int
    spot: int

    @property
    def total(self) -> int:
        """Replicas in all."""
        return self.on_demand + self.spot


def split(replicas: int, spot_percent: int, minimum_on_demand: int) -> Split:
    """On demand: min(N, max(minimum, ⌈N·(100 - spot)/100⌉)); the rest on spot. Percent from 0 to 100."""
    share = -(-replicas * (100 - spot_percent) // 100)
    on_demand = min(replicas, max(minimum_on_demand, share)) if spot_percent else replicas
    return Split(on_demand=on_demand, spot=replicas - on_demand)
