"""EDGE: who calls, and what that caller may ask: tokens are verified with the keys that the operator has written down."""

import logging
from collections import Counter
from pathlib import Path
from typing import Any, Protocol

import jwt
from gameai_contract.knowledge import EVERYTHING, MEMORY_AUDIENCE, Admission, Rights, admission
from grpc import aio

from gameai.errors import ExhaustedError, PermissionDeniedError
from gameai.serving import following
from gameai.serving.identity import Tokens

_LOG = logging.getLogger(__name__)
_POLL_SECONDS = 2.0
# Of one account at the same time; four connections answer more than a thousand searches a second.
_MOST_CALLS = 16
_FAULTS = (OSError, ValueError, KeyError, TypeError, jwt.PyJWTError)
Context = aio.ServicerContext[Any, Any]


def check_world(rights: Rights, world: str) -> None:
    """Raises `PermissionDeniedError` where a caller may not read the history of a world."""
    if not rights.may_read(world):
        raise PermissionDeniedError(
            f"account {rights.account} may not read world {world}: name the world for it in spec.callers of the KnowledgeBase",
            field="world",
        )


def check_writer(rights: Rights, world: str) -> None:
    """Raises `PermissionDeniedError` where a caller may not change the history of a world."""
    check_world(rights, world)
    if not rights.may_write(world):
        raise PermissionDeniedError(
            f"account {rights.account} may not write to world {world}: set writes: true for it in spec.callers of the KnowledgeBase",
            field="world",
        )


def check_reviewer(rights: Rights) -> None:
    """Raises `PermissionDeniedError` where a caller may not decide what is held."""
    if not rights.reviews:
        raise PermissionDeniedError(
            f"account {rights.account} may not review: set reviews: true for it in spec.callers of the KnowledgeBase"
        )


def check_reader(rights: Rights, world: str) -> None:
    """Raises `PermissionDeniedError` where a caller may not read what is known in a world; empty: in all worlds, which each caller may."""
    if world:
        check_world(rights, world)


def check_author(rights: Rights, world: str) -> None:
    """Raises `PermissionDeniedError` where a caller may not change what is known in a world; empty: in all worlds, which reviewers may."""
    if world:
        check_writer(rights, world)
    else:
        check_reviewer(rights)


class Gatekeeper(Protocol):
    """Says what the caller of a call may do."""

    def rights(self, context: Context) -> Rights:
        """Raises `UnauthenticatedError`, `PermissionDeniedError`."""

    @property
    def fault(self) -> str:
        """Why no caller can be admitted; empty: callers can."""


class Open:
    """Gives each caller all rights: for laptops."""

    fault = ""

    def rights(self, context: Context) -> Rights:
        """All rights, for a caller that is not known."""
        return EVERYTHING


class Guarded:
    """Admits accounts that a file names; a new content is taken up, and a broken one leaves the last good one."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._tokens = Tokens(MEMORY_AUDIENCE)
        self._admission: Admission | None = None
        self._seen = ""
        self._calls: Counter[str] = Counter()
        # Rights of calls that are open, by the identity of their context.
        self._known: dict[int, Rights] = {}
        try:
            self._take(file.read_text())
        except _FAULTS as error:
            self._refused(error)

    @property
    def fault(self) -> str:
        """Why no caller can be admitted."""
        known = self._admission is not None and self._tokens.ready
        return "" if known else f"{self._file} does not say yet who may call"

    def rights(self, context: Context) -> Rights:
        """As often as a call asks, it is verified and counted once. Raises `UnauthenticatedError`, `PermissionDeniedError`, `ExhaustedError`."""
        known = self._known.get(id(context))
        return known if known is not None else self._admitted(context)

    def _admitted(self, context: Context) -> Rights:
        given = {str(key): value for key, value in context.invocation_metadata() or ()}
        name = self._tokens.caller(given).name or ""
        found = self._admission.rights(name) if self._admission else None
        if found is None:
            raise PermissionDeniedError(
                f"account {name} may not call this memory: name it in spec.callers of the KnowledgeBase"
            )
        self._count(name, found, context)
        return found

    def _count(self, account: str, rights: Rights, context: Context) -> None:
        """One account must not take all connections and places. Raises `ExhaustedError`."""
        if self._calls[account] >= _MOST_CALLS:
            raise ExhaustedError(
                f"account {account} has {_MOST_CALLS} calls open in this pod; wait for one, or send searches in a batch"
            )
        number = id(context)
        self._calls[account] += 1
        self._known[number] = rights
        context.add_done_callback(lambda _: self._ended(account, number))  # type: ignore[arg-type] # its stub knows no callbacks of servicers

    def _ended(self, account: str, number: int) -> None:
        del self._known[number]
        self._calls[account] -= 1
        if not self._calls[account]:
            del self._calls[account]

    async def follow(self) -> None:
        """Until cancelled."""
        await following.follow(
            self._file.read_text, self._take, self._refused, errors=_FAULTS, seconds=_POLL_SECONDS
        )

    def _take(self, text: str) -> None:
        if text == self._seen:
            return
        found = admission(text)
        self._tokens.take(found.tokens.issuer, found.tokens.keys)
        self._admission, self._seen = found, text
        _LOG.info("%s: %d callers are named", self._file, len(found.callers))

    def _refused(self, error: Exception) -> None:
        _LOG.error("who may call stays as it was: %s: %s", self._file, error)
