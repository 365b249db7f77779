"""EDGE: dead letters for services of worlds, which may not ask the brokers for messages of a stream.

A request has the subject of the dead letters in its own, and servers let a service ask for its own only.
"""

import asyncio
import datetime
import logging
import time
from collections.abc import Mapping

from nats.aio.msg import Msg

from gameai.bus import subjects
from gameai.bus.admin import NatsAdmin
from gameai.bus.log import BusError, Log, Stored
from gameai.bus.login import Login
from gameai.bus.scoped import (
    DESCRIPTION,
    FAILED,
    NONE,
    SEQUENCE,
    STATUS,
    SUBJECT,
    TIME,
)
from gameai.bus.streams import DEAD_LETTERS

_LOG = logging.getLogger(__name__)
_MOST_SEQUENCE = 1 << 63
_QUEUE = "gameai-bus-controller"
_RETRY_SECONDS = 1.0
# The same warning, at most once in this time.
_SAY_SECONDS = 10.0


async def serve(url: str, login: Login) -> None:
    """Until cancelled. The connection is apart from others: its clients may send more than it takes."""
    while True:
        try:
            async with NatsAdmin(url, name="gameai-letters", login=login) as log:
                await log.serve(f"{subjects.LETTERS}.>", _QUEUE, Letters(log).answer)
                await asyncio.Event().wait()
        except BusError as error:
            _LOG.warning("dead letters are not served: %s", error)
            await asyncio.sleep(_RETRY_SECONDS)


class Letters:
    """Answers requests with what the stream of dead letters has."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._said = -_SAY_SECONDS

    async def answer(self, request: Msg) -> tuple[bytes, Mapping[str, str]]:
        """The answer to a request: a message of the stream, or a status."""
        try:
            found = await self._found(request)
        except (BusError, ValueError) as error:
            if time.monotonic() - self._said > _SAY_SECONDS:
                self._said = time.monotonic()
                _LOG.warning("%s: %s", request.subject, error)
            return b"", {STATUS: FAILED, DESCRIPTION: " ".join(str(error).split())}
        return (b"", {STATUS: NONE}) if found is None else (found.payload, _headers(found))

    async def _found(self, request: Msg) -> Stored | None:
        """The message that a request asks for; a removal answers none. Raises `BusError`, ValueError."""
        _, operation, rest = request.subject.split(".", 2)
        letters = f"dlq.{rest}"
        subjects.parsed(letters)
        sequence = _sequence(request.data)
        match operation:
            case subjects.LAST:
                return await self._log.last(DEAD_LETTERS, letters)
            case subjects.FIRST:
                return await self._log.first(DEAD_LETTERS, letters, sequence)
            case subjects.REMOVE:
                found = await self._log.first(DEAD_LETTERS, letters, sequence)
                if found and found.sequence == sequence:
                    await self._log.remove(DEAD_LETTERS, letters, sequence)
                return None
            case _:
                raise ValueError(f"{operation!r} is no operation")


def _sequence(data: bytes) -> int:
    text = data[:20].decode("ascii", "replace")
    if not text.isdecimal() or not 0 < int(text) < _MOST_SEQUENCE:
        raise ValueError(f"{text!r} is no sequence of a stream")
    return int(text)


def _headers(found: Stored) -> dict[str, str]:
    """As servers give messages of a stream: the message's own headers, then where it is."""
    own = {key: text for key, text in found.headers.items() if key != STATUS}
    at = datetime.datetime.fromtimestamp(found.at_us / 1_000_000, tz=datetime.UTC)
    return {**own, SUBJECT: found.subject, SEQUENCE: str(found.sequence), TIME: at.isoformat()}
