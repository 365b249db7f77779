"""EDGE: the kit of a built-in service: the database of the world's `spec.database`, and the event bus of the cluster."""

import contextlib
import os
from collections.abc import AsyncIterator, Sequence
from typing import LiteralString

from gameai_contract.names import DATABASE_ENVIRONMENT
from gameai_contract.world_config import ConfigError

from gameai.client import Bus
from gameai.kit.database import Database
from gameai.kit.kit import Kit
from gameai.kit.worlds import OneWorld
from gameai.serving import LiveWorld


@contextlib.asynccontextmanager
async def kit_of(
    world: LiveWorld, service: str, source: int, *, tables: Sequence[LiteralString]
) -> AsyncIterator[Kit]:
    """The kit of a service of this world, with its tables in a schema of its own. Raises `ConfigError` without a database.

    Waits for a database that is away.
    """
    url = os.environ.get(DATABASE_ENVIRONMENT, "")
    if not url:
        raise ConfigError(
            f"{DATABASE_ENVIRONMENT} must be the URL of a PostgreSQL database; the operator sets it from spec.database"
        )
    database = Database(url, schema=f"svc_{service.replace('-', '_')}")
    opened = Kit.opened(
        service, source, database, OneWorld(world), tables=tables, bus=_bus(world, service)
    )
    async with opened as kit:
        yield kit


def _bus(world: LiveWorld, service: str) -> Bus | None:
    """The bus of the world. By hand, without one, the service runs without what it would need there."""
    try:
        # Like other built-in services, it also connects where the bus is not encrypted.
        return Bus.of_world(insecure=True, service=service)
    except ConfigError:
        if world.config.bus is not None:
            raise
        return None
