"""On-demand replicas stand in for spot replicas without a node."""

import datetime
from dataclasses import replace

import pytest
from gameai_operator.controller.pod_facts import Pod
from gameai_operator.tier.lending import Loan, loan
from gameai_operator.tier.split import Split
from gameai_operator.tier.template import ON_DEMAND, SPOT

NOW = datetime.datetime(2026, 11, 27, 12, 0, tzinfo=datetime.UTC)
WANTED = Split(on_demand=2, spot=8)
POD = Pod(
    namespace="n", name="p", uid="u", group=SPOT, ready=False, terminating=False, force_delete=False
)
PLACED = replace(POD, placed=True)


def waiting(seconds: int) -> Pod:
    since = NOW - datetime.timedelta(seconds=seconds)
    return replace(
        POD, unschedulable="0/3 nodes", unschedulable_since=since.strftime("%Y-%m-%dT%H:%M:%SZ")
    )


@pytest.mark.parametrize(
    ("pods", "after", "expected"),
    [
        ([PLACED] * 8, 90, Loan()),
        ([PLACED] * 6 + [waiting(89), waiting(30)], 90, Loan(lent=0, next_seconds=1)),
        ([PLACED] * 6 + [waiting(90), waiting(30)], 90, Loan(lent=1, next_seconds=60)),
        ([PLACED] * 6 + [waiting(500), waiting(90)], 90, Loan(lent=2)),
        # A pod of a roll-out's surge is no missing replica.
        ([PLACED] * 7 + [waiting(500), waiting(90)], 90, Loan(lent=1)),
        ([PLACED] * 8 + [waiting(500)], 90, Loan()),
        ([waiting(500)] * 8, 0, Loan()),
        ([PLACED] * 7 + [replace(waiting(500), terminating=True)], 90, Loan()),
        ([PLACED] * 7 + [replace(waiting(500), group=ON_DEMAND)], 90, Loan()),
        # Created a moment ago, or a node is being made ready.
        ([PLACED] * 7 + [replace(POD, unschedulable="x")], 90, Loan(lent=0, next_seconds=90)),
        ([PLACED] * 7 + [POD], 90, Loan()),
    ],
)
def test_a_spot_replica_is_lent_once_it_has_waited_long_enough(
    pods: list[Pod], after: int, expected: Loan
) -> None:
    assert loan(pods, WANTED, after, NOW) == expected


def test_what_is_lent_comes_on_top_and_spot_keeps_asking() -> None:
    assert Loan(lent=3).shares(WANTED) == Split(on_demand=5, spot=8)
