"""EDGE: forgets requests and publishers of which nothing came for long."""

import asyncio
import logging
import random

import psycopg

from gameai.client import Inbox
from gameai.errors import ServiceFault
from gameai.kit.database import AgainError, Database
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


async def forget(database: Database, inbox: Inbox) -> None:
    """Forget what is old about once a minute, until cancelled. Every replica does."""
    while True:
        await asyncio.sleep(_SECONDS * random.uniform(0.5, 1.5))  # noqa: S311 - so that replicas take turns
        try:
            await forget_requests(database)
            async with database.transaction() as connection:
                await inbox.prune(connection)
        except (ServiceFault, AgainError, psycopg.Error) as error:
            _LOG.warning("old requests are kept for now: %s", error)


async def forget_requests(database: Database) -> None:
    """Forget requests that were answered more than a day ago."""
    while True:
        async with database.transaction() as connection:
            cursor = await connection.execute(_FORGET, (REMEMBERED_HOURS, _MOST_ROWS))
        if cursor.rowcount < _MOST_ROWS:
            return
