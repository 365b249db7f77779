"""The connections of a service to its database."""

import asyncio
from pathlib import Path

import pytest
from gameai.errors import ExhaustedError, UnavailableError
from gameai.kit import Database
from gameai_devcluster import postgres


async def test_a_database_is_found_again_however_many_calls_there_were_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gameai.kit.database._RECONNECT_SECONDS", 0.5)
    monkeypatch.setattr("gameai.kit.database._MOST_WAITING", 20)
    server = postgres.start(tmp_path / "postgres")
    try:
        async with Database(server.database("kit"), connections=2, wait_seconds=0.2) as database:

            async def ask() -> None:
                async with database.transaction() as connection:
                    await connection.execute("SELECT 1")

            await ask()
            server.kill()
            for _ in range(60):
                found = await asyncio.gather(*(ask() for _ in range(5)), return_exceptions=True)
                assert all(isinstance(each, UnavailableError) for each in found), found
            server = postgres.start(tmp_path / "postgres", server.port)
            async with asyncio.timeout(20):
                while True:
                    try:
                        await ask()
                        break
                    except UnavailableError:
                        await asyncio.sleep(0.1)
    finally:
        server.stop()


async def test_more_calls_than_may_wait_for_a_connection_are_refused(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gameai.kit.database._MOST_WAITING", 3)
    async with Database(database, connections=1, wait_seconds=5.0) as opened:

        async def ask() -> None:
            async with opened.transaction() as connection:
                await connection.execute("SELECT pg_sleep(0.2)")

        found = await asyncio.gather(*(ask() for _ in range(8)), return_exceptions=True)
        refused = [each for each in found if isinstance(each, ExhaustedError)]
        assert 0 < len(refused) < 8
        assert all(each is None or each in refused for each in found), found
