import pytest
from gameai_operator.tier.split import Split, split
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("replicas", "spot_percent", "minimum", "expected"),
    [
        (7, 80, 1, Split(on_demand=2, spot=5)),
        (10, 80, 1, Split(on_demand=2, spot=8)),
        (1, 80, 1, Split(on_demand=1, spot=0)),
        (1, 80, 0, Split(on_demand=1, spot=0)),
        (1, 100, 0, Split(on_demand=0, spot=1)),
        (50, 80, 1, Split(on_demand=10, spot=40)),
        (51, 80, 1, Split(on_demand=11, spot=40)),
        (4, 80, 3, Split(on_demand=3, spot=1)),
        (2, 80, 5, Split(on_demand=2, spot=0)),
        (5, 0, 1, Split(on_demand=5, spot=0)),
        (5, 0, 0, Split(on_demand=5, spot=0)),
        (3, 100, 1, Split(on_demand=1, spot=2)),
        (3, 1, 0, Split(on_demand=3, spot=0)),
        (100, 1, 0, Split(on_demand=99, spot=1)),
        (0, 80, 1, Split(on_demand=0, spot=0)),
    ],
)
def test_replicas_are_split_by_share_and_minimum(
    replicas: int, spot_percent: int, minimum: int, expected: Split
) -> None:
    assert split(replicas, spot_percent, minimum) == expected


@given(
    replicas=st.integers(0, 1000), spot_percent=st.integers(0, 100), minimum=st.integers(0, 1000)
)
def test_a_split_keeps_every_replica_and_never_exceeds_the_spot_share(
    replicas: int, spot_percent: int, minimum: int
) -> None:
    shares = split(replicas, spot_percent, minimum)
    assert shares.on_demand + shares.spot == replicas
    assert shares.on_demand >= min(replicas, minimum)
    assert shares.spot * 100 <= replicas * spot_percent
