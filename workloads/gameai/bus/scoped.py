"""EDGE: dead letters for a connection that may use the subjects of its own worlds alone.

Such a connection may not ask for messages of a stream, since the request names the subject where servers do not look. What
it may do has the subject in its own: a server says which dead letter is the last, and the bus's controller gives the first
and removes one. It gives the last one too where the stream is full, since a full stream does not say.
"""

import asyncio
import datetime
from collections.abc import Awaitable, Callable, Mapping

import orjson
from nats.aio.msg import Msg

from gameai.bus import subjects
from gameai.bus.jetstream import EXPECTED_LAST, last_sequence, microseconds, texts
from gameai.bus.log import BusError, Stored
from gameai.bus.streams import DEAD_LETTERS

Ask = Callable[[str, bytes, Mapping[str, str]], Awaitable[Msg]]
# No stream has so many messages, so that a message which expects it is never stored, and the refusal names the last one.
_NEVER = {EXPECTED_LAST: str(1 << 63)}
# JetStream's error codes: another message of the subject is just being stored; the stream is full.
_IN_FLIGHT, FULL = 10164, (10047, 10077)
_TRIES, _PAUSE_SECONDS = 50, 0.02
# Headers of an answer that is a message of a stream, as servers give them, and of one that is none.
STATUS, DESCRIPTION = "Status", "Description"
SUBJECT, SEQUENCE, TIME = "Nats-Subject", "Nats-Sequence", "Nats-Time-Stamp"
NONE, FAILED = "404", "500"


class ScopedLetters:
    """The dead letters of a subject; `ask` sends a request and returns its answer, or raises `BusError`."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    async def last(self, subject: str) -> Stored | None:
        """The last one. Raises `BusError`."""
        for _ in range(_TRIES):
            sequence = await last(self._ask, subject)
            if sequence is None:
                return _message(await self._controller(subjects.LAST, subject, 1))
            if sequence == 0:
                return None
            # Any server with a copy answers, and its copy may be behind.
            direct = f"$JS.API.DIRECT.GET.{DEAD_LETTERS.name}.{subject}"
            found = _message(await self._ask(direct, b"", {}))
            if found and found.sequence >= sequence:
                return found
            await asyncio.sleep(_PAUSE_SECONDS)
        raise BusError(f"{subject}: no server has the last message now")

    async def first(self, subject: str, sequence: int) -> Stored | None:
        """The first one from this sequence on. Raises `BusError`."""
        return _message(await self._controller(subjects.FIRST, subject, sequence))

    async def remove(self, subject: str, sequence: int) -> None:
        """Remove one; one that is not there is no error. Raises `BusError`."""
        _message(await self._controller(subjects.REMOVE, subject, sequence))

    async def _controller(self, operation: str, subject: str, sequence: int) -> Msg:
        request = subjects.letter_request(operation, subject)
        return await self._ask(request, str(sequence).encode(), {})


async def last(ask: Ask, subject: str) -> int | None:
    """The sequence of a subject's last message, as the stream's leader has it; 0: there is none; None: the stream is full and does not say.

    Raises `BusError`.
    """
    for _ in range(_TRIES):
        answer = (await ask(subject, b"", _NEVER)).data
        error = _error(answer)
        found = last_sequence(str(error.get("description", "")))
        if found is not None:
            return found
        if error.get("err_code") in FULL:
            return None
        if error.get("err_code") != _IN_FLIGHT:
            raise BusError(f"{subject}: {error or answer!r}")
        await asyncio.sleep(_PAUSE_SECONDS)
    raise BusError(f"{subject}: the last message is being changed")


def _error(answer: bytes) -> dict[str, object]:
    try:
        found = orjson.loads(answer)["error"]
    except (ValueError, KeyError, TypeError):
        return {}
    return found if isinstance(found, dict) else {}


def _message(answer: Msg) -> Stored | None:
    """The message that an answer is; None where there is none. Raises `BusError`."""
    headers = texts(answer.headers)
    if status := headers.get(STATUS):
        if status == NONE:
            return None
        raise BusError(f"{answer.subject}: {headers.get(DESCRIPTION, '')} ({status})")
    try:
        return Stored(
            subject=headers[SUBJECT],
            payload=answer.data,
            sequence=int(headers[SEQUENCE]),
            at_us=microseconds(datetime.datetime.fromisoformat(headers[TIME])),
            headers=headers,
        )
    except (KeyError, ValueError) as error:
        raise BusError(f"{answer.subject}: the answer is no message of a stream") from error
