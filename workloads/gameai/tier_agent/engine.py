"""EDGE: the engine in the same pod, over HTTP."""

import asyncio
from enum import Enum
from typing import Any, NamedTuple

import aiohttp
import orjson

from gameai.tier_agent.load import Load, load

_HEALTH_SECONDS, _PAGE_SECONDS = 3.0, 5.0
_MOST_PAGE, _MOST_ANSWER, _MOST_WORDS = 1 << 20, 64 << 10, 200
_OK = 200


class Health(Enum):
    """What /health says; the values complete the sentence "the engine's /health …"."""

    OK = "is ok"
    DOWN = "is refused, or answers with an error"
    SLOW = "does not answer in time"


class Answer(NamedTuple):
    """The status of a chat completion. `unfinished`: a 200 without the end of an answer, as when a request was aborted."""

    status: int
    unfinished: bool


class EngineError(Exception):
    """The engine did not answer, or with something else than expected; what it says of that is cut short and printable."""

    def __init__(self, words: str) -> None:
        super().__init__(words.encode("ascii", "replace").decode()[:_MOST_WORDS])


class Engine:
    """One engine at `url`, which has so long for an answer."""

    def __init__(self, session: aiohttp.ClientSession, url: str, answer_seconds: float) -> None:
        self._session = session
        self._url = url
        self._answer_seconds = answer_seconds

    async def health(self) -> Health:
        """Whether the engine takes requests."""
        try:
            async with (
                asyncio.timeout(_HEALTH_SECONDS),
                self._session.get(f"{self._url}/health", allow_redirects=False) as reply,
            ):
                return Health.OK if reply.status == _OK else Health.DOWN
        except TimeoutError:
            return Health.SLOW
        except (aiohttp.ClientError, OSError, ValueError):
            return Health.DOWN

    async def load(self) -> Load:
        """How busy it is. Raises `EngineError`."""
        try:
            async with (
                asyncio.timeout(_PAGE_SECONDS),
                self._session.get(f"{self._url}/metrics", allow_redirects=False) as reply,
            ):
                if reply.status != _OK:
                    raise EngineError(f"/metrics: status {reply.status}")
                page = await _whole(reply.content, _MOST_PAGE)
            return load(page)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise EngineError(f"/metrics: {type(error).__name__}: {error}") from error

    async def ask(self, question: dict[str, Any]) -> Answer:
        """What came of a chat completion, once its answer was read. Raises `EngineError`."""
        try:
            async with (
                asyncio.timeout(self._answer_seconds),
                self._session.post(
                    f"{self._url}/v1/chat/completions", json=question, allow_redirects=False
                ) as reply,
            ):
                body = await _whole(reply.content, _MOST_ANSWER)
                return Answer(reply.status, reply.status == _OK and not _finished(body))
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise EngineError(f"a chat completion: {type(error).__name__}: {error}") from error


def _finished(body: bytes) -> bool:
    try:
        reason = orjson.loads(body)["choices"][0]["finish_reason"]
    except (ValueError, KeyError, IndexError, TypeError):
        return False
    return reason in ("stop", "length")


async def _whole(content: aiohttp.StreamReader, most: int) -> bytes:
    """All of a body. Raises ValueError where it is too long."""
    pieces, size = [], 0
    async for piece in content.iter_any():
        pieces.append(piece)
        size += len(piece)
        if size > most:
            raise ValueError(f"more than {most} bytes")
    return b"".join(pieces)
