"""The decisions of the settings service."""

from typing import Any

import pytest
from gameai.errors import (
    InvalidArgumentError,
    NotFoundError,
)
from gameai.services.settings.rules import checks, table, values
from gameai.settings.v1 import settings_pb2 as pb
from support.live_settings import AUTHOR, TABLE, change, declaration, whole

WORLD, REGION, ROLLOUT = pb.LAYER_WORLD, pb.LAYER_REGION, pb.LAYER_ROLLOUT
NAN = pb.Value(number=float("nan"))
TEXT, JSON = pb.Value(text=""), pb.Value(json=b"null")


@pytest.mark.parametrize(
    ("declared", "value", "fault"),
    [
        (declaration("a"), whole(2), None),
        (declaration("a"), pb.Value(), "must have the type whole, not none"),
        (declaration("a"), pb.Value(number=2.0), "must have the type whole, not number"),
        (declaration("a", minimum=whole(2)), whole(1), "must be at least 2, not 1"),
        (declaration("a", maximum=whole(2)), whole(3), "must be at most 2, not 3"),
        (declaration("a", minimum=whole(2), maximum=whole(2)), whole(2), None),
        (declaration("a", pb.Value(number=1.0)), NAN, "must be a finite number"),
        (declaration("a", pb.Value(flag=True)), pb.Value(flag=False), None),
        (declaration("a", TEXT), pb.Value(text="é" * 512), None),
        (
            declaration("a", TEXT),
            pb.Value(text="é" * 513),
            "must have at most 1024 bytes, not 1026",
        ),
        (declaration("a", TEXT, max_bytes=2), pb.Value(text="abc"), "at most 2 bytes, not 3"),
        (
            declaration("a", pb.Value(text="x"), choices=["x", "y"]),
            pb.Value(text="z"),
            "must be one of x, y, not 'z'",
        ),
        (
            declaration("a", pb.Value(text="c-1"), choices=[f"c-{each}" for each in range(12)]),
            pb.Value(text="z"),
            "c-9 or 2 others, not 'z'",
        ),
        (declaration("a", JSON), pb.Value(json=b'{"a": [1, null]}'), None),
        (declaration("a", JSON, max_bytes=8192), pb.Value(json=b"9" * 5000), None),
        (declaration("a", JSON), pb.Value(json=b"{a}"), "must be a JSON text: Expecting property"),
        (declaration("a", JSON), pb.Value(json=b"\xff"), "must be a JSON text: 'utf-8' codec"),
        (declaration("a", JSON), pb.Value(json=b"NaN"), "must be a JSON text: NaN is not JSON"),
        (
            declaration("a", JSON, max_bytes=8192),
            pb.Value(json=b"[" * 8000),
            "must be a JSON text: ",
        ),
        (declaration("a", JSON, max_bytes=4), pb.Value(json=b"[1, 2]"), "at most 4 bytes, not 6"),
    ],
)
def test_a_value_fits_its_declaration_or_a_sentence_says_why_not(
    declared: pb.Declaration, value: pb.Value, fault: str | None
) -> None:
    found = values.fault(value, declared)
    assert found is None if fault is None else fault in str(found)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (whole(3), "3"),
        (pb.Value(flag=True), "true"),
        (pb.Value(text="x" * 50), repr("x" * 40)),
        (pb.Value(json=b"\xff"), "\N{REPLACEMENT CHARACTER}"),
        (pb.Value(), "nothing"),
    ],
)
def test_a_value_is_short_in_a_message(value: pb.Value, shown: str) -> None:
    assert values.shown(value) == shown


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (declaration("Spawn"), "declarations[0].key must be 1 to 64 lower-case letters"),
        (declaration("a", description=""), "declarations[0].description must have 1 to 512"),
        (declaration("a", unit="x" * 33), "declarations[0].unit must have 0 to 32"),
        (pb.Declaration(key="a", description="A."), "declarations[0].default must have a value"),
        (declaration("a", maximum=whole(0)), "declarations[0].default must be at most 0, not 1"),
        (
            declaration("a", minimum=whole(5), maximum=whole(2)),
            "declarations[0].minimum is 5, above maximum 2",
        ),
        (
            declaration("a", maximum=pb.Value(number=3.0)),
            "declarations[0].maximum must have the type whole, not number",
        ),
        (
            declaration("a", TEXT, minimum=whole(0)),
            "declarations[0].minimum is for defaults of type whole or number",
        ),
        (declaration("a", choices=["x"]), "declarations[0].choices is for defaults of type text"),
        (
            declaration("a", TEXT, choices=["x", "x"]),
            "declarations[0].choices[1] repeats an earlier one",
        ),
        (declaration("a", TEXT, choices=["x" * 129]), "declarations[0].choices[0] must have 1"),
        (
            declaration("a", TEXT, choices=[str(each) for each in range(65)]),
            "declarations[0].choices must have 0 to 64 entries, not 65",
        ),
        (declaration("a", max_bytes=5), "declarations[0].max_bytes must be 0 to 8192, and is for"),
        (declaration("a", JSON, max_bytes=8193), "declarations[0].max_bytes must be 0 to 8192"),
    ],
)
def test_a_declaration_that_cannot_be_is_refused(given: pb.Declaration, says: str) -> None:
    with pytest.raises(InvalidArgumentError) as error:
        checks.declarations(pb.DeclareSettingsRequest(declarations=[given], **AUTHOR))
    assert says in str(error.value)
    assert error.value.field
    assert error.value.field in str(error.value)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, "the request changes nothing: give declarations or removed_keys"),
        ({"removed_keys": ["A"]}, "removed_keys[0] must be 1 to 64 lower-case letters"),
        (
            {"declarations": [declaration("a")], "removed_keys": ["a"]},
            "removed_keys[0]: a is among declarations too: declare it or remove it",
        ),
        ({"removed_keys": ["a", "a"]}, "removed_keys[1] repeats an earlier one"),
        ({"removed_keys": ["a"] * 101}, "removed_keys must have 0 to 100 entries, not 101"),
        ({"removed_keys": ["a"], "author": ""}, "author must have 1 to 128 characters"),
        ({"removed_keys": ["a"], "reason": "\n"}, "reason must have 1 to 512 characters"),
    ],
)
def test_declaring_needs_something_to_declare_an_author_and_a_reason(
    given: dict[str, Any], says: str
) -> None:
    with pytest.raises(InvalidArgumentError) as error:
        checks.declarations(pb.DeclareSettingsRequest(**{**AUTHOR, **given}))
    assert says in str(error.value)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ([], "changes must have 1 to 100 entries, not 0"),
        ([change("A", None)], "changes[0].key must be 1 to 64"),
        ([change("a", None, pb.LAYER_DEFAULT)], "changes[0].layer must be LAYER_WORLD, LAYER_R"),
        (
            [change("a", None, pb.LAYER_PLAYER)],
            "a value of a player is set by UpdatePlayerSettings",
        ),
        (
            [change("a", None, region="north")],
            "changes[0].region is for LAYER_REGION alone: leave it out",
        ),
        ([change("a", None, REGION)], "changes[0].region must have 1 to 64 characters"),
        ([change("a", whole(1), ROLLOUT)], "changes[0].permille must be 1 to 1000"),
        ([change("a", whole(1), ROLLOUT, permille=1001)], "changes[0].permille must be 1 to 1000"),
        ([change("a", None, ROLLOUT, permille=5)], "changes[0].permille must be 1 to 1000"),
        ([change("a", whole(1), permille=5)], "changes[0].permille must be 1 to 1000"),
        ([change("a", None)] * 2, "changes[1] repeats an earlier one"),
    ],
)
def test_a_change_that_cannot_be_is_refused(given: list[pb.Change], says: str) -> None:
    with pytest.raises(InvalidArgumentError) as error:
        checks.changes(pb.UpdateSettingsRequest(changes=given, **AUTHOR))
    assert says in str(error.value)


def test_what_is_read_is_bounded() -> None:
    for context in (pb.Context(region="x" * 65), pb.Context(player="x" * 129)):
        with pytest.raises(InvalidArgumentError):
            checks.context(context)
    checks.context(pb.Context(region="x" * 64, player="x" * 128))
    checks.asked(["a"], ["a", "b"])
    with pytest.raises(NotFoundError, match=r"keys\[0\]: 'c' is not declared"):
        checks.asked(["c"], ["a", "b"])
    with pytest.raises(InvalidArgumentError, match="keys must have 0 to 100 entries, not 101"):
        checks.asked(["a"] * 101, ["a"])
    with pytest.raises(InvalidArgumentError, match="player must have 1 to 128 characters"):
        checks.player_changes(pb.UpdatePlayerSettingsRequest())
    with pytest.raises(InvalidArgumentError, match=r"changes\[1\] repeats an earlier one"):
        checks.player_changes(
            pb.UpdatePlayerSettingsRequest(player="anna", changes=[pb.PlayerChange(key="a")] * 2)
        )


@pytest.mark.parametrize(
    ("context", "own", "value", "layer", "revision"),
    [
        (pb.Context(), {}, 11, WORLD, 2),
        (pb.Context(region="south"), {}, 11, WORLD, 2),
        (pb.Context(region="north"), {}, 12, REGION, 3),
        (pb.Context(region="north", player="anna"), {}, 12, REGION, 3),
        (pb.Context(region="north", player="bert"), {}, 13, ROLLOUT, 4),
        (pb.Context(player="bert"), {"a": whole(14)}, 14, pb.LAYER_PLAYER, 0),
    ],
)
def test_the_last_layer_with_a_value_applies(
    context: pb.Context, own: dict[str, pb.Value], value: int, layer: int, revision: int
) -> None:
    assert table.chosen("a", "bert", 500)
    assert not table.chosen("a", "anna", 500)
    first, second = table.effective(TABLE, [], context, own)
    assert (first.key, second.key) == ("a", "b")
    assert (first.value.whole, first.layer, first.revision) == (value, layer, revision)
    assert (second.value.whole, second.layer, second.revision) == (1, pb.LAYER_DEFAULT, 1)


def test_keys_come_in_the_order_that_was_asked_for_and_unknown_ones_not_at_all() -> None:
    assert [each.key for each in table.effective(TABLE, ["b", "x", "a"])] == ["b", "a"]


def test_a_rollout_reaches_its_share_of_the_players_and_a_larger_one_keeps_them() -> None:
    players = [f"player-{each}" for each in range(100_000)]
    tenth = {each for each in players if table.chosen("spawn", each, 100)}
    assert 0.097 < len(tenth) / len(players) < 0.103
    assert tenth <= {each for each in players if table.chosen("spawn", each, 101)}
    other = {each for each in tenth if table.chosen("loot", each, 100)}
    assert len(other) < len(tenth) / 5, "other players of another key"
    assert table.chosen("spawn", players[0], 1000)


def test_values_of_a_player_apply_as_long_as_they_are_allowed() -> None:
    assert table.allowed(TABLE, {"a": whole(3), "b": whole(3), "c": whole(3)}) == {"a": whole(3)}
    assert table.allowed(TABLE, {"a": TEXT}) == {}
    assert TABLE.version == (5, "")
    assert table.has_values_of_players(TABLE, [])
    assert table.has_values_of_players(TABLE, ["x", "a"])
    assert not table.has_values_of_players(TABLE, ["b", "x"])


def test_declarations_come_in_pages() -> None:
    (first,), token = table.page(TABLE, "", 1)
    assert (first.key, token) == ("a", "a")
    (second,), token = table.page(TABLE, token, 1)
    assert (second.key, token) == ("b", "")


def test_a_rollback_names_its_revision() -> None:
    checks.require_revision_given(pb.RollbackToRequest(revision=0))
    with pytest.raises(InvalidArgumentError, match="revision is missing: give one that"):
        checks.require_revision_given(pb.RollbackToRequest())


def test_a_hint_is_looked_for_among_keys_that_are_like_it() -> None:
    assert "did you mean spawn?" in str(checks.undeclared("spwan", "keys[0]", ["loot", "spawn"]))
    assert str(checks.undeclared("spawn", "keys[0]", ["a" * 60])).endswith(
        "is not declared: declare it with DeclareSettings"
    )
