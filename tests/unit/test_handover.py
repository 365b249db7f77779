"""Replicas move between on-demand and spot without losing ready pods."""

from dataclasses import dataclass, replace

import pytest
from gameai_operator.resources.deployment import Deployment
from gameai_operator.tier.handover import Limits, Seen, handover
from gameai_operator.tier.split import Split, split
from hypothesis import given
from hypothesis import strategies as st
from support import tiers

NO_LOSS = Limits(surge=1, unavailable=0)


def live(wanted: int, ready: int | None = None, **facts: bool) -> Deployment:
    answering = wanted if ready is None else ready
    return tiers.deployment(
        wanted=wanted,
        asked=wanted,
        noted=wanted,
        replicas=wanted,
        updated=wanted,
        ready=answering,
        **facts,
    )


def moved(wanted: tuple[int, int], *seen: Deployment | None, limits: Limits = NO_LOSS) -> Split:
    on_demand, spot = seen
    split = Split(on_demand=wanted[0], spot=wanted[1])
    return handover(split, on_demand, spot, limits, ready_of(on_demand, spot))


NONE = Split(on_demand=0, spot=0)


def ready_of(on_demand: Deployment | None, spot: Deployment | None) -> Seen:
    """Pods as status counts them; the others have no node."""
    ready = Split(on_demand=on_demand.ready if on_demand else 0, spot=spot.ready if spot else 0)
    return Seen(ready=ready, starting=NONE)


@pytest.mark.parametrize(
    ("wanted", "on_demand", "spot", "expected"),
    [
        # A new tier gets all at once.
        ((2, 8), None, None, (2, 8)),
        # 0 % → 80 % spot: nothing is given up before something else is ready.
        ((2, 8), live(10), None, (10, 1)),
        ((2, 8), live(10), live(1, 0), (10, 1)),
        ((2, 8), live(10), live(1, 1), (9, 2)),
        ((2, 8), live(9), live(1, 1), (9, 2)),
        ((2, 8), live(3), live(8, 7), (3, 8)),
        ((2, 8), live(3), live(8, 8), (2, 8)),
        # 80 % → 20 % spot.
        ((8, 2), live(2), live(8), (3, 8)),
        ((8, 2), live(8), live(8, 3), (8, 2)),
        # Scaling in without a change of shares happens at once; pods that are not ready go first.
        ((3, 2), live(5), live(5), (3, 2)),
        ((3, 2), live(5, 0), live(5), (3, 5)),
        # Scaling out is never held up.
        ((4, 16), live(2), live(8), (4, 16)),
        ((4, 16), live(10), live(0), (10, 11)),
        ((0, 0), live(10), live(4), (0, 0)),
        # Pods on nodes that cannot be had are no capacity to keep.
        ((1, 4), live(5, 0), None, (1, 4)),
    ],
)
def test_sizes_on_the_way(
    wanted: tuple[int, int],
    on_demand: Deployment | None,
    spot: Deployment | None,
    expected: tuple[int, int],
) -> None:
    found = moved(wanted, on_demand, spot)
    assert (found.on_demand, found.spot) == expected


def test_a_side_that_rolls_out_a_template_is_not_shrunk_but_to_nothing() -> None:
    rolling = replace(live(10), updated=3)
    assert moved((2, 8), rolling, live(8)).on_demand == 10
    assert moved((0, 8), rolling, live(8)).on_demand == 0
    assert moved((0, 9), rolling, live(9, 5)).on_demand == 10, "4 of 10 would be kept"
    paused = replace(live(5), updated=0, paused=True)
    assert moved((10, 0), live(10), paused).spot == 0, "a paused roll-out goes nowhere"
    stuck = replace(rolling, exceeded=True)
    assert moved((2, 8), stuck, live(8)).on_demand == 2


def test_surge_pods_of_a_roll_out_are_no_capacity() -> None:
    """Its controller is about to delete them."""
    rolling = replace(live(3), replicas=4, updated=3, ready=4, rolling=True)
    assert moved((4, 0), rolling, live(2)) == Split(on_demand=4, spot=1)


def test_a_roll_out_that_grew_does_not_make_capacity_of_its_surge() -> None:
    """Seen in a walk: the pod was being deleted already, and status did not show it yet."""
    grown = replace(live(3), replicas=3, updated=1, ready=3, rolling=True)
    assert moved((1, 3), live(2), grown) == Split(on_demand=2, spot=3)


def test_both_sides_do_not_spend_the_same_allowance() -> None:
    limits = Limits(surge=0, unavailable=1)
    rolling = replace(live(4), updated=2)
    assert moved((0, 4), live(2), rolling, limits=limits).on_demand == 0
    assert moved((0, 5), live(2), rolling, limits=limits).on_demand == 1, "spot may lose one too"


def test_without_surge_pods_go_first_as_far_as_the_roll_out_allows() -> None:
    limits = Limits(surge=0, unavailable=2)
    assert moved((2, 8), live(10), live(0), limits=limits) == Split(on_demand=8, spot=2)


def test_pods_that_status_still_counts_while_they_are_deleted_take_over_nothing() -> None:
    """A roll-out that is turned back: 4 of 3 pods are ready by its status, and 2 are left."""
    turned = tiers.deployment(
        wanted=3, asked=3, noted=3, replicas=4, updated=1, ready=4, rolling=True
    )
    wanted = Split(on_demand=3, spot=0)
    seen = Seen(ready=Split(on_demand=2, spot=1), starting=NONE)
    assert handover(wanted, turned, live(1), NO_LOSS, seen) == Split(on_demand=3, spot=1)


@pytest.mark.parametrize(
    ("ready", "starting", "kept"),
    [(6, 0, 6), (4, 2, 6), (4, 1, 5), (4, 0, 4), (0, 0, 4)],
    ids=["seen ready", "starting", "one of two starts", "none starts", "status knows more"],
)
def test_a_side_keeps_pods_that_may_be_ready_by_the_time_it_shrinks(
    ready: int, starting: int, kept: int
) -> None:
    """Seen in a walk: status counted 4 of 6 as ready, all 6 were, and 2 of those were deleted."""
    seen = Seen(ready=Split(on_demand=ready, spot=0), starting=Split(on_demand=starting, spot=0))
    wanted = Split(on_demand=1, spot=5)
    assert handover(wanted, live(6, 4), None, NO_LOSS, seen).on_demand == kept


def test_a_roll_out_whose_pods_only_start_gives_way_at_once() -> None:
    """Its template may be one that never starts; the other side would have to wait for its deadline."""
    rolling = replace(live(5, 0), updated=2)
    seen = Seen(ready=NONE, starting=Split(on_demand=5, spot=0))
    wanted = Split(on_demand=0, spot=3)
    assert handover(wanted, rolling, None, NO_LOSS, seen) == Split(on_demand=0, spot=3)


def test_a_side_whose_pods_never_become_ready_still_gives_way() -> None:
    limits, wanted = Limits(surge=1, unavailable=0), Split(on_demand=0, spot=6)
    on_demand, spot = live(6, 0), live(0)
    for _ in range(20):
        seen = Seen(
            ready=Split(on_demand=0, spot=spot.ready),
            starting=Split(on_demand=on_demand.wanted, spot=0),
        )
        sizes = handover(wanted, on_demand, spot, limits, seen)
        on_demand, spot = live(sizes.on_demand, 0), live(sizes.spot)
    assert sizes == wanted


def ready_after(before: Deployment | None, size: int) -> int:
    """A ReplicaSet that shrinks removes pods that are not ready first; new ones are not ready yet."""
    return 0 if before is None else min(before.ready, size)


SIDES = st.none() | st.integers(0, 20).flatmap(
    lambda wanted: st.builds(
        live, st.just(wanted), st.integers(0, wanted), exceeded=st.booleans(), paused=st.booleans()
    )
)
SPLITS = st.builds(
    split,
    st.integers(0, 20),
    spot_percent=st.integers(0, 100),
    minimum_on_demand=st.integers(0, 20),
)
LIMITS = st.tuples(st.integers(0, 3), st.integers(0, 3)).filter(any)


@given(wanted=SPLITS, on_demand=SIDES, spot=SIDES, limits=LIMITS)
def test_no_decision_takes_ready_pods_below_what_was_there_or_is_wanted(
    wanted: Split, on_demand: Deployment | None, spot: Deployment | None, limits: tuple[int, int]
) -> None:
    allowed = Limits(surge=limits[0], unavailable=limits[1])
    found = handover(wanted, on_demand, spot, allowed, ready_of(on_demand, spot))
    before = sum(min(each.ready, each.size) for each in (on_demand, spot) if each)
    after = ready_after(on_demand, found.on_demand) + ready_after(spot, found.spot)
    assert after >= min(before, wanted.total - allowed.unavailable)


@dataclass(frozen=True)
class Cluster:
    """Two Deployments whose controllers act at once and whose pods become ready one after the other."""

    on_demand: Deployment
    spot: Deployment

    def after(self, sizes: Split) -> "Cluster":
        return Cluster(_resized(self.on_demand, sizes.on_demand), _resized(self.spot, sizes.spot))

    def with_one_more_ready(self) -> "Cluster":
        for name in ("spot", "on_demand"):
            side: Deployment = getattr(self, name)
            if side.ready < side.wanted:
                return replace(self, **{name: replace(side, ready=side.ready + 1)})
        return self

    @property
    def ready(self) -> int:
        return self.on_demand.ready + self.spot.ready


def _resized(side: Deployment, size: int) -> Deployment:
    ready = min(side.ready, size)
    return replace(side, wanted=size, noted=size, replicas=size, updated=size, ready=ready)


@given(before=SPLITS, wanted=SPLITS, surge=st.integers(1, 5))
def test_a_move_ends_where_it_should_and_never_dips(
    before: Split, wanted: Split, surge: int
) -> None:
    limits = Limits(surge=surge, unavailable=0)
    cluster = Cluster(live(before.on_demand), live(before.spot))
    bound = min(before.total, wanted.total)
    for _ in range(200):
        seen = ready_of(cluster.on_demand, cluster.spot)
        sizes = handover(wanted, cluster.on_demand, cluster.spot, limits, seen)
        assert sizes.total <= max(
            wanted.total + surge, cluster.on_demand.wanted + cluster.spot.wanted
        )
        cluster = cluster.after(sizes)
        assert cluster.ready >= bound
        cluster = cluster.with_one_more_ready()
        if sizes == wanted and cluster.ready == wanted.total:
            return
    raise AssertionError(f"{before} → {wanted} stands still at {cluster}")


UNSEEN = {"observed": False}


@pytest.mark.parametrize(
    ("wanted", "on_demand", "spot", "limits", "expected"),
    [
        # Its template was just written: its only ready pod may go.
        ((2, 0), live(1, **UNSEEN), live(1), Limits(surge=0, unavailable=1), (1, 1)),
        # It was scaled to 0 and back: its controller may still carry out the 0.
        ((0, 1), live(1), live(1, **UNSEEN), NO_LOSS, (1, 1)),
        ((0, 4), live(4), live(4, **UNSEEN), NO_LOSS, (4, 4)),
        # Once it was seen, the other side may go.
        ((0, 4), live(4), live(4), NO_LOSS, (0, 4)),
    ],
)
def test_pods_do_not_count_before_their_controller_has_seen_the_last_write(
    wanted: tuple[int, int],
    on_demand: Deployment,
    spot: Deployment,
    limits: Limits,
    expected: tuple[int, int],
) -> None:
    found = moved(wanted, on_demand, spot, limits=limits)
    assert (found.on_demand, found.spot) == expected
