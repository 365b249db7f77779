"""PostgreSQL on this machine, for tests and laptops."""

import shutil
from pathlib import Path

import psycopg
from gameai_devcluster import postgres


def test_a_folder_that_was_deleted_and_made_again_has_an_empty_server(tmp_path: Path) -> None:
    folder = tmp_path / "postgres"
    server = postgres.start(folder)
    with psycopg.connect(server.database("kept")) as connection:
        connection.execute("CREATE TABLE kept ()")
    server.stop()
    shutil.rmtree(folder)
    server = postgres.start(folder)
    try:
        with psycopg.connect(server.database("kept")) as connection:
            found = connection.execute("SELECT to_regclass('kept')").fetchone()
        assert found == (None,)
    finally:
        server.stop()
