"""EDGE: the facts of worlds in memory, a tenth of a second old while they are read and the database answers."""

from gameai.kit import Database
from gameai.kit.cache import Source
from gameai.services.world_state import store
from gameai.services.world_state.rules.table import Table


async def _load(database: Database, world: str, known: Table | None) -> Table:
    async with database.transaction() as connection:
        return await store.load(connection, world, known)


SOURCE = Source(
    name="facts",
    heads=store.heads,
    load=_load,
    least_seconds=0.02,
    busy_seconds=0.1,
    seconds=0.5,
    most_watches=200,
)
