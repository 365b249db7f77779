"""PURE: what a tier costs per hour, from a price table."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType

from gameai_contract.inference import LatencyClass

from gameai_operator.api.tier import ModelTierSpec
from gameai_operator.tier.split import Split

# USD per hour, us-east-1: on demand as published 2026-07; spot as seen in 2025-26, rounded up.
PRICES: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "g4dn.xlarge": ("0.526", "0.263"),
        "g5.xlarge": ("1.006", "0.480"),
        "g5.2xlarge": ("1.212", "0.560"),
        "g5.4xlarge": ("1.624", "0.812"),
        "g5.12xlarge": ("5.672", "2.836"),
        "g5.48xlarge": ("16.288", "8.144"),
        "g6.xlarge": ("0.805", "0.420"),
        "g6.2xlarge": ("0.978", "0.489"),
        "g6.12xlarge": ("4.602", "2.301"),
        "g6e.xlarge": ("1.861", "0.840"),
        "g6e.2xlarge": ("2.243", "1.122"),
        "p4d.24xlarge": ("21.958", "10.979"),
        "p5.48xlarge": ("55.040", "27.520"),
    }
)
# The instance type that a class is priced by where the spec names none.
USUAL: Mapping[LatencyClass, str] = MappingProxyType(
    {
        LatencyClass.GOLD: "g5.xlarge",
        LatencyClass.SILVER: "g5.2xlarge",
        LatencyClass.BRONZE: "g5.2xlarge",
    }
)
_CENT_FRACTION = Decimal("0.001")


@dataclass(frozen=True, kw_only=True, slots=True)
class Price:
    """USD per hour of one replica, and the instance type that it is taken from."""

    instance_type: str
    on_demand: Decimal
    spot: Decimal

    def of(self, shares: Split) -> str:
        """USD per hour of so many replicas, to a tenth of a cent."""
        total = self.on_demand * shares.on_demand + self.spot * shares.spot
        return str(total.quantize(_CENT_FRACTION))


def price(spec: ModelTierSpec) -> Price | None:
    """The price of the first instance type with a known one; None if absent (CPU tiers without types)."""
    own = {
        row.instance_type: (row.on_demand_per_hour, row.spot_per_hour or row.on_demand_per_hour)
        for row in spec.pricing
    }
    prices = {**PRICES, **own}
    usual = (USUAL[spec.class_],) if spec.gpus else ()
    candidates = spec.hardware.instance_types or usual
    name = next((each for each in candidates if each in prices), None)
    if name is None:
        return None
    on_demand, spot = map(Decimal, prices[name])
    return Price(instance_type=name, on_demand=on_demand, spot=spot)
