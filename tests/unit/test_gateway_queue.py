"""The gateway's queue: fair between flows, earliest deadline first within one, bounded, and nothing lost."""

from dataclasses import dataclass

import pytest
from gameai.gateway.engines.fair_queue import FairQueue
from hypothesis import given
from hypothesis import strategies as st


@dataclass(eq=False)
class Entry:
    flow: str = "a"
    deadline: float = 1.0
    weight: int = 1
    most_in_flight: int = 1000
    cost: float = 1.0
    waiting: bool = True
    world: str = "moor"


def queue_of(*entries: Entry, most: int = 100) -> FairQueue[Entry]:
    queue: FairQueue[Entry] = FairQueue(most)
    for entry in entries:
        assert queue.push(entry) is None
    return queue


def popped(queue: FairQueue[Entry], many: int = 1000) -> list[Entry]:
    found: list[Entry] = []
    while len(found) < many and (entry := queue.pop()) is not None:
        entry.waiting = False
        found.append(entry)
    return found


def test_within_a_flow_the_earliest_deadline_goes_first() -> None:
    queue = queue_of(*(Entry(deadline=each) for each in (3, 1, 2)))
    assert [entry.deadline for entry in popped(queue)] == [1, 2, 3]


def test_flows_take_turns_however_long_one_of_them_is() -> None:
    queue = queue_of(*(Entry("flood") for _ in range(50)), *(Entry("calm") for _ in range(5)))
    first = [entry.flow for entry in popped(queue, 10)]
    assert first.count("calm") == 5


def test_a_weight_is_a_share() -> None:
    queue = queue_of(
        *(Entry("big", weight=3) for _ in range(40)), *(Entry("small") for _ in range(40))
    )
    first = [entry.flow for entry in popped(queue, 40)]
    assert first.count("big") == 30


def test_a_world_of_many_roles_gets_no_more_than_one_of_a_single_role() -> None:
    crowd = (Entry(f"role-{n % 10}", weight=100, world="crowd") for n in range(200))
    queue = queue_of(*crowd, *(Entry("only", world="calm") for _ in range(40)), most=1000)
    first = [entry.world for entry in popped(queue, 60)]
    assert 28 <= first.count("calm") <= 32


def test_a_role_with_nothing_to_do_leaves_its_part_to_the_worlds_others() -> None:
    queue = queue_of(
        *(Entry("a", weight=1) for _ in range(40)),
        *(Entry("b", world="other") for _ in range(40)),
        Entry("c", weight=50),
    )
    first = [entry.flow for entry in popped(queue, 41)]
    assert 18 <= first.count("a") <= 21


def test_a_costly_entry_is_paid_for_in_rounds() -> None:
    queue = queue_of(
        *(Entry("text", cost=5) for _ in range(20)), *(Entry("choice") for _ in range(40))
    )
    first = [entry.flow for entry in popped(queue, 24)]
    assert first.count("text") in {4, 5}


def test_of_cheap_entries_several_go_in_a_turn() -> None:
    queue = queue_of(
        *(Entry("cheap", cost=0.25) for _ in range(8)), *(Entry("dear") for _ in range(8))
    )
    first = [entry.flow for entry in popped(queue, 10)]
    assert first.count("cheap") == 8


def test_a_lone_flow_never_waits_for_its_debt() -> None:
    queue = queue_of(*(Entry(cost=100) for _ in range(5)))
    assert len(popped(queue)) == 5


def test_a_flow_has_its_most_in_flight_and_others_go_on() -> None:
    queue = queue_of(
        *(Entry("a", most_in_flight=2) for _ in range(5)), *(Entry("b") for _ in range(3))
    )
    assert [entry.flow for entry in popped(queue)].count("a") == 2
    assert len(queue) == 3
    queue.done("a")
    assert [entry.flow for entry in popped(queue)] == ["a"]


def test_who_waits_no_longer_is_passed_over() -> None:
    gone, kept = Entry(deadline=1), Entry(deadline=2)
    queue = queue_of(gone, kept)
    gone.waiting = False
    queue.forget()
    assert len(queue) == 1
    assert popped(queue) == [kept]


def test_a_full_queue_takes_nothing_from_the_flow_that_filled_it() -> None:
    queue = queue_of(*(Entry("flood") for _ in range(10)), most=10)
    late = Entry("flood")
    assert queue.push(late) is late
    assert len(queue) == 10


def test_in_a_full_queue_the_longest_flow_makes_room_for_another() -> None:
    queue = queue_of(*(Entry("flood", deadline=each) for each in range(10)), most=10)
    calm = Entry("calm")
    gone = queue.push(calm)
    assert gone is not None
    assert gone.flow == "flood"
    assert gone.deadline > 0
    assert calm in popped(queue)


def test_a_newcomer_that_is_refused_leaves_nothing_behind() -> None:
    queue = queue_of(Entry("a"), Entry("b"), most=2)
    late = Entry("c")
    assert queue.push(late) is late
    assert "c" not in queue._flows


def test_room_is_made_even_where_the_longest_flow_holds_only_those_that_went() -> None:
    old = [Entry("a") for _ in range(4)]
    queue = queue_of(*old, *(Entry("b") for _ in range(2)), most=6)
    for entry in old:
        entry.waiting = False
    # They are not yet forgotten: the length still counts them.
    late = Entry("c")
    assert queue.push(late) is late


def test_a_flow_that_is_done_is_forgotten() -> None:
    queue = queue_of(Entry("a"))
    popped(queue)
    queue.done("a")
    queue.pop()
    assert queue._flows == {}


def test_entries_that_are_cancelled_behind_a_long_one_do_not_pile_up() -> None:
    queue = queue_of(Entry(deadline=0), most=10)
    for _ in range(1000):
        entry = Entry(deadline=5)
        queue.push(entry)
        entry.waiting = False
        queue.forget()
    assert len(queue) == 1
    assert len(queue._flows["a"].heap) <= 22


def test_entries_that_expire_unserved_do_not_pile_up() -> None:
    queue: FairQueue[Entry] = FairQueue(10)
    for step in range(1000):
        entry = Entry(deadline=1e9 - step)
        queue.push(entry)
        entry.waiting = False
        queue.forget()
    assert len(queue) == 0
    assert len(queue._flows["a"].heap) <= 21


@pytest.mark.parametrize(("mine", "others", "ahead"), [(0, 5, 0), (2, 5, 4), (5, 0, 5)])
def test_who_goes_before_is_reported_roughly(mine: int, others: int, ahead: int) -> None:
    queue = queue_of(*(Entry("a") for _ in range(mine)), *(Entry("b") for _ in range(others)))
    assert queue.wait(Entry("a", deadline=2.0), 10) == ahead / 10


def test_only_those_with_less_time_go_before() -> None:
    queue = queue_of(*(Entry(deadline=each) for each in range(100)))
    assert queue.wait(Entry(deadline=9.5), 1) == 10
    queue = queue_of(*(Entry(deadline=1) for _ in range(2000)), most=5000)
    assert 512 <= queue.wait(Entry(deadline=2.0), 1) <= 520


def test_a_world_waits_for_other_worlds_and_not_for_each_of_their_roles() -> None:
    crowd = (Entry(f"role-{n % 32}", world="crowd") for n in range(64))
    queue = queue_of(*crowd, *(Entry("calm", world="calm") for _ in range(10)), most=1000)
    assert queue.wait(Entry("calm", deadline=2.0, world="calm"), 10) == 2
    assert queue.wait(Entry("role-0", deadline=2.0, world="crowd"), 10) == 7.4


def test_in_a_full_queue_the_world_with_most_makes_room_however_it_divides_them() -> None:
    crowd = (Entry(f"role-{n % 10}", deadline=n, world="crowd") for n in range(20))
    queue = queue_of(*crowd, *(Entry("calm", world="calm") for _ in range(10)), most=30)
    gone = queue.push(Entry("calm", world="calm"))
    assert gone is not None
    assert gone.world == "crowd"


def test_in_a_full_queue_of_equal_worlds_none_makes_room() -> None:
    queue = queue_of(*(Entry(each, world=each) for each in "ab" for _ in range(10)), most=20)
    late = Entry("a", world="a")
    assert queue.push(late) is late


def test_what_a_flow_may_have_in_flight_is_all_it_waits_for() -> None:
    queue = queue_of(*(Entry() for _ in range(20)))
    assert queue.wait(Entry(deadline=2.0, most_in_flight=4), 100) == 5


def test_a_debt_is_kept_while_the_flow_is_at_an_engine() -> None:
    queue = queue_of(Entry("text", cost=100), Entry("choice"))
    popped(queue)
    for _ in range(200):
        queue.push(Entry("choice"))
    queue.push(Entry("text", cost=100))
    first = [entry.flow for entry in popped(queue, 60)]
    assert "text" not in first


def test_a_flow_that_was_alone_owes_its_last_entry_and_no_more() -> None:
    queue = queue_of(*(Entry("old") for _ in range(60)), most=1000)
    popped(queue, 50)
    for _ in range(20):
        queue.push(Entry("new"))
    first = [entry.flow for entry in popped(queue, 10)]
    assert first.count("old") >= 4


@given(
    st.lists(
        st.tuples(
            st.sampled_from("abc"),
            st.floats(0, 9),
            st.integers(1, 5),
            st.floats(0.1, 50),
            st.booleans(),
        ),
        max_size=60,
    )
)
def test_every_entry_leaves_exactly_once(rows: list[tuple[str, float, int, float, bool]]) -> None:
    queue: FairQueue[Entry] = FairQueue(30)
    left: list[Entry] = []
    entries = []
    for flow, deadline, weight, cost, pops in rows:
        entry = Entry(flow, deadline, weight, cost=cost)
        entries.append(entry)
        gone = queue.push(entry)
        if gone is not None:
            gone.waiting = False
            left.append(gone)
        if pops:
            left += popped(queue, 1)
    left += popped(queue)
    assert len(queue) == 0
    assert sorted(map(id, left)) == sorted(map(id, entries))


def test_one_world_beside_99_of_another_namespace_gets_half() -> None:
    crowd = (Entry(f"flood/{n % 99}/role", world=f"flood/{n % 99}") for n in range(990))
    calm = (Entry("calm/moor/role", world="calm/moor") for _ in range(300))
    queue = queue_of(*crowd, *calm, most=2000)
    first = [entry.world for entry in popped(queue, 400)]
    assert first.count("calm/moor") >= 0.45 * len(first)


def test_the_fullest_namespace_makes_room_and_not_the_one_world_of_another() -> None:
    queue: FairQueue[Entry] = FairQueue(20)
    for n in range(20):
        assert queue.push(Entry(f"flood/{n}/role", world=f"flood/{n}")) is None
    for _ in range(9):
        gone = queue.push(Entry("calm/moor/role", world="calm/moor"))
        assert gone is not None
        assert gone.world.startswith("flood/")
        gone.waiting = False


def test_in_one_namespace_the_fullest_world_makes_room() -> None:
    queue: FairQueue[Entry] = FairQueue(20)
    for _ in range(20):
        assert queue.push(Entry("flood", world="games/flood")) is None
    gone = queue.push(Entry("calm", world="games/calm"))
    assert gone is not None
    assert gone.flow == "flood"


def test_long_requests_of_one_namespace_leave_slots_to_another_that_asks_too() -> None:
    queue = queue_of(*(Entry("flood", world="flood/a", cost=129.0) for _ in range(60)))
    queue.slots = 16
    assert queue.push(Entry("calm", world="calm/a"), 0.0) is None
    went = [entry.flow for entry in popped(queue, 60)]
    assert went.count("flood") == 14
    assert went.count("calm") == 1


@pytest.mark.parametrize("slots", [2, 4, 16])
def test_with_few_slots_one_world_beside_99_gets_half_of_them_and_none_stays_free(
    slots: int,
) -> None:
    crowd = (Entry(f"flood/{n % 99}/role", world=f"flood/{n % 99}") for n in range(990))
    calm = (Entry("calm/moor/role", world="calm/moor") for _ in range(900))
    queue = queue_of(*crowd, *calm, most=2000)
    queue.slots = slots
    running: list[Entry] = []
    went: list[str] = []
    for step in range(200):
        while len(running) < slots and (entry := queue.pop(step / 10)) is not None:
            entry.waiting = False
            running.append(entry)
            went.append(entry.world)
        assert len(running) == slots, "a slot stays free though both wait"
        queue.done(running.pop(0).flow)
    assert went.count("calm/moor") >= 0.45 * len(went)


def test_in_its_namespaces_part_a_world_leaves_slots_to_its_neighbours() -> None:
    crowd = (Entry("games/big/role", world="games/big") for _ in range(50))
    other = (Entry("other/a/role", world="other/a") for _ in range(50))
    queue = queue_of(*crowd, *other, most=200)
    queue.slots = 16
    assert queue.push(Entry("games/small/role", world="games/small"), 0.0) is None
    went = [entry.world for entry in popped(queue, 100)]
    assert {each: went.count(each) for each in set(went)} == {
        "games/big": 7,
        "games/small": 1,
        "other/a": 8,
    }


def test_a_namespace_that_waited_long_is_known_again() -> None:
    queue = queue_of(Entry("old/a/role", world="old/a"), most=300)
    queue.slots = 200
    for number in range(200):
        assert queue.push(Entry(f"{number}/a/role", world=f"{number}/a"), 100.0 + number) is None
    went = [entry.flow for entry in popped(queue, 300)]
    assert "old/a/role" in went
    for flow in went:
        queue.done(flow)
    assert queue.push(Entry("new/a/role", world="new/a"), 1000.0) is None
    assert len(queue._worlds) == 1, "those that are forgotten take no memory"


def test_what_a_namespace_has_in_flight_is_reported() -> None:
    queue = queue_of(Entry("calm/a/role", world="calm/a"), Entry("calm/b/role", world="calm/b"))
    assert queue.in_flight(Entry(world="new/a")) == 0
    went = popped(queue)
    assert queue.in_flight(Entry(world="calm/c")) == 2
    queue.done(went[0].flow)
    assert queue.in_flight(Entry(world="calm/c")) == 1
