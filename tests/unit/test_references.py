from gameai_operator.controller.manifest import Key
from gameai_operator.controller.references import References
from gameai_operator.controller.rollout_slots import RolloutSlots

A, B = Key("GameWorld", "n", "a"), Key("GameWorld", "n", "b")
GOLD, SILVER = Key("ModelTier", "n", "gold"), Key("ModelTier", "n", "silver")


def test_a_target_that_looks_different_wakes_those_who_refer_to_it() -> None:
    references = References()
    references.point(A, [GOLD])
    references.point(B, [GOLD, SILVER])
    assert references.show(GOLD, "ready") == (A, B)
    assert references.show(GOLD, "ready") == ()
    assert references.show(SILVER, "ready") == (B,)
    assert references.seen_by(B) == {GOLD: "ready", SILVER: "ready"}


def test_a_target_may_appear_after_the_reference_and_go_before_it() -> None:
    references = References()
    references.point(A, [GOLD])
    assert references.seen_by(A) == {GOLD: None}
    assert references.show(GOLD, "ready") == (A,)
    assert references.show(GOLD, None) == (A,)
    assert references.show(GOLD, None) == ()
    assert references.seen_by(A) == {GOLD: None}


def test_a_source_that_points_elsewhere_hears_no_more() -> None:
    references = References()
    references.point(A, [GOLD])
    references.point(A, [SILVER])
    assert references.show(GOLD, "ready") == ()
    assert references.show(SILVER, "ready") == (A,)
    references.point(B, [SILVER])
    references.point(A, [])
    references.point(B, [])
    assert references.show(SILVER, "lost") == ()
    assert references.seen_by(A) == {}


def test_only_so_many_hold_a_turn_and_the_next_is_named_when_one_leaves() -> None:
    slots = RolloutSlots(lambda: 1)
    assert slots.free(A)
    slots.take(A, healthy=True)
    assert slots.free(A)
    assert not slots.free(B)
    slots.wait(B)
    assert slots.through(A) == (B,)
    slots.take(B, healthy=True)
    assert slots.through(B) == ()


def test_one_that_leaves_without_a_turn_frees_none() -> None:
    slots = RolloutSlots(lambda: 1)
    slots.take(A, healthy=True)
    slots.wait(B)
    assert slots.through(GOLD) == ()


def test_those_under_way_before_a_restart_may_be_more_than_the_limit() -> None:
    slots = RolloutSlots(lambda: 1)
    slots.begin([A, B])
    slots.wait(GOLD)
    assert slots.through(A) == ()
    assert slots.through(B) == (GOLD,)


def test_one_that_waits_no_more_makes_way_for_the_next() -> None:
    slots = RolloutSlots(lambda: 1)
    slots.wait(A)
    slots.wait(B)
    assert slots.through(A) == (B,)


def test_as_many_are_named_as_there_is_room_for() -> None:
    slots = RolloutSlots(lambda: 2)
    for each in (A, B):
        slots.take(each, healthy=True)
        assert slots.holds(each)
    slots.wait(GOLD)
    slots.wait(SILVER)
    assert slots.through(A) == (GOLD,)
    assert slots.through(B) == (GOLD, SILVER)


def test_a_roll_out_halts_once_a_fifth_of_those_that_worked_before_fail() -> None:
    slots = RolloutSlots(lambda: 5)
    keys = [Key("GameWorld", "n", f"w{number}") for number in range(20)]
    for each in keys[:4]:
        slots.take(each, healthy=True)
        slots.through(each)
    for each in keys[4:6]:
        slots.take(each, healthy=True)
        slots.fail(each)
    assert slots.free(keys[9])
    slots.take(keys[6], healthy=True)
    slots.wait(keys[8])
    assert slots.fail(keys[6]) == (keys[8],), "those that wait report the halt"
    slots.through(keys[8])
    assert slots.halted == "3 of the first 7 did not become ready"
    assert not slots.free(keys[9])
    slots.wait(keys[9])
    slots.wait(keys[10])
    assert slots.through(keys[6]) == (keys[9], keys[10]), "one that recovers ends the halt for all"


def test_those_that_are_gone_or_paused_count_neither_way() -> None:
    slots = RolloutSlots(lambda: 5)
    keys = [Key("GameWorld", "n", f"w{number}") for number in range(20)]
    for each in keys[:3]:
        slots.take(each, healthy=True)
        slots.fail(each)
    assert slots.halted
    for each in keys[3:18]:
        slots.take(each, healthy=True)
        slots.give_back(each)
    assert slots.halted, "they dilute no rate"


def test_worlds_that_were_broken_before_give_their_turns_back_and_halt_nothing() -> None:
    slots = RolloutSlots(lambda: 5)
    broken = [Key("GameWorld", "n", f"w{number}") for number in range(5)]
    for each in broken:
        slots.take(each, healthy=False)
    later = Key("GameWorld", "n", "later")
    slots.wait(later)
    assert not slots.free(later)
    assert slots.fail(broken[0]) == (later,)
    for each in broken[1:]:
        slots.fail(each)
    assert slots.halted == ""
    assert slots.free(later)
