"""What a caller is told of a database that does not do its part. The log has the cause."""

import logging

import psycopg

from gameai.errors import ServiceFault, UnavailableError

_LOG = logging.getLogger(__name__)


def unavailable(error: psycopg.Error) -> ServiceFault:
    """The status of a call whose database failed."""
    _LOG.warning("the database: %s", str(error).strip().partition("\n")[0])
    if isinstance(error, psycopg.errors.UndefinedTable | psycopg.errors.UndefinedFunction):
        return UnavailableError(
            "the database has no schema of this release: run python -m gameai.knowledge migrate"
        )
    return UnavailableError("the database cannot be reached; call again")
