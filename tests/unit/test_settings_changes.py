"""What the settings service decides about changes and watches."""

import pytest
from gameai.errors import (
    ConflictError,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
)
from gameai.services.settings.rules import decision, table
from gameai.services.settings.rules.decision import Delta
from gameai.services.settings.rules.table import Place
from gameai.services.settings.rules.watch import Watch
from gameai.settings.v1 import settings_pb2 as pb
from support.live_settings import TABLE, change, declaration, place, whole

WORLD, REGION, ROLLOUT = pb.LAYER_WORLD, pb.LAYER_REGION, pb.LAYER_ROLLOUT
NAN = pb.Value(number=float("nan"))
TEXT, JSON = pb.Value(text=""), pb.Value(json=b"null")


def test_what_is_as_it_should_be_is_not_written() -> None:
    body = declaration("a").SerializeToString(deterministic=True)
    request = pb.DeclareSettingsRequest(
        declarations=[declaration("a"), declaration("b")], removed_keys=["c"]
    )
    (made,) = decision.declare(request, {place("a"): body})
    assert made == Delta(
        place=place("b"), before=None, after=declaration("b").SerializeToString(deterministic=True)
    )
    assert made.size == 150
    assert decision.restore({place("a"): body, place("x"): None}, {place("a"): body}) == []


def test_values_of_a_player_need_a_declaration() -> None:
    given = [pb.PlayerChange(key="a", value=whole(2)), pb.PlayerChange(key="gone")]
    declarations = {"a": declaration("a", per_player=True)}
    wanted = decision.of_player(given, declarations, [])
    value = whole(2).SerializeToString(deterministic=True)
    assert wanted == {"a": value, "gone": None}
    assert decision.player_changes(wanted, {}) == ({"a": value}, [])
    assert decision.player_changes(wanted, {"a": value, "gone": b"x"}) == ({}, ["gone"])
    with pytest.raises(NotFoundError, match=r"changes\[0\].key: 'a' is not declared"):
        decision.of_player(given, {}, ["b"])


def test_a_watcher_is_sent_what_has_changed_and_nothing_twice() -> None:
    watch = Watch()
    first = table.effective(TABLE, [], pb.Context(player="anna"), {"a": whole(7)})
    answer = watch.next(first, (5, "x"))
    assert answer is not None
    assert [each.key for each in answer.settings] == ["a", "b"]
    assert watch.next(first, (6, "y")) is None
    answer = watch.next(table.effective(TABLE, [], pb.Context(), {"a": whole(8)}), (7, "z"))
    assert answer is not None
    assert [(each.key, each.value.whole) for each in answer.settings] == [("a", 8)]
    answer = watch.next(table.effective(TABLE, ["b"]), (8, "u"))
    assert answer is not None
    assert (list(answer.settings), list(answer.removed_keys), answer.revision) == ([], ["a"], 8)


def test_a_watcher_of_a_restored_database_is_sent_everything() -> None:
    watch, found = Watch(), table.effective(TABLE, [])
    watch.next(found, (5, "x"))
    answer = watch.next(found, (5, "y"))
    assert answer is not None
    assert [each.key for each in answer.settings] == ["a", "b"]
    assert watch.next(found, (5, "y")) is None


def test_a_watcher_learns_when_values_of_its_player_are_missing_and_when_they_are_not() -> None:
    watch, found = Watch(), table.effective(TABLE, [])
    answer = watch.next(found, (5, "x"), stale=True)
    assert answer is not None
    assert (answer.stale, len(answer.settings)) == (True, 2)
    assert watch.next(found, (5, "x"), stale=True) is None
    answer = watch.next(found, (5, "x"))
    assert answer is not None
    assert (answer.stale, len(answer.settings)) == (False, 0)


def bodies(*given: pb.Declaration | pb.Change) -> dict[Place, bytes]:
    return {
        place(each.key)
        if isinstance(each, pb.Declaration)
        else place(each.key, each.layer, each.region): each.SerializeToString(deterministic=True)
        for each in given
    }


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (
            pb.DeclareSettingsRequest(declarations=[declaration("b"), declaration("a", TEXT)]),
            "declarations[1]: the value 3 in layer world must have the type text, not whole: change",
        ),
        (
            pb.DeclareSettingsRequest(declarations=[declaration("a", maximum=whole(3))]),
            "declarations[0]: the value 4 in layer region, region north must be at most 3, not 4",
        ),
        (
            pb.DeclareSettingsRequest(removed_keys=["b", "a"]),
            "removed_keys[1]: a has a value in layer world: remove it first",
        ),
    ],
)
def test_a_declaration_cannot_contradict_values(
    asked: pb.DeclareSettingsRequest, says: str
) -> None:
    known = bodies(
        declaration("b"),
        declaration("a"),
        change("a", whole(3)),
        change("a", whole(4), REGION, "north"),
    )
    with pytest.raises(FailedPreconditionError) as error:
        decision.declare(asked, known)
    assert says in str(error.value)
    assert str(error.value).startswith(error.value.field)


def test_a_change_of_a_value_needs_a_declaration_that_it_fits() -> None:
    known = bodies(declaration("a", maximum=whole(5)), change("a", whole(3)))
    given = [change("a", None), change("a", whole(4), REGION, "north")]
    removed, made = decision.update(given, known, ["a"])
    assert (removed.before, removed.after) == (known[place("a", WORLD)], None)
    assert (made.place, made.before) == (place("a", REGION, "north"), None)
    with pytest.raises(InvalidArgumentError, match=r"changes\[0\].value of a must be at most 5"):
        decision.update([change("a", whole(6))], known, ["a"])
    with pytest.raises(NotFoundError, match=r"changes\[0\].key: 'aa' is not declared; did you"):
        decision.update([change("aa", whole(6))], known, ["a"])


def test_a_player_can_set_what_is_declared_for_players() -> None:
    given = [pb.PlayerChange(key="a", value=whole(2))]
    with pytest.raises(
        FailedPreconditionError, match="a takes no values of players: set per_player"
    ):
        decision.of_player(given, {"a": declaration("a")}, [])
    with pytest.raises(InvalidArgumentError, match=r"changes\[0\].value of a must be at most 1"):
        decision.of_player(given, {"a": declaration("a", maximum=whole(1), per_player=True)}, [])


def test_a_caller_may_expect_a_revision() -> None:
    decision.require_revision(None, 4)
    decision.require_revision(4, 4)
    with pytest.raises(ConflictError, match="the settings are at revision 4"):
        decision.require_revision(0, 4)
