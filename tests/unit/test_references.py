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
    turns = Turns(1)
    assert turns.free(A)
    turns.take(A)
    assert turns.free(A)
    assert not turns.free(B)
    turns.wait(B)
    assert turns.leave(A) == (B,)
    turns.take(B)
    assert turns.leave(B) == ()


def test_one_that_leaves_without_a_turn_frees_none() -> None:
    turns = Turns(1)
    turns.take(A)
    turns.wait(B)
    assert turns.leave(GOLD) == ()


def test_those_under_way_before_a_restart_may_be_more_than_the_limit() -> None:
    turns = Turns(1)
    turns.begin([A, B])
    turns.wait(GOLD)
    assert turns.leave(A) == ()
    assert turns.leave(B) == (GOLD,)


def test_one_that_waits_no_more_makes_way_for_the_next() -> None:
    turns = Turns(1)
    turns.wait(A)
    turns.wait(B)
    assert turns.leave(A) == (B,)


def test_as_many_are_named_as_there_is_room_for() -> None:
    turns = Turns(2)
    for each in (A, B):
        turns.take(each)
        assert turns.holds(each)
    turns.wait(GOLD)
    turns.wait(SILVER)
    assert turns.leave(A) == (GOLD,)
    assert turns.leave(B) == (GOLD, SILVER)
