"""PURE: what a tier amounts to: its spec with the defaults that depend on other fields or on what is there.

The one place that says what `spec.replicas` and the fields that split it come to.
"""

from dataclasses import dataclass

from gameai_contract.inference import TARGETS_MS, LatencyClass

from gameai_operator.api.tier import ModelTier
from gameai_operator.tier.split import Split, split


@dataclass(frozen=True, kw_only=True, slots=True)
class Effective:
    """The replicas wanted in all, how they are split in the end, and how many must answer for Ready.

    `needed` is min(N, max(1, minimumOnDemand)).
    """

    replicas: int
    shares: Split
    needed: int


def target_ms(tier: ModelTier) -> int:
    """The latency target, in milliseconds: that of the spec, else that of the class."""
    return tier.spec.latency.target_ms or TARGETS_MS[tier.spec.class_]


def takes_jobs(tier: ModelTier) -> bool:
    """Whether jobs may be asked of it."""
    return tier.spec.class_ is LatencyClass.BRONZE


def effective(tier: ModelTier, *, has_spot: bool = True) -> Effective:
    """What a tier wants now; without `has_spot` no spot Deployment can be made, so that all run on demand.

    Bounds of `spec.scaling` hold whoever wrote the number. Where `spec.replicas` is absent, the number that was last acted on stays: a manifest that no longer names it hands
    the field over, and must not scale the tier in.
    """
    spec = tier.spec
    replicas = spec.replicas
    if replicas is None:
        replicas = 1 if tier.status.wanted_replicas is None else tier.status.wanted_replicas
    if spec.scaling is not None:
        least = spec.scaling.min_replicas
        replicas = min(max(replicas, least), max(least, spec.scaling.max_replicas))
    percent = spec.capacity.spot_percent if has_spot else 0
    minimum = spec.capacity.minimum_on_demand
    return Effective(
        replicas=replicas,
        shares=split(replicas, percent, minimum),
        needed=min(replicas, max(1, minimum)),
    )
