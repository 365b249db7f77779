"""EDGE: forgets requests and publishers of which nothing came for long."""

import asyncio
import logging
import random

import psycopg

from gameai.bus.cancellation import end_if_cancelled
from gameai.client import Inbox
from gameai.errors import ServiceFault
from gameai.kit.database import AgainError, Database, OverdueError
from gameai.kit.requests import REMEMBERED_HOURS

_LOG = logging.getLogger(__name__)
_SECONDS = 60.0
# One statement must not take long.
_MOST_ROWS = 10_000
_FORGET = """
DELETE FROM gameai_request WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM gameai_request WHERE answered_at < now() - make_interval(hours => %s) LIMIT %s
))
"""

_FORGET_WORLD = (
    "DELETE FROM gameai_request WHERE world = %s",
    "DELETE FROM gameai_outbox WHERE world = %s",
    "DELETE FROM gameai_outbox_batch WHERE world = %s",
    "DELETE FROM gameai_outbox_stream WHERE world = %s",
)


async def forget(database: Database, inbox: Inbox) -> None:
    """Forget what is old about once a minute, until cancelled. Every replica does."""
    pause = random.uniform(1.0, 10.0)  # noqa: S311 - same
    while True:
        await asyncio.sleep(pause)
        pause = _SECONDS * random.uniform(0.5, 1.5)  # noqa: S311 - so that replicas take turns
        try:
            await forget_requests(database)
            async with database.transaction() as connection:
                await inbox.prune(connection)
        except (ServiceFault, AgainError, OverdueError, psycopg.Error) as error:
            _LOG.warning("old requests are kept for now: %s", error)
        end_if_cancelled()


async def forget_requests(database: Database) -> None:
    """Forget requests that were answered more than a day ago."""
    while True:
        async with database.transaction() as connection:
            cursor = await connection.execute(_FORGET, (REMEMBERED_HOURS, _MOST_ROWS))
        if cursor.rowcount < _MOST_ROWS:
            return


async def forget_world(database: Database, world: str) -> None:
    """Forget all that the kit has of a world, `<namespace>/<name>`: a world that is created again under its name begins without it.

    The tables of the service itself are the service's. Events that were not published are lost.
    """
    async with database.transaction() as connection:
        for statement in _FORGET_WORLD:
            await connection.execute(statement, (world,))
