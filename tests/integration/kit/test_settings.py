"""SettingsService over gRPC on a real database: declarations, layers, history, rollback, watches, players."""

import asyncio
import random
from typing import Any

import grpc
import psycopg
import pytest
from gameai.bus.subjects import name_id
from gameai.events.v1.events_pb2 import SettingChanged, SettingsRestored
from gameai.services.settings import store
from gameai.settings.v1 import settings_pb2 as pb
from support.bounties import refused, until_answered
from support.bus import MOOR, worlds
from support.live_settings import (
    AUTHOR,
    Settings,
    change,
    declaration,
    drawn,
    serving,
    whole,
)

REGION, ROLLOUT = pb.LAYER_REGION, pb.LAYER_ROLLOUT


async def test_a_later_layer_replaces_the_value_of_an_earlier_one(settings: Settings) -> None:
    assert await settings.declare(declaration("spawn", whole(1), per_player=True)) == 1
    (found,) = (await settings.read("spawn")).settings
    assert (found.value.whole, found.layer, found.revision) == (1, pb.LAYER_DEFAULT, 1)
    assert await settings.update(change("spawn", whole(2))) == 2
    await settings.update(
        change("spawn", whole(3), REGION, "north"),
        change("spawn", whole(4), ROLLOUT, permille=1000),
    )
    await settings.of_player("anna", spawn=whole(5))
    assert [
        await settings.value("spawn"),
        await settings.value("spawn", region="south"),
        await settings.value("spawn", region="north"),
        await settings.value("spawn", region="north", player="bert"),
        await settings.value("spawn", region="north", player="anna"),
    ] == [2, 2, 3, 4, 5]
    await settings.update(change("spawn", None), change("spawn", None, ROLLOUT))
    await settings.of_player("anna", spawn=None)
    assert await settings.value("spawn", player="anna") == 1
    assert await settings.value("spawn", region="north") == 3


async def test_worlds_have_their_own_settings(settings: Settings) -> None:
    (other,) = worlds(1)
    await settings.declare(declaration("spawn"))
    error = await refused(settings.read("spawn", world=f"{other.namespace}/{other.name}"))
    assert error.code() is grpc.StatusCode.NOT_FOUND
    assert (await settings.read(world=f"{other.namespace}/{other.name}")).revision == 0
    error = await refused(settings.read(world="moor/unknown"))
    assert error.code() is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize(
    ("given", "code", "says"),
    [
        (
            {"changes": [change("spwan", whole(3))]},
            "NOT_FOUND",
            "changes[0].key: 'spwan' is not declared; did you mean spawn?",
        ),
        (
            {"changes": [change("spawn", whole(11))]},
            "INVALID_ARGUMENT",
            "changes[0].value of spawn must be at most 10, not 11",
        ),
        (
            {"changes": [change("spawn", pb.Value(text="3"))]},
            "INVALID_ARGUMENT",
            "changes[0].value of spawn must have the type whole, not text",
        ),
        (
            {"changes": [change("spawn", whole(3))], "reason": ""},
            "INVALID_ARGUMENT",
            "reason must have 1 to 512 characters",
        ),
        (
            {"changes": [change("spawn", whole(3))], "expected_revision": 7},
            "ABORTED",
            "the settings are at revision 1, and expected_revision is 7: read them again (GetEffective)",
        ),
    ],
)
async def test_a_change_that_cannot_be_made_changes_nothing(
    settings: Settings, given: dict[str, Any], code: str, says: str
) -> None:
    await settings.declare(declaration("spawn", maximum=whole(10)), declaration("good"))
    request = {"request_id": drawn(), **AUTHOR, **given}
    request["changes"] = [change("good", whole(2)), *request["changes"]]
    error = await refused(settings.stub.UpdateSettings(pb.UpdateSettingsRequest(**request)))
    assert error.code() is grpc.StatusCode[code]
    assert says.replace("changes[0]", "changes[1]") in str(error.details())
    assert (await settings.read("good")).revision == 1


async def test_the_same_request_takes_effect_once_and_no_change_makes_no_revision(
    settings: Settings,
) -> None:
    await settings.declare(declaration("spawn"))
    one = drawn()
    assert await settings.update(change("spawn", whole(2)), request_id=one) == 2
    assert await settings.update(change("spawn", whole(3))) == 3
    assert await settings.update(change("spawn", whole(2)), request_id=one) == 2
    assert await settings.value("spawn") == 3
    assert await settings.update(change("spawn", whole(3))) == 3
    assert await settings.declare(declaration("spawn")) == 3


async def test_a_declaration_must_fit_the_values_that_are_there(settings: Settings) -> None:
    await settings.declare(declaration("spawn"))
    await settings.update(change("spawn", whole(9), REGION, "north"))
    error = await refused(settings.declare(declaration("spawn", maximum=whole(8))))
    assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert "the value 9 in layer region, region north must be at most 8, not 9: change or" in str(
        error.details()
    )
    error = await refused(settings.declare(removed_keys=["spawn"]))
    assert "spawn has a value in layer region, region north: remove it first" in str(
        error.details()
    )
    await settings.update(change("spawn", None, REGION, "north"))
    await settings.declare(removed_keys=["spawn"])
    error = await refused(settings.read("spawn"))
    assert error.code() is grpc.StatusCode.NOT_FOUND


async def test_a_rollback_restores_every_declaration_and_value(settings: Settings) -> None:
    chance = random.Random(3)
    await settings.declare(*(declaration(f"key-{each}") for each in range(8)))
    states = {1: await settings.read()}
    for _ in range(25):
        key, region = f"key-{chance.randrange(8)}", chance.choice(["", "north", "south"])
        value = whole(chance.randrange(4)) if chance.random() < 0.7 else None
        layer = REGION if region else pb.LAYER_WORLD
        revision = await settings.update(change(key, value, layer, region))
        states[revision] = await settings.read()
    await settings.declare(declaration("late"), declaration("key-1", whole(7)))
    for revision in chance.sample(sorted(states), 5):
        made = await settings.roll_back(revision)
        found = await settings.read()
        assert found.revision == made
        assert [(each.key, each.value, each.layer) for each in found.settings] == [
            (each.key, each.value, each.layer) for each in states[revision].settings
        ]
    (last,) = (await settings.stub.ListRevisions(pb.ListRevisionsRequest(page_size=1))).revisions
    assert (last.HasField("restored"), last.restored) == (True, revision)
    assert await settings.roll_back(last.revision) == last.revision, "nothing changes"
    assert await settings.roll_back(0) == last.revision + 1
    assert not (await settings.read()).settings


async def test_revisions_say_who_changed_what_and_why(settings: Settings) -> None:
    await settings.declare(declaration("spawn"), declaration("loot"))
    for each in range(2, 6):
        await settings.update(change("spawn", whole(each)), author="bert", reason=f"try {each}")
    found, before = list[pb.Revision](), 0
    while True:
        request = pb.ListRevisionsRequest(page_size=2, before=before)
        answer = await settings.stub.ListRevisions(request)
        found += answer.revisions
        before = answer.next_before
        if not before:
            break
    assert [each.revision for each in found] == [5, 4, 3, 2, 1]
    assert (found[0].author, found[0].reason, list(found[0].keys)) == ("bert", "try 5", ["spawn"])
    assert (found[-1].changed, list(found[-1].keys)) == (2, ["loot", "spawn"])
    assert found[0].world_us == 7_000_000
    assert found[0].created_us > 1_600_000_000_000_000
    assert not found[0].HasField("restored")


async def test_only_the_last_revisions_are_kept(database: str) -> None:
    async with serving(database, MOOR, revisions=10) as settings:
        await settings.declare(declaration("spawn"))
        for each in range(2, 31):
            await settings.update(change("spawn", whole(each)))
        answer = await settings.stub.ListRevisions(pb.ListRevisionsRequest(page_size=200))
        assert [each.revision for each in answer.revisions] == list(range(30, 20, -1))
        error = await refused(settings.roll_back(19))
        assert error.code() is grpc.StatusCode.NOT_FOUND
        assert "revision 19 is not kept: the oldest that can be restored is 20" in str(
            error.details()
        )
        await settings.roll_back(20)
        assert await settings.value("spawn") == 20
    async with await psycopg.AsyncConnection.connect(database) as connection:
        cursor = await connection.execute("SELECT count(*) FROM svc_settings.change")
        assert await cursor.fetchone() == (10,)


async def test_writers_at_the_same_time_make_one_history(settings: Settings) -> None:
    await settings.declare(*(declaration(f"key-{each}", whole(0)) for each in range(5)))

    async def writer(number: int) -> None:
        for each in range(10):
            given = change(f"key-{(number + each) % 5}", whole(1000 * number + each))
            request = pb.UpdateSettingsRequest(request_id=drawn(), changes=[given], **AUTHOR)
            await until_answered(lambda: settings.stub.UpdateSettings(request, timeout=20))  # noqa: B023 - called at once

    await asyncio.gather(*(writer(each) for each in range(1, 21)))
    answer = await settings.stub.ListRevisions(pb.ListRevisionsRequest(page_size=200))
    assert answer.revisions[0].revision == 201
    assert answer.next_before == 2
    found = await settings.read()
    assert found.revision == 201
    await settings.roll_back(1)
    assert [each.value.whole for each in (await settings.read()).settings] == [0] * 5


async def test_a_player_has_values_of_declared_keys_alone(settings: Settings) -> None:
    await settings.declare(
        declaration("volume", maximum=whole(10), per_player=True), declaration("spawn")
    )
    await settings.of_player("anna", volume=whole(7))
    error = await refused(settings.of_player("anna", spawn=whole(3)))
    assert "spawn takes no values of players: set per_player in its declaration" in str(
        error.details()
    )
    error = await refused(settings.of_player("anna", volume=whole(11)))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert await settings.value("volume", player="anna") == 7
    # A value that a new declaration does not allow does not apply.
    await settings.declare(declaration("volume", maximum=whole(5), per_player=True))
    assert await settings.value("volume", player="anna") == 1
    await settings.declare(declaration("volume", maximum=whole(10), per_player=True))
    assert await settings.value("volume", player="anna") == 7
    deletion = pb.DeletePlayerSettingsRequest(request_id=drawn(), player="anna")
    assert (await settings.stub.DeletePlayerSettings(deletion)).deleted == 1
    assert await settings.value("volume", player="anna") == 1


async def test_the_settings_of_a_player_have_a_limit(settings: Settings) -> None:
    text = pb.Value(text="")
    keys = [f"note-{each}" for each in range(9)]
    await settings.declare(
        *(declaration(each, text, per_player=True, max_bytes=8192) for each in keys)
    )
    large = pb.Value(text="x" * 8000)
    await settings.of_player("anna", **dict.fromkeys(keys[:8], large))
    error = await refused(settings.of_player("anna", **{keys[8]: large}))
    assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert "the limit is 65536: remove some first" in str(error.details())
    await settings.of_player("anna", **{keys[0]: None, keys[8]: large})


async def test_the_settings_of_a_world_have_limits(settings: Settings) -> None:
    text = pb.Value(text="x" * 8000)
    for each in range(2):
        await settings.declare(
            *(declaration(f"a-{each}-{n}", text, max_bytes=8192) for n in range(31))
        )
    error = await refused(
        settings.declare(*(declaration(f"b-{n}", text, max_bytes=8192) for n in range(10)))
    )
    assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert "bytes, and the limit is 524288: remove some first" in str(error.details())
    await settings.roll_back(0)
    await settings.declare(declaration("wide"))
    for each in range(50):
        regions = [f"r-{each}-{n}" for n in range(100)]
        await settings.update(*(change("wide", whole(2), REGION, region) for region in regions))
    error = await refused(settings.update(change("wide", whole(2), REGION, "one-more")))
    assert "the world would have 5001 values, and the limit is 5000" in str(error.details())
    await settings.roll_back(0)
    for each in range(20):
        await settings.declare(*(declaration(f"k-{each}-{n}") for n in range(100)))
    error = await refused(settings.declare(declaration("one-more")))
    assert "the world would have 2001 keys, and the limit is 2000" in str(error.details())
    found = list[str]()
    token = ""
    while True:
        request = pb.ListDeclarationsRequest(page_size=200, page_token=token)
        answer = await settings.stub.ListDeclarations(request)
        found += [each.key for each in answer.declarations]
        token = answer.next_page_token
        if not token:
            break
    assert len(found) == 2000
    assert found == sorted(found)


async def test_events_name_what_was_changed(settings: Settings) -> None:
    await settings.declare(declaration("spawn", per_player=True))
    await settings.update(change("spawn", whole(3), REGION, "north"))
    await settings.of_player("anna", spawn=whole(2))
    await settings.roll_back(1)
    found = await settings.events(4, MOOR)
    spawn = name_id("spawn")
    assert found == [
        SettingChanged(setting=spawn, layer=1, revision=1),
        SettingChanged(setting=spawn, layer=3, scope=name_id("north"), revision=2),
        SettingChanged(setting=spawn, layer=5, scope=name_id("anna")),
        SettingsRestored(revision=3, restored=1, changed=1),
    ]


async def test_fields_that_are_not_known_are_not_kept(settings: Settings) -> None:
    await settings.declare(declaration("spawn"))
    value = whole(2)
    value.MergeFromString(b"\xa2\x06\x80\x08" + b"x" * 1024)
    assert value.ByteSize() > 1000
    await settings.update(change("spawn", value))
    assert (await settings.read("spawn")).ByteSize() < 100


async def test_a_rollback_without_a_revision_changes_nothing(settings: Settings) -> None:
    await settings.declare(declaration("spawn"))
    request = pb.RollbackToRequest(request_id=drawn(), **AUTHOR)
    error = await refused(settings.stub.RollbackTo(request))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert await settings.value("spawn") == 1


async def test_what_a_player_has_already_is_no_change(settings: Settings) -> None:
    await settings.declare(declaration("volume", per_player=True))
    await settings.of_player("anna", volume=whole(7), gone=None)
    await settings.of_player("anna", volume=whole(7))
    await settings.of_player("anna", volume=None)
    found = await settings.events(3, MOOR)
    assert [each for each in found if isinstance(each, SettingChanged) and each.layer == 5] == [
        SettingChanged(setting=name_id("volume"), layer=5, scope=name_id("anna"))
    ] * 2


async def test_a_large_history_is_forgotten_by_its_size(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "MOST_HISTORY_BYTES", 800)
    await settings.declare(declaration("spawn"))
    for each in range(2, 12):
        await settings.update(change("spawn", whole(each)))
    answer = await settings.stub.ListRevisions(pb.ListRevisionsRequest(page_size=200))
    assert 2 <= len(answer.revisions) <= 5
    assert answer.revisions[0].revision == 11
