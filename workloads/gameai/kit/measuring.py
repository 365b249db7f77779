"""EDGE: measures an outbox, whether the bus is there or not. Every replica does, and shows the same."""

import asyncio
import logging

import psycopg

from gameai.bus.cancellation import end_if_cancelled
from gameai.errors import ServiceFault
from gameai.kit.database import AgainError, Database, OverdueError
from gameai.kit.metrics import KitMetrics
from gameai.kit.statements import MEASURE
from gameai.kit.worlds import Worlds

_LOG = logging.getLogger(__name__)
_SECONDS = 10.0
_MOST = 1_000_000


async def measure(database: Database, worlds: Worlds, metrics: KitMetrics) -> None:
    """Measure every 10 s, until cancelled."""
    while True:
        try:
            await measure_once(database, worlds, metrics)
        except (ServiceFault, AgainError, OverdueError, psycopg.Error) as error:
            _LOG.warning("the outbox is not measured: %s", error)
        end_if_cancelled()
        await asyncio.sleep(_SECONDS)


async def measure_once(database: Database, worlds: Worlds, metrics: KitMetrics) -> None:
    """How many events wait, and for how long the oldest has."""
    asked = {"worlds": list(worlds.names()), "most": _MOST}
    async with database.transaction() as connection:
        row = await (await connection.execute(MEASURE, asked)).fetchone()
    waiting, oldest = row or (0, 0.0)
    metrics.waiting.set(waiting)
    metrics.oldest.set(oldest)
