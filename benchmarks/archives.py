"""A memory's archive: the time of a backup and of a restore into an empty database, and whether both then hold the same."""

import tempfile
import time
from pathlib import Path

import numpy as np
import psycopg
from gameai.knowledge.backups.repositories import repository
from gameai.knowledge.backups.runs import back_up, restore
from gameai.knowledge.embedding.choice import Choice
from gameai.knowledge.embedding.local import DIMENSIONS, MODEL
from gameai.knowledge.migrations import migrate
from gameai.knowledge.store.writing import connect
from gameai_devcluster import postgres
from pgvector import HalfVector
from pgvector.psycopg import register_vector

from benchmarks.report import Row, median, write

WORLDS, EVENTS, ROUNDS = 20, 2_000, 3
_MB = 1e6
_OWNER = "games/lore"
_SUM = (
    "SELECT count(*), md5(string_agg(concat_ws('|', name, sequence, key, summary, participants, recorded_at, embedding), ''"
    " ORDER BY name, sequence)) FROM memory.story_events JOIN memory.worlds USING (world_id)"
)


def fill(superuser: str) -> None:
    """Events of twenty worlds, with vectors as hard to compress as real ones."""
    chance = np.random.default_rng(7)
    text = "The ferry of Tam crosses the lake Orr at dawn, and the toll is two marks. " * 4
    with psycopg.connect(superuser, autocommit=True) as connection:
        register_vector(connection)
        connection.execute("INSERT INTO memory_ops.facts VALUES ('model', %s)", (MODEL,))
        for world in range(1, WORLDS + 1):
            connection.execute(
                "INSERT INTO memory.worlds (name, last_sequence, events) VALUES (%s, %s, %s)",
                (f"games/w{world}", EVENTS, EVENTS),
            )
            statement = (
                "COPY memory.story_events (world_id, sequence, key, digest, world_seconds, kind, summary, participants, evidence,"
                " confidence, importance, account, status, reasons, model, embedding) FROM STDIN"
            )
            with connection.cursor() as cursor, cursor.copy(statement) as copied:
                for number in range(1, EVENTS + 1):
                    vector = HalfVector(chance.normal(size=DIMENSIONS).astype(np.float32))
                    who = ["riders-of-orr", "ilda"]
                    own = (
                        world,
                        number,
                        f"e{number}",
                        b"\0" * 32,
                        number,
                        "battle",
                        f"{number} {text}",
                        who,
                    )
                    copied.write_row(
                        (*own, "reported", 70, 50, "games/w-world", "live", [], MODEL, vector)
                    )


def checksum(superuser: str) -> tuple[object, ...]:
    """Number of events and a hash of all of them."""
    with psycopg.connect(superuser) as connection:
        return tuple(connection.execute(_SUM).fetchone() or ())


def measured(server: postgres.Postgres, folder: Path) -> list[Row]:
    """Each round makes an archive and a database from it."""
    source = server.database("source")
    migrate(source, MODEL, DIMENSIONS)
    fill(server.url("source"))
    wanted = checksum(server.url("source"))
    place = repository(str(folder), _OWNER)
    backups, restores, sizes, different = [], [], [], 0
    for number in range(ROUNDS):
        began = time.perf_counter()
        with connect(source) as connection:
            report = back_up(connection, place, f"2026112{number}T030000Z", keep=ROUNDS)
        backups.append((time.perf_counter() - began) / report.size * 100 * _MB)
        sizes.append(report.size / _MB)
        name = f"target{number}"
        target = server.database(name)
        migrate(target, MODEL, DIMENSIONS)
        began = time.perf_counter()
        with connect(target) as connection:
            restore(connection, place, report.file, "", Choice())
        restores.append((time.perf_counter() - began) / report.size * 100 * _MB)
        different += checksum(server.url(name)) != wanted
    return [
        median(f"archive of {WORLDS * EVENTS} events", sizes, limit=None, unit="MB"),
        median("backup, read again, per 100 MB", backups, limit=None, unit="s"),
        median("restore into an empty database, per 100 MB", restores, limit=None, unit="s"),
        median("restored databases that differ", [float(different)], limit=0, unit=""),
    ]


def main() -> None:
    """Measure and report."""
    with tempfile.TemporaryDirectory() as name, postgres.running(Path(name) / "pg") as server:
        folder = Path(name) / "archives"
        folder.mkdir()
        rows = measured(server, folder)
    write("archives", rows)


if __name__ == "__main__":
    main()
