from typing import Any

import pytest
from gameai_contract.inference import LatencyClass
from gameai_operator.tier.pricing import PRICES, USUAL, price
from gameai_operator.tier.split import Split
from support import tiers

OWN = {"instanceType": "g5.xlarge", "onDemandPerHour": "2", "spotPerHour": "0.5"}


@pytest.mark.parametrize(
    ("spec", "shares", "expected"),
    [
        ({}, Split(on_demand=2, spot=5), "4.412"),
        ({"class": "Silver"}, Split(on_demand=1, spot=1), "1.772"),
        ({"hardware": {"instanceTypes": ["g6.xlarge"]}}, Split(on_demand=1, spot=0), "0.805"),
        (
            {"hardware": {"instanceTypes": ["new", "g6.xlarge"]}},
            Split(on_demand=1, spot=0),
            "0.805",
        ),
        ({"hardware": {"instanceTypes": ["new"]}}, Split(on_demand=1, spot=0), None),
        ({"hardware": {"gpus": 0}}, Split(on_demand=1, spot=0), None),
        ({"pricing": [OWN]}, Split(on_demand=1, spot=2), "3.000"),
        (
            {"pricing": [{k: v for k, v in OWN.items() if k != "spotPerHour"}]},
            Split(on_demand=1, spot=2),
            "6.000",
        ),
        ({}, Split(on_demand=0, spot=0), "0.000"),
    ],
)
def test_a_tier_costs_its_replicas_by_share_and_price(
    spec: dict[str, Any], shares: Split, expected: str | None
) -> None:
    found = price(tiers.tier(**spec).spec)
    assert (found.of(shares) if found else None) == expected


def test_a_price_names_the_instance_type_that_it_is_taken_from() -> None:
    known = price(tiers.tier(hardware={"instanceTypes": ["new", "g6.xlarge"]}).spec)
    assert known is not None
    assert known.instance_type == "g6.xlarge"
    usual = price(tiers.tier().spec)
    assert usual is not None
    assert usual.instance_type == "g5.xlarge"


def test_every_class_is_priced_by_a_known_type() -> None:
    assert set(USUAL) == set(LatencyClass)
    assert set(USUAL.values()) <= set(PRICES)
