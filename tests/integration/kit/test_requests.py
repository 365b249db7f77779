"""A mutation takes effect once for each request_id, whatever its callers and the database do."""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator
from typing import Any

import grpc
import psycopg
import pytest
from gameai.bus import subjects
from gameai.bus.batches import parsed
from gameai.bus.group import Received
from gameai.events.v1.events_pb2 import EntityKilled
from gameai.kit import Call, Database, Kit, handlers, mutation, on, query
from gameai.kit.database import OverdueError
from gameai.kit.forgetting import forget_requests
from gameai.knowledge.v1.knowledge_pb2 import SearchRequest
from gameai_devcluster import postgres
from support.bounties import Bounties, Example, Places, bounties, refused, until_answered
from support.bus import MOOR, batch_of, worlds

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
    assert (await service.post(1, 5, ID.upper())).gold == 5
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
        (ID.replace("-", ""), "request_id must be a UUID"),
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
    assert "gold must be 1 to 1000000" in str((await refused(service.post(1, 0, ID))).details())
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


async def test_a_method_that_hides_an_error_of_the_database_loses_nothing_in_silence(
    example: Example, database: str
) -> None:

    class Hides(example.service.Bounties):  # type: ignore[misc,name-defined] # same
        @on(EntityKilled)
        async def killed(self, event: EntityKilled, call: Call) -> None:
            await call.db.execute("DELETE FROM bounty")
            with contextlib.suppress(psycopg.Error):
                await call.db.execute("SELECT 1/0")

    async with bounties(example, database, Places(MOOR), service=Hides) as found:
        await found.post(1, 5)
        handle = found.kit.handler(handlers(Hides(found.kit)))
        with pytest.raises(RuntimeError, match="put the statement into a savepoint"):
            await handle(received(1))
        assert await found.gold(1) == 5


async def test_what_a_method_leaves_behind_reaches_no_other_call(
    example: Example, database: str
) -> None:
    late: list[asyncio.Task[object]] = []

    class Leaves(example.service.Bounties):  # type: ignore[misc,name-defined] # same
        @query
        async def GetBounty(self, request: Any, call: Call) -> Any:
            cursor = await call.db.execute("SHOW statement_timeout")
            assert await cursor.fetchone() == ("5s",)
            await call.db.execute("SET statement_timeout = 1")

            async def later() -> object:
                await asyncio.sleep(0.2)
                return await call.db.execute("SELECT 1")

            late.append(asyncio.create_task(later()))
            return example.wire.GetBountyResponse(gold=1)

    async with bounties(example, database, Places(MOOR), service=Leaves) as found:
        assert [await found.gold(1) for _ in range(8)] == [1] * 8
        for each in await asyncio.gather(*late, return_exceptions=True):
            assert "after its method had returned" in str(each)


async def test_a_database_that_became_a_standby_is_away(example: Example, database: str) -> None:
    async with bounties(example, database, Places(MOOR)) as found:
        name = database.rpartition("/")[2]
        async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
            await connection.execute(
                f'ALTER DATABASE "{name}" SET default_transaction_read_only = on'
            )
            await connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            error = await refused(until_read_only(found))
            assert error.code() is grpc.StatusCode.UNAVAILABLE
            await connection.execute("SET default_transaction_read_only = off")
            await connection.execute(f'ALTER DATABASE "{name}" RESET default_transaction_read_only')


async def until_read_only(found: Bounties) -> None:
    """Post until it is refused: connections of before may still be there."""
    while True:
        await found.post(1, 5)


async def test_a_schema_has_the_tables_of_one_service(example: Example, database: str) -> None:
    async with bounties(example, database, Places(MOOR)), Database(database) as other:
        with pytest.raises(ValueError, match="the schema has the tables of the service bounties"):
            await other.prepare("quests")
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
        await connection.execute("CREATE SCHEMA quests")
    async with Database(f"{database}?options=-c%20search_path%3Dquests") as other:
        await other.prepare("quests")


async def test_a_schema_of_another_role_is_named(
    database_server: postgres.Postgres, caplog: pytest.LogCaptureFixture
) -> None:
    one, other = database_server.database("kit-one"), database_server.database("kit-other")
    with psycopg.connect(database_server.url("kit-one"), autocommit=True) as connection:
        connection.execute('GRANT CREATE ON DATABASE "kit-one" TO "kit-other"')
    async with Database(one, schema="shared") as first:
        await first.prepare("bounties")
    mine = f"{other.rpartition('/')[0]}/kit-one"
    async with Database(mine, schema="shared") as second:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(second.prepare("bounties"), 1.0)
    assert 'the schema shared belongs to the role "kit-one": connect as that role' in caplog.text


async def test_replicas_that_start_at_a_time_create_the_tables_once(database: str) -> None:

    async def prepared() -> None:
        async with Database(database) as one:
            await one.prepare("bounties")

    await asyncio.gather(*(prepared() for _ in range(6)))


async def test_a_replica_that_starts_does_not_stop_those_that_write(
    example: Example, database: str
) -> None:
    async with bounties(example, database, Places(MOOR)) as found:
        async with await psycopg.AsyncConnection.connect(database) as writer:
            await writer.execute(
                "INSERT INTO gameai_outbox (world, type, schema, at_us, world_us, body) VALUES ('x', 1, 1, 0, 0, '')"
            )
            async with asyncio.timeout(5), bounties(example, database, Places(MOOR)):
                await writer.execute(
                    "INSERT INTO gameai_request VALUES ('x', gen_random_uuid(), '', '')"
                )
        # Statements that are new wait for those who use the table, and both go on.
        async with Database(database) as other:
            new = [example.service.TABLE, "CREATE INDEX IF NOT EXISTS by_gold ON bounty (gold)"]
            async with await psycopg.AsyncConnection.connect(database) as writer:
                await writer.execute("INSERT INTO bounty VALUES ('x', 1, 1)")
                preparing = asyncio.create_task(other.prepare("bounties", new))
                await asyncio.sleep(0.5)
                assert not preparing.done()
            await preparing
        assert (await found.post(1, 5)).gold == 5


async def test_one_world_does_not_take_the_connections_of_all(
    example: Example, database: str
) -> None:

    class Slow(example.service.Bounties):  # type: ignore[misc,name-defined] # same
        @query
        async def GetBounty(self, request: Any, call: Call) -> Any:
            if call.world == "moor/world-0":
                await call.db.execute("SELECT pg_sleep(1.5)")
            return example.wire.GetBountyResponse(gold=1)

    async with bounties(example, database, Places(*worlds(2)), service=Slow) as found:
        slow = [asyncio.create_task(refused(found.gold(1, "moor/world-0"))) for _ in range(16)]
        await asyncio.sleep(0.3)
        assert [await found.gold(1, "moor/world-1") for _ in range(3)] == [1, 1, 1]
        errors = await asyncio.gather(*slow, return_exceptions=True)
    texts = {str(each.details()) for each in errors if isinstance(each, grpc.aio.AioRpcError)}
    assert texts == {"moor/world-0 uses all connections that it may use: call again"}


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT pg_sleep(1), 1/0",
        "DO $$ BEGIN RAISE EXCEPTION 'a secret' USING ERRCODE = '54000'; END $$",
        "INSERT INTO bounty SELECT string_agg(md5(g::text), ''), 1, 1 FROM generate_series(1, 300) AS g",
    ],
)
async def test_a_statement_that_is_wrong_is_an_internal_error(
    example: Example, database: str, statement: str
) -> None:

    class Wrong(example.service.Bounties):  # type: ignore[misc,name-defined] # same
        @mutation
        async def PostBounty(self, request: Any, call: Call) -> Any:
            await call.db.execute(statement)
            return example.wire.PostBountyResponse(gold=1)

    async with bounties(example, database, Places(MOOR), service=Wrong) as found:
        error = await refused(found.post(1, 5))
    assert (error.code(), error.details()) == (
        grpc.StatusCode.INTERNAL,
        "internal error; the service's log has it",
    )


async def test_a_transaction_that_takes_too_long_is_a_failure_of_a_handler(
    example: Example, database: str
) -> None:

    class Slow(example.service.Bounties):  # type: ignore[misc,name-defined] # same
        @on(EntityKilled)
        async def killed(self, event: EntityKilled, call: Call) -> None:
            await call.db.execute("SELECT pg_sleep(2)")

        @mutation
        async def PostBounty(self, request: Any, call: Call) -> Any:
            await call.db.execute("SELECT pg_sleep(2)")

    async with Database(database, statement_seconds=0.2) as short:
        await short.prepare("bounties")
        kit = Kit("bounties", 33, short, Places(MOOR), types=[example.wire])
        handle = kit.handler(handlers(Slow(kit)))
        with pytest.raises(OverdueError):
            await handle(received(1))
        other = Kit("bounties", 33, Database(database), Places(MOOR), types=[example.wire])
        with pytest.raises(ValueError, match="give its generated module in `types`"):
            other.handler({SearchRequest: Slow(other).killed})


def received(victim: int) -> Received:
    """A batch with a death."""
    return Received(
        address=subjects.parsed(subjects.log(MOOR, "game-server")),
        batch=parsed(batch_of(victim)),
        sequence=1,
        deliveries=1,
    )


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
