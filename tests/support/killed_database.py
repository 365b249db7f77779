"""A database that comes back after a kill."""

from pathlib import Path

from gameai_devcluster import postgres
from gameai_devcluster.postgres import Postgres
from gameai_devcluster.testing.waiting import until


def restarted(killed: Postgres, folder: Path) -> Postgres:
    """A new server for the folder and the port of one that was killed: processes of the former one end when they notice, and it waits for that."""
    killed.process.wait(10)
    found: list[Postgres] = []

    def started() -> bool:
        try:
            found.append(postgres.start(folder, killed.port))
        except TimeoutError:
            return False
        return True

    until("the server is back", started, seconds=60)
    return found[0]
