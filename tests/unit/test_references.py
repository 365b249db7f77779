from gameai_operator.engine.manifest import Key
from gameai_operator.engine.references import References
from gameai_operator.engine.turns import Turns

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
    turns = Turns(lambda: 1)
    assert turns.free(A)
    turns.take(A, healthy=True)
    assert turns.free(A)
    assert not turns.free(B)
    turns.wait(B)
    assert turns.through(A) == (B,)
    turns.take(B, healthy=True)
    assert turns.through(B) == ()


def test_one_that_leaves_without_a_turn_frees_none() -> None:
    turns = Turns(lambda: 1)
    turns.take(A, healthy=True)
    turns.wait(B)
    assert turns.through(GOLD) == ()


def test_those_under_way_before_a_restart_may_be_more_than_the_limit() -> None:
    turns = Turns(lambda: 1)
    turns.begin([A, B])
    turns.wait(GOLD)
    assert turns.through(A) == ()
    assert turns.through(B) == (GOLD,)


def test_one_that_waits_no_more_makes_way_for_the_next() -> None:
    turns = Turns(lambda: 1)
    turns.wait(A)
    turns.wait(B)
    assert turns.through(A) == (B,)


def test_as_many_are_named_as_there_is_room_for() -> None:
    turns = Turns(lambda: 2)
    for each in (A, B):
        turns.take(each, healthy=True)
        assert turns.holds(each)
    turns.wait(GOLD)
    turns.wait(SILVER)
    assert turns.through(A) == (GOLD,)
    assert turns.through(B) == (GOLD, SILVER)


def test_a_roll_out_halts_once_a_fifth_of_those_that_worked_before_fail() -> None:
    turns = Turns(lambda: 5)
    keys = [Key("GameWorld", "n", f"w{number}") for number in range(20)]
    for each in keys[:4]:
        turns.take(each, healthy=True)
        turns.through(each)
    for each in keys[4:6]:
        turns.take(each, healthy=True)
        turns.fail(each)
    assert turns.free(keys[9])
    turns.take(keys[6], healthy=True)
    turns.wait(keys[8])
    assert turns.fail(keys[6]) == (keys[8],), "those that wait report the halt"
    turns.through(keys[8])
    assert turns.halted == "3 of the first 7 did not become ready"
    assert not turns.free(keys[9])
    turns.wait(keys[9])
    turns.wait(keys[10])
    assert turns.through(keys[6]) == (keys[9], keys[10]), "one that recovers ends the halt for all"


def test_those_that_are_gone_or_paused_count_neither_way() -> None:
    turns = Turns(lambda: 5)
    keys = [Key("GameWorld", "n", f"w{number}") for number in range(20)]
    for each in keys[:3]:
        turns.take(each, healthy=True)
        turns.fail(each)
    assert turns.halted
    for each in keys[3:18]:
        turns.take(each, healthy=True)
        turns.give_back(each)
    assert turns.halted, "they dilute no rate"


def test_worlds_that_were_broken_before_give_their_turns_back_and_halt_nothing() -> None:
    turns = Turns(lambda: 5)
    broken = [Key("GameWorld", "n", f"w{number}") for number in range(5)]
    for each in broken:
        turns.take(each, healthy=False)
    later = Key("GameWorld", "n", "later")
    turns.wait(later)
    assert not turns.free(later)
    assert turns.fail(broken[0]) == (later,)
    for each in broken[1:]:
        turns.fail(each)
    assert turns.halted == ""
    assert turns.free(later)
