"""A mutation takes effect once for each request_id, whatever its callers and the database do."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from typing import Any

import grpc
import psycopg
import pytest
from gameai.kit import Call, Database, mutation, query
from gameai.kit.forgetting import forget_requests
from gameai_devcluster import postgres
from support.bounties import Bounties, Example, Places, bounties, refused, until_answered
from support.bus import MOOR, worlds

ID = "0190b0a2-7c1e-7000-8000-0123456789ab"


@pytest.fixture
async def service(example: Example, database: str) -> AsyncIterator[Bounties]:
    async with bounties(example, database, Places(*worlds(2))) as found:
        yield found


async def test_a_request_that_comes_again_gets_the_first_answer_and_has_no_effect(
    service: Bounties,
) -> None:
    assert (await service.post(1, 5, ID)).gold == 5
    assert (await service.post(1, 5)).gold == 10
    assert (await service.post(1, 5, ID)).gold == 5
    assert await service.gold(1) == 10


async def test_eight_equal_requests_at_a_time_take_effect_once(service: Bounties) -> None:
    answers = await asyncio.gather(
        *(until_answered(lambda: service.post(1, 5, ID)) for _ in range(8))
    )
    assert [each.gold for each in answers] == [5] * 8
    assert await service.gold(1) == 5


async def test_a_request_that_runs_is_answered_with_its_own_reason(
    example: Example, database: str
) -> None:
    going, end = asyncio.Event(), asyncio.Event()

    class Slow(example.service.Bounties):  # type: ignore[misc,name-defined] # it was compiled just now
        @mutation
        async def PostBounty(self, request: Any, call: Call) -> Any:
            going.set()
            await end.wait()
            return example.wire.PostBountyResponse(gold=1)

    async with bounties(example, database, Places(MOOR), service=Slow) as found:
        first = asyncio.create_task(until_answered(lambda: found.post(1, 5, ID)))
        await going.wait()
        error = await refused(found.post(1, 5, ID))
        assert error.code() is grpc.StatusCode.ABORTED
        assert "is being handled" in str(error.details())
        end.set()
        await first


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("", "request_id must be a UUID"),
        ("7", "request_id must be a UUID"),
        (ID, "was used for another request"),
    ],
)
async def test_a_request_id_that_cannot_be_used_is_refused(
    service: Bounties, given: str, says: str
) -> None:
    await service.post(1, 5, ID)
    error = await refused(service.post(1, 6, given))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert says in str(error.details())
    assert await service.gold(1) == 5


async def test_a_request_that_was_refused_is_not_remembered(service: Bounties) -> None:
    assert "gold must be above 0" in str((await refused(service.post(1, 0, ID))).details())
    assert (await service.post(1, 5, ID)).gold == 5


async def test_worlds_have_ids_of_their_own(service: Bounties) -> None:
    await service.post(1, 5, ID, "moor/world-0")
    assert (await service.post(1, 7, ID, "moor/world-1")).gold == 7
    assert await service.gold(1, "moor/world-0") == 5
    error = await refused(service.post(1, 5, ID, "moor/elsewhere"))
    assert error.code() is grpc.StatusCode.NOT_FOUND
    assert "gameai-world" in str(error.details())


async def test_a_query_cannot_write(example: Example, database: str) -> None:

    class Writes(example.service.Bounties):  # type: ignore[misc,name-defined] # same
        @query
        async def GetBounty(self, request: Any, call: Call) -> Any:
            await call.db.execute("INSERT INTO bounty VALUES ('x', 1, 1)")

    async with bounties(example, database, Places(MOOR), service=Writes) as found:
        with pytest.raises(grpc.aio.AioRpcError, match="internal error"):
            await found.gold(1)


async def test_transactions_that_lock_each_other_out_are_run_again(
    example: Example, database: str
) -> None:
    both = asyncio.Barrier(2)

    class Crossed(example.service.Bounties):  # type: ignore[misc,name-defined] # same
        tries = 0

        @mutation
        async def PostBounty(self, request: Any, call: Call) -> Any:
            Crossed.tries += 1
            for place, victim in enumerate((request.victim, 3 - request.victim)):
                await call.db.execute(
                    "INSERT INTO bounty VALUES ('x', %s, 1) ON CONFLICT (world, victim) DO UPDATE SET gold = bounty.gold + 1",
                    (victim,),
                )
                if place == 0 and Crossed.tries <= 2:
                    await both.wait()
            return example.wire.PostBountyResponse(gold=1)

    async with bounties(example, database, Places(MOOR), service=Crossed) as found:
        await asyncio.gather(found.post(1, 5), found.post(2, 5))
        assert Crossed.tries == 3
    async with await psycopg.AsyncConnection.connect(database) as connection:
        cursor = await connection.execute("SELECT gold FROM bounty")
        assert await cursor.fetchall() == [(2,), (2,)]


async def test_requests_are_forgotten_after_a_day(service: Bounties, database: str) -> None:
    await service.post(1, 5, ID)
    await forget_requests(service.kit.database)
    assert (await service.post(1, 5, ID)).gold == 5
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
        await connection.execute(
            "UPDATE gameai_request SET answered_at = now() - interval '25 hours'"
        )
    await forget_requests(service.kit.database)
    assert (await service.post(1, 5, ID)).gold == 10


async def test_a_schema_has_the_tables_of_one_service(example: Example, database: str) -> None:
    async with bounties(example, database, Places(MOOR)), Database(database) as other:
        with pytest.raises(ValueError, match="the schema has the tables of the service bounties"):
            await other.prepare("quests")
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
        await connection.execute("CREATE SCHEMA quests")
    async with Database(f"{database}?options=-c%20search_path%3Dquests") as other:
        await other.prepare("quests")


async def test_replicas_that_start_at_a_time_create_the_tables_once(database: str) -> None:

    async def prepared() -> None:
        async with Database(database) as one:
            await one.prepare("bounties")

    await asyncio.gather(*(prepared() for _ in range(6)))


async def test_calls_fail_while_the_database_is_away_and_succeed_afterwards(
    example: Example, tmp_path: Any
) -> None:
    server = postgres.start(tmp_path / "postgres")
    try:
        async with bounties(example, server.database("kit"), Places(MOOR)) as found:
            assert (await found.post(1, 5, ID)).gold == 5
            server.kill()
            error = await refused(found.post(1, 5))
            assert error.code() is grpc.StatusCode.UNAVAILABLE
            assert "database" in str(error.details())
            server = postgres.start(tmp_path / "postgres", server.port)
            answer = await until_answered(lambda: found.post(1, 5, str(uuid.UUID(int=7))))
            assert answer.gold == 10
            assert (await found.post(1, 5, ID)).gold == 5
    finally:
        server.stop()
