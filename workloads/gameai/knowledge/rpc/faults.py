"""What a caller is told of a database that does not do its part. The log has the cause."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from gameai import errors
from gameai.errors import ExhaustedError, FullError, InvalidArgumentError, UnavailableError
from gameai.knowledge.embedding.embedder import EmbeddingError, RefusedTextError
from gameai.knowledge.embedding.turns import NoPlaceError
from gameai.knowledge.store.concepts import ConflictError, EarlierError, NoCauseError, TooManyError
from gameai.knowledge.store.errors import NO_SCHEMA, NO_SCHEMA_ERRORS, BusyError, first_line

_LOG = logging.getLogger(__name__)


OTHER_MODEL = "the database holds vectors of another model: run the memory with that model, or fill another database with the new one"


@contextmanager
def written() -> Iterator[None]:
    """Errors of checks and of the model as errors for the caller: nothing was written."""
    try:
        yield
    except NoPlaceError as error:
        _LOG.warning("a text was not taken: too many wait")
        raise ExhaustedError(
            "more texts wait than the model has time for, and nothing was written; call again"
        ) from error
    except RefusedTextError as error:
        _LOG.warning("a text was not taken: %s", error)
        raise InvalidArgumentError(
            "the embedding model refuses the text, and nothing was written: it may be too long for the model"
        ) from error
    except EmbeddingError as error:
        # What a service of the user's own says is for the log.
        _LOG.warning("a text was not taken: %s", error)
        raise UnavailableError(
            "the embedding model does not answer, and nothing was written; call again"
        ) from error


@contextmanager
def answered() -> Iterator[None]:
    """Errors of the database as errors for the caller; one that a call again cannot cure is ours: INTERNAL."""
    try:
        yield
    except BusyError as error:
        raise ExhaustedError(str(error)) from error
    except NO_SCHEMA_ERRORS as error:
        _LOG.warning("the database: %s", first_line(error))
        raise UnavailableError(NO_SCHEMA) from error
    except (psycopg.OperationalError, psycopg.InterfaceError) as error:
        _LOG.warning("the database: %s", first_line(error))
        raise UnavailableError("the database cannot be reached; call again") from error


@contextmanager
def versioned(what: str, expected: int, remedy: str) -> Iterator[None]:
    """Why the version after `expected` of a concept or a relation was not written, as errors for the caller; `remedy` makes room."""
    try:
        yield
    except ConflictError as error:
        if error.current:
            message = f"{what} is at version {error.current}, not {expected}: read it, and set expected_version"
        else:
            message = f"there is no version of {what}: set expected_version to 0 (in a world a version of all worlds does not count)"
        raise errors.ConflictError(message, field="expected_version") from error
    except EarlierError as error:
        raise InvalidArgumentError(
            f"world_seconds must not be before {error.seconds}, from which the former version holds",
            field="world_seconds",
        ) from error
    except NoCauseError as error:
        raise InvalidArgumentError(
            "cause_sequence must be the number of an event of this world", field="cause_sequence"
        ) from error
    except TooManyError as error:
        raise FullError(f"{error}: a reviewer can delete some ({remedy})") from error
