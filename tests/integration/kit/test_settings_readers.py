"""Readers of SettingsService: watches, replicas, and a database that is away."""

import asyncio
from pathlib import Path
from typing import Any

import grpc
import psycopg
from gameai.settings.v1 import settings_pb2 as pb
from gameai_devcluster import postgres
from support.bounties import refused, until_answered
from support.bus import MOOR
from support.live_settings import (
    Settings,
    change,
    declaration,
    serving,
    whole,
)

REGION, ROLLOUT = pb.LAYER_REGION, pb.LAYER_ROLLOUT


async def test_a_watcher_sees_every_key_and_never_an_older_revision(settings: Settings) -> None:
    await settings.declare(declaration("spawn"), declaration("loot"))
    request = pb.WatchEffectiveRequest(context=pb.Context(region="north"))
    watch = settings.stub.WatchEffective(request)
    first = await watch.read()
    assert [each.key for each in first.settings] == ["loot", "spawn"]
    await settings.update(change("spawn", whole(3), REGION, "south"))
    await settings.update(change("spawn", whole(4), REGION, "north"))
    second = await watch.read()
    assert [(each.key, each.value.whole) for each in second.settings] == [("spawn", 4)]
    await settings.declare(declaration("late"))
    assert [each.key for each in (await watch.read()).settings] == ["late"]
    await settings.declare(removed_keys=["loot"])
    assert list((await watch.read()).removed_keys) == ["loot"]

    async def write() -> None:
        for each in range(5, 40):
            await settings.update(
                change("spawn", whole(each)), change("spawn", whole(each), REGION, "north")
            )

    writing = asyncio.create_task(write())
    seen, revision = 0, 0
    while seen < 39:
        answer = await watch.read()
        assert answer.revision > revision
        revision = answer.revision
        (found,) = answer.settings
        assert found.value.whole > seen
        seen = found.value.whole
    await writing
    watch.cancel()


async def test_a_drain_ends_watches(settings: Settings) -> None:
    await settings.declare(declaration("spawn"))
    watch = settings.stub.WatchEffective(pb.WatchEffectiveRequest())
    await watch.read()
    settings.live.drain()
    error = await refused(watch.read())
    assert error.code() is grpc.StatusCode.UNAVAILABLE


async def test_more_watches_than_allowed_are_refused(settings: Settings) -> None:
    await settings.declare(declaration("spawn"))
    watches = [settings.stub.WatchEffective(pb.WatchEffectiveRequest()) for _ in range(100)]
    for each in watches:
        await each.read()
    error = await refused(settings.stub.WatchEffective(pb.WatchEffectiveRequest()).read())
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "100 watches are open here" in str(error.details())
    watches.pop().cancel()

    async def first() -> Any:
        return await settings.stub.WatchEffective(pb.WatchEffectiveRequest()).read()

    await until_answered(first, full=True)
    for each in watches:
        each.cancel()


async def test_another_replica_has_a_change_and_a_key_that_was_declared_just_now(
    database: str,
) -> None:
    async with serving(database, MOOR) as one, serving(database, MOOR) as other:
        await one.declare(declaration("spawn"))
        assert await other.value("spawn") == 1, "it reads once more before it says NOT_FOUND"
        for each in range(3):
            revision = await one.update(change("spawn", whole(10 + each)))
            async with asyncio.timeout(10):
                while (await other.read()).revision < revision:
                    await asyncio.sleep(0.05)
            assert await other.value("spawn") == 10 + each


async def test_readers_are_answered_while_the_database_is_away(
    tmp_path: Path,
) -> None:
    server = postgres.start(tmp_path / "postgres")
    try:
        async with serving(server.database("kit"), MOOR) as settings:
            await settings.declare(declaration("spawn", per_player=True))
            await settings.update(change("spawn", whole(3)))
            assert not (await settings.read("spawn")).stale
            server.kill()
            # Values of the player cannot be read.
            found = await settings.read("spawn", player="anna")
            assert (found.stale, found.settings[0].value.whole) == (True, 3)
            error = await refused(settings.update(change("spawn", whole(4))))
            assert error.code() is grpc.StatusCode.UNAVAILABLE
            async with asyncio.timeout(50):
                while not (await settings.read("spawn")).stale:
                    await asyncio.sleep(0.2)
            assert await settings.value("spawn") == 3
            server = postgres.start(tmp_path / "postgres", server.port)

            async def write() -> Any:
                return await settings.update(change("spawn", whole(4)))

            await until_answered(write)
            async with asyncio.timeout(50):
                while (await settings.read("spawn")).stale:
                    await asyncio.sleep(0.2)
            assert await settings.value("spawn") == 4
    finally:
        server.stop()


async def test_watches_of_players_get_each_change_and_nothing_ends_them(settings: Settings) -> None:
    await settings.declare(declaration("volume", per_player=True), declaration("spawn"))
    await settings.of_player("player-7", volume=whole(9))
    watches = [
        settings.stub.WatchEffective(
            pb.WatchEffectiveRequest(context=pb.Context(player=f"player-{each}"))
        )
        for each in range(100)
    ]
    first = [await each.read() for each in watches]
    assert [each.settings[1].value.whole for each in first[6:9]] == [1, 9, 1]
    await settings.of_player("player-7", volume=whole(8))
    await settings.update(change("spawn", whole(5)))
    for number, each in enumerate(watches):
        answer = await asyncio.wait_for(each.read(), 20)
        keys = ["spawn", "volume"] if number == 7 else ["spawn"]
        assert [found.key for found in answer.settings] == keys
    for each in watches:
        each.cancel()


async def test_a_restored_database_is_read_whole(database: str, settings: Settings) -> None:
    await settings.declare(declaration("spawn"), declaration("loot"))
    await settings.update(change("spawn", whole(2)))
    watch = settings.stub.WatchEffective(pb.WatchEffectiveRequest())
    await watch.read()
    other = change("spawn", whole(7)).SerializeToString(deterministic=True)
    async with await psycopg.AsyncConnection.connect(database) as connection:
        await connection.execute(
            "UPDATE svc_settings.entry SET body = %s WHERE layer = 2 AND key = 'spawn'", (other,)
        )
        await connection.execute("UPDATE svc_settings.head SET token = gen_random_uuid()")
    answer = await asyncio.wait_for(watch.read(), 20)
    assert [(each.key, each.value.whole) for each in answer.settings] == [("loot", 1), ("spawn", 7)]
    assert answer.revision == 2
    watch.cancel()


async def test_a_watch_of_a_player_that_cannot_be_read_says_so_until_it_can(tmp_path: Path) -> None:
    server = postgres.start(tmp_path / "postgres")
    try:
        async with serving(server.database("kit"), MOOR) as settings:
            await settings.declare(declaration("volume", per_player=True))
            await settings.of_player("anna", volume=whole(9))
            server.kill()
            context = pb.Context(player="anna")
            watch = settings.stub.WatchEffective(pb.WatchEffectiveRequest(context=context))
            answer = await asyncio.wait_for(watch.read(), 20)
            assert (answer.stale, answer.settings[0].value.whole) == (True, 1)
            # Readers that need no player are not held up by those that do.
            asked = [settings.read("volume", player="anna") for _ in range(120)]
            found = await asyncio.gather(*asked, *(settings.read("volume") for _ in range(20)))
            assert all(each.stale for each in found[:120])
            server = postgres.start(tmp_path / "postgres", server.port)
            answer = await asyncio.wait_for(watch.read(), 60)
            assert (answer.stale, answer.settings[0].value.whole) == (False, 9)
            watch.cancel()
    finally:
        server.stop()


async def test_a_change_that_waits_for_another_holds_up_no_reader(
    database: str, settings: Settings
) -> None:
    await settings.declare(declaration("volume", per_player=True))
    await settings.of_player("anna", volume=whole(9))
    async with await psycopg.AsyncConnection.connect(database) as connection:
        await connection.execute("SELECT FROM svc_settings.head FOR UPDATE")
        waiting = [
            asyncio.create_task(refused(settings.update(change("volume", whole(each)))))
            for each in range(2, 10)
        ]
        await asyncio.sleep(0.5)
        found = await settings.read("volume", player="anna")
        assert (found.stale, found.settings[0].value.whole) == (False, 9)
        await settings.stub.ListRevisions(pb.ListRevisionsRequest(), timeout=5)
        error = await asyncio.wait_for(waiting[0], 20)
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        for each in waiting:
            each.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
