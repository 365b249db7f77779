"""The schema of the memory: migrations of a real Postgres, also those that are killed."""

import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from gameai.knowledge import migrations
from gameai.knowledge.embedding.local import DIMENSIONS, MODEL
from gameai.knowledge.migrations import MigrationError, migrate
from gameai_devcluster import postgres
from support import killed_migration
from support.killed_database import restarted

FILES = {
    each.name[:4]: each
    for each in sorted((Path(migrations.__file__).parent / "versions").glob("0*.sql"))
}
NEWEST = max(
    each.name[:4] for each in (Path(migrations.__file__).parent / "versions").glob("0*.py")
)
# A database without any schema, and one of each release before this one.
STARTS = ("", *(each for each in FILES if each != NEWEST))
SAMPLE = 3
SCHEMA = (
    (
        "SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, pg_get_expr(d.adbin, d.adrelid),"
        " a.attidentity, a.attstorage FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0"
        " LEFT JOIN pg_attrdef AS d ON d.adrelid = c.oid AND d.adnum = a.attnum"
        " WHERE c.relnamespace::regnamespace::text LIKE 'memory%' ORDER BY 1, 2"
    ),
    (
        "SELECT relname, relkind, relrowsecurity, relforcerowsecurity FROM pg_class"
        " WHERE relnamespace::regnamespace::text LIKE 'memory%' ORDER BY 1, 2"
    ),
    "SELECT indexdef FROM pg_indexes WHERE schemaname LIKE 'memory%' ORDER BY 1",
    (
        "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE connamespace::regnamespace::text LIKE 'memory%' ORDER BY 1, 2"
    ),
    "SELECT nspname, nspacl::text FROM pg_namespace WHERE nspname LIKE 'memory%' ORDER BY 1",
    "SELECT extname, extversion FROM pg_extension ORDER BY 1",
    "SELECT * FROM pg_policies ORDER BY schemaname, tablename, policyname",
    "SELECT pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace::regnamespace::text LIKE 'memory%' ORDER BY 1",
)
KEPT = (
    "SELECT version_num FROM memory_ops.alembic_version",
    "SELECT * FROM memory_ops.facts ORDER BY key",
    "SELECT name FROM memory.worlds ORDER BY name",
)


class Killable:
    """A server of these tests alone, on a port that stays."""

    def __init__(self, folder: Path, server: postgres.Postgres) -> None:
        self._folder = folder
        self.server = server
        self._databases = 0

    def database(self, revision: str) -> str:
        """The URL of a database of a release, with a world; without a revision it is empty."""
        self._databases += 1
        url = self.server.database(f"migrated{self._databases}")
        if revision:
            fill(url, revision)
        return url

    def start_again(self) -> None:
        """After a kill, which must have met it."""
        self.server = restarted(self.server, self._folder)


def fill(url: str, revision: str) -> None:
    """The schema as its files made it, and a world."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA memory_ops")
        with connection.transaction():
            for number, file in FILES.items():
                if number <= revision:
                    connection.execute(file.read_text().replace("DIMENSIONS", str(DIMENSIONS)))
            connection.execute(
                "CREATE TABLE memory_ops.alembic_version (version_num varchar(32) NOT NULL"
                " CONSTRAINT alembic_version_pkc PRIMARY KEY)"
            )
            connection.execute("INSERT INTO memory_ops.alembic_version VALUES (%s)", (revision,))
        connection.execute("INSERT INTO memory.worlds (name) VALUES ('games/moor')")


def schema(url: str) -> list[list[tuple[Any, ...]]]:
    """All that a migration makes, as text."""
    with psycopg.connect(url) as connection:
        return [connection.execute(each).fetchall() for each in SCHEMA]


def kept(url: str) -> list[list[tuple[Any, ...]]]:
    with psycopg.connect(url) as connection:
        return [connection.execute(each).fetchall() for each in KEPT]


def migration(url: str, number: int = 0, victim: int = 0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, killed_migration.__file__, url, str(number), str(victim)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def check_kill(server: Killable, revision: str, number: int, *, database: bool) -> None:
    """A migration that is killed leaves what was there, and the next one makes what one without a kill makes."""
    killed, whole = server.database(revision), server.database(revision)
    before = schema(killed)
    migrate(whole, MODEL, DIMENSIONS)
    done = migration(killed, number, server.server.process.pid if database else 0)
    if database:
        server.start_again()
    # The last statement reads what is committed, and may be answered by a database that ends.
    assert done.returncode in ((killed_migration.FAILED, 0) if database else (-9,)), done.stderr
    assert schema(killed) in (before, schema(whole))
    migrate(killed, MODEL, DIMENSIONS)
    assert schema(killed) == schema(whole)
    assert kept(killed) == kept(whole)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Killable]:
    folder = tmp_path_factory.mktemp("migrated") / "own"
    with postgres.running(folder) as first:
        made = Killable(folder, first)
        yield made
        made.server.stop()


@pytest.fixture(scope="module")
def steps(server: Killable) -> dict[str, int]:
    """How many statements a migration has, from each start."""
    return {start: int(migration(server.database(start)).stdout) for start in STARTS}


def test_a_migration_runs_once_however_many_start_it(database_server: postgres.Postgres) -> None:
    url = database_server.database("migrated")
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda: found.append(migrate(url, MODEL, DIMENSIONS)))
        for _ in range(3)
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join(60)
    assert found == [NEWEST] * 3


def test_a_database_of_the_first_schema_keeps_what_it_holds(
    database_server: postgres.Postgres,
) -> None:
    url = database_server.database("former")
    fill(url, "0001")
    with psycopg.connect(url, autocommit=True) as connection:
        assert migrate(url, MODEL, DIMENSIONS) == NEWEST
        rows = connection.execute("SELECT name, events, last_sequence FROM memory.worlds")
        assert rows.fetchall() == [("games/moor", 0, 0)]


def test_a_schema_of_a_later_release_is_used_where_it_says_so(
    database_server: postgres.Postgres,
) -> None:
    """So that an image of the memory can go back."""
    url = database_server.database("later")
    migrate(url, MODEL, DIMENSIONS)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("UPDATE memory_ops.alembic_version SET version_num = '9998'")
        assert migrate(url, MODEL, DIMENSIONS) == "9998"
        connection.execute(
            "UPDATE memory_ops.facts SET value = '9998' WHERE key = 'compatible_from'"
        )
        with pytest.raises(MigrationError, match="migrated by another release"):
            migrate(url, MODEL, DIMENSIONS)


def test_a_database_without_the_extension_says_what_to_run(
    database_server: postgres.Postgres,
) -> None:
    with psycopg.connect(database_server.url("postgres"), autocommit=True) as connection:
        connection.execute(f"CREATE ROLE bare LOGIN PASSWORD '{database_server.password}'")
        connection.execute("CREATE DATABASE bare OWNER bare")
    with pytest.raises(MigrationError, match="CREATE EXTENSION vector"):
        migrate(database_server.url("bare", "bare"), MODEL, DIMENSIONS)


@pytest.mark.parametrize("database", [False, True], ids=["the migration", "the database"])
def test_a_killed_migration_is_completed_by_the_next_one(
    server: Killable, steps: dict[str, int], database: bool, seed: int
) -> None:
    chance = random.Random(seed)
    for _ in range(SAMPLE):
        start = chance.choice(STARTS)
        check_kill(server, start, chance.randint(1, steps[start]), database=database)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("database", [False, True], ids=["the migration", "the database"])
@pytest.mark.parametrize("start", STARTS)
def test_a_migration_killed_at_each_step_is_completed_by_the_next_one(
    server: Killable, steps: dict[str, int], start: str, database: bool
) -> None:
    for number in range(1, steps[start] + 1):
        check_kill(server, start, number, database=database)
    print(f"from {start or 'nothing'}: {steps[start]} steps")
