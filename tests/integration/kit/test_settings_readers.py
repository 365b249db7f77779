"""Readers of SettingsService: watches, replicas, and a database that is away."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest
from gameai.settings.v1 import settings_pb2 as pb
from gameai_devcluster import postgres
from support.bounties import refused, until_answered
from support.bus import MOOR, worlds
from support.live_settings import (
    Settings,
    change,
    declaration,
    serving,
    whole,
)

REGION, ROLLOUT = pb.LAYER_REGION, pb.LAYER_ROLLOUT


@pytest.fixture
async def settings(database: str) -> AsyncIterator[Settings]:
    async with serving(database, MOOR, *worlds(1)) as found:
        yield found


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
    watches = [settings.stub.WatchEffective(pb.WatchEffectiveRequest()) for _ in range(200)]
    for each in watches:
        await each.read()
    error = await refused(settings.stub.WatchEffective(pb.WatchEffectiveRequest()).read())
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "200 watches are open here" in str(error.details())
    watches.pop().cancel()

    async def first() -> Any:
        return await settings.stub.WatchEffective(pb.WatchEffectiveRequest()).read()

    await until_answered(first, full=True)
    for each in watches:
        each.cancel()


async def test_another_replica_has_a_change_within_a_second(database: str) -> None:
    async with serving(database, MOOR) as one, serving(database, MOOR) as other:
        await one.declare(declaration("spawn"))
        for each in range(3):
            revision = await one.update(change("spawn", whole(10 + each)))
            async with asyncio.timeout(10):
                while (await other.read()).revision < revision:
                    await asyncio.sleep(0.05)
            assert await other.value("spawn") == 10 + each


async def test_readers_are_answered_while_the_database_is_away(
    tmp_path: Any, new_database: Callable[[], str]
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
