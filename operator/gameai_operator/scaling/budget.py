"""PURE: how many replicas, and what they cost, for numbers of players: the forecast of `decide` without measurements."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from gameai_contract.inference import LatencyClass

from gameai_operator.api.tier import ModelTier
from gameai_operator.scaling.decide import questions_per_replica, replicas_for
from gameai_operator.tier import headroom
from gameai_operator.tier.effective import target_ms
from gameai_operator.tier.pricing import price
from gameai_operator.tier.split import split

HOURS_PER_MONTH = 730
_CENT = Decimal("0.01")


@dataclass(frozen=True, kw_only=True, slots=True)
class Planned:
    """One tier at one number of players. Costs are USD, with placeholders; None where no price is known.

    `capacity` is what a replica serves, and where that is from; `limited` says that `maxReplicas` allows fewer than these players need, `fixed` that the tier has no `spec.scaling`.
    """

    tier: str
    players: int
    replicas: int
    on_demand: int
    spot: int
    gpus: int
    capacity: str
    limited: bool
    fixed: bool
    per_hour: Decimal | None

    @property
    def per_month(self) -> Decimal | None:
        """USD for 730 hours at this number of players."""
        return None if self.per_hour is None else (self.per_hour * HOURS_PER_MONTH).quantize(_CENT)

    @property
    def per_player(self) -> Decimal | None:
        """USD per player and month."""
        month = self.per_month
        return None if month is None else (month / max(1, self.players)).quantize(_CENT)

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "tier": self.tier,
            "players": self.players,
            "replicas": self.replicas,
            "onDemand": self.on_demand,
            "spot": self.spot,
            "gpus": self.gpus,
            "replicaCapacity": self.capacity,
            "limitedByMaxReplicas": self.limited,
            "fixed": self.fixed,
            "usdPerHour": _text(self.per_hour),
            "usdPerMonth": _text(self.per_month),
            "usdPerPlayerMonth": _text(self.per_player),
        }


def plan(
    tiers: Iterable[ModelTier], players: Iterable[int], capacity: Mapping[LatencyClass, float]
) -> list[Planned]:
    """Every tier at every number of players.

    `capacity` is requests per second of a replica, by class. Without it the measurement in a tier's status counts; without
    that every request takes as long as the latency target.
    """
    numbers = list(players)
    return [_planned(tier, count, capacity) for tier in tiers for count in numbers]


def _rate(tier: ModelTier, given: Mapping[LatencyClass, float]) -> tuple[float, str]:
    """Requests per second of a replica, and where that is from."""
    if tier.spec.class_ in given:
        return given[tier.spec.class_], "given"
    target = target_ms(tier)
    measured = [
        float(each.requests_per_second)
        for each in tier.status.performance
        if each.target_ms == target and float(each.idle_p95_ms) <= target
    ]
    declared = tier.spec.scaling.queue.target_per_replica if tier.spec.scaling else None
    if measured:
        return min(measured), "measured"
    return questions_per_replica(declared, None) * 1000 / target, "assumed"


def _planned(tier: ModelTier, players: int, capacity: Mapping[LatencyClass, float]) -> Planned:
    spec = tier.spec
    needed = limited = 0
    rate, source = _rate(tier, capacity)
    if spec.scaling is None:
        needed = 1 if spec.replicas is None else spec.replicas
        replicas = needed
    else:
        per_minute = float(spec.scaling.players.requests_per_player_per_minute)
        needed = replicas_for(players * per_minute / 60, rate)
        replicas = min(max(needed, spec.scaling.min_replicas), spec.scaling.max_replicas)
        limited = needed > replicas
    shares = split(replicas, spec.capacity.spot_percent, spec.capacity.minimum_on_demand)
    placeholders = headroom.replicas(tier, replicas)
    known = price(spec)
    return Planned(
        tier=f"{tier.metadata.namespace}/{tier.metadata.name}",
        players=players,
        replicas=replicas,
        on_demand=shares.on_demand,
        spot=shares.spot,
        gpus=(replicas + placeholders) * spec.gpus,
        capacity=f"{rate:.3g}/s {source}",
        limited=bool(limited),
        fixed=spec.scaling is None,
        per_hour=None
        if known is None
        else Decimal(known.of(headroom.priced(tier, shares, placeholders))),
    )


def table(rows: Iterable[Planned]) -> str:
    """Columns for people, and what all tiers cost together."""
    head = (
        "TIER",
        "PLAYERS",
        "PER REPLICA",
        "REPLICAS",
        "ON-DEMAND",
        "SPOT",
        "GPUS",
        "USD/H",
        "USD/MONTH",
        "USD/PLAYER/MONTH",
    )
    lines: list[tuple[str, ...]] = [head]
    totals: dict[int, Decimal] = {}
    unknown: set[int] = set()
    for each in rows:
        mark = " (fixed)" if each.fixed else " (max)" if each.limited else ""
        costs = (_text(each.per_hour), _text(each.per_month), _text(each.per_player))
        counts = (each.on_demand, each.spot, each.gpus)
        lines.append(
            (
                each.tier,
                str(each.players),
                each.capacity,
                f"{each.replicas}{mark}",
                *map(str, counts),
                *costs,
            )
        )
        totals[each.players] = totals.get(each.players, Decimal(0)) + (each.per_hour or 0)
        unknown |= {each.players} if each.per_hour is None else set()
    for players, hour in sorted(totals.items()):
        month = (hour * HOURS_PER_MONTH).quantize(_CENT)
        one = (month / max(1, players)).quantize(_CENT)
        more = " + unknown" if players in unknown else ""
        sums = (f"{each}{more}" for each in (hour, month, one))
        lines.append(("all", str(players), "", "", "", "", "", *sums))
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _text(value: Decimal | None) -> str:
    return "unknown" if value is None else str(value)
