"""EDGE: vectors from a service with the embeddings API of OpenAI."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass, field
from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpx2
import numpy as np

from gameai.knowledge.embedding import openai_wire
from gameai.knowledge.embedding.breaker import Breaker
from gameai.knowledge.embedding.embedder import EmbeddingError, RefusedTextError, Vectors

_LOG = logging.getLogger(__name__)
# It has a line for each request.
logging.getLogger("httpx2").setLevel(logging.WARNING)
_CONCURRENCY = 8
_CONNECT_SECONDS = 2.0
_MOST_ERROR_BYTES = 16 << 10
_MOST_MESSAGE = 300
_CLOSE_SECONDS = 5.0
_TOO_MANY, _OK = 429, 200
_NO_RIGHT = (401, 403)
# The service is well, and takes other texts.
_REFUSED = (400, 413, 422)
# A short request that is not answered in time says that the service is slow; a long one may say nothing but that.
_SHORT_CHARACTERS = 4096
_FIRST_PAUSE, _MOST_PAUSE = 1.0, 30.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Service:
    """An embedding service: `url` is that of its API, without `/embeddings`. With `request_dimensions` it is asked for vectors of `dimensions`."""

    url: str
    model: str
    dimensions: int
    request_dimensions: bool = False
    key: str = field(default="", repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Patience:
    """How a service is asked: seconds of one attempt, attempts, texts in a request, and whether one that fails is not asked for a while."""

    seconds: float
    attempts: int
    texts: int
    breaks: bool


# A caller who searches waits for 2 s; one who writes can call again.
SERVING = Patience(seconds=5.0, attempts=1, texts=8, breaks=True)
INGESTING = Patience(seconds=60.0, attempts=6, texts=64, breaks=False)


class _RefusedError(Exception):
    """A call got no vectors. `again`: another attempt may; `pause`: seconds that the service asks for; `texts`: for what they are."""

    def __init__(self, why: str, *, again: bool, pause: float = 0.0, texts: bool = False) -> None:
        super().__init__(why)
        self.again, self.pause, self.texts = again, pause, texts


class RemoteEmbedder:
    """The model of a service. Threads may share it: its requests run in a loop of their own, where a time holds for a request as a whole."""

    concurrency = _CONCURRENCY

    def __init__(
        self,
        service: Service,
        patience: Patience,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.model, self.dimensions = service.model, service.dimensions
        self.batch = patience.texts
        self._service, self._patience = service, patience
        self._breaker, self._sleep = Breaker(clock), sleep
        self._client = _client(service, patience)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="embedding-service", daemon=True
        )
        self._thread.start()

    def embed(self, texts: Sequence[str]) -> Vectors:
        """One unit vector for each text."""
        slices = (texts[at : at + self.batch] for at in range(0, len(texts), self.batch))
        parts = [part for each in slices for part in self._parts(each)]
        return np.concatenate(parts) if parts else np.empty((0, self.dimensions), np.float32)

    def _parts(self, texts: Sequence[str]) -> list[Vectors]:
        """The vectors, of halves where the service refuses the whole: it may take fewer texts at a time, or all but one of them."""
        try:
            return [self._retried(texts)]
        except RefusedTextError:
            if len(texts) == 1:
                raise
            half = len(texts) // 2
            return [*self._parts(texts[:half]), *self._parts(texts[half:])]

    def close(self) -> None:
        """End what runs, and close its connections."""
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(_CLOSE_SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self) -> None:
        for each in asyncio.all_tasks() - {asyncio.current_task()}:
            each.cancel()
        await self._client.aclose()

    def _retried(self, texts: Sequence[str]) -> Vectors:
        tried = 1
        while True:
            try:
                return self._asked(texts)
            except _RefusedError as refused:
                if not refused.again or tried >= self._patience.attempts:
                    kind = RefusedTextError if refused.texts else EmbeddingError
                    raise kind(str(refused)) from refused
                pause = min(max(refused.pause, _FIRST_PAUSE * 2 ** (tried - 1)), _MOST_PAUSE)
                _LOG.warning("%s; asking again in %.0f s", refused, pause)
                self._sleep(pause)
            tried += 1

    def _asked(self, texts: Sequence[str]) -> Vectors:
        """One attempt. Raises `_RefusedError`, `EmbeddingError`."""
        if self._patience.breaks and (why := self._breaker.entered()):
            raise _RefusedError(f"{why}; the service is not asked for a few seconds", again=True)
        try:
            data = self._waited(texts)
        # A host name may be one that cannot be encoded.
        except (httpx2.HTTPError, httpx2.InvalidURL, UnicodeError, TimeoutError) as error:
            why = self._shown(f"{self._who} does not answer: {_sentence(error)}")
            slow = isinstance(error, httpx2.TimeoutException | TimeoutError)
            if not slow or sum(map(len, texts)) <= _SHORT_CHARACTERS:
                self._breaker.failed(why)
            raise _RefusedError(why, again=True) from None
        self._breaker.succeeded()
        return openai_wire.vectors(data, len(texts), self.dimensions)

    def _waited(self, texts: Sequence[str]) -> bytes:
        """The answer, from the loop of requests. Raises what `_answer` raises."""
        answer = self._answer(texts)
        try:
            running = asyncio.run_coroutine_threadsafe(answer, self._loop)
        except RuntimeError:
            answer.close()
            raise EmbeddingError("the embedding service is not asked any more") from None
        try:
            # Also where the loop has ended meanwhile.
            return running.result(self._patience.seconds + _CLOSE_SECONDS)
        except CancelledError:
            raise EmbeddingError("the embedding service is not asked any more") from None

    async def _answer(self, texts: Sequence[str]) -> bytes:
        """The body of an answer with vectors. Raises `_RefusedError`, `EmbeddingError`, `httpx2.HTTPError`, TimeoutError."""
        requested = self.dimensions if self._service.request_dimensions else None
        body = openai_wire.request(self.model, texts, requested)
        url = f"{self._service.url}/embeddings"
        async with (
            asyncio.timeout(self._patience.seconds),
            self._client.stream("POST", url, content=body) as answer,
        ):
            most = openai_wire.most_bytes(len(texts), self.dimensions)
            data = await _bounded(answer, most if answer.status_code == _OK else _MOST_ERROR_BYTES)
            if answer.status_code != _OK:
                raise self._refusal(answer, data)
            return data

    @property
    def _who(self) -> str:
        return f"the embedding service at {self._service.url}"

    def _shown(self, text: str) -> str:
        """A text of the service or of its client as a message has it: it may quote the key."""
        key = self._service.key
        return (text.replace(key, "…") if key else text)[:_MOST_MESSAGE]

    def _refusal(self, answer: httpx2.Response, data: bytes) -> _RefusedError:
        code = answer.status_code
        if code in _NO_RIGHT:
            # Such answers may quote a part of the key.
            why = f"{self._who} refuses the key (HTTP {code}): is it right, and may it use {self.model}?"
            self._breaker.failed(why)
            return _RefusedError(why, again=False)
        said = openai_wire.message(data)
        why = self._shown(f"{self._who} answered HTTP {code}{f': {said}' if said else ''}")
        again = code == _TOO_MANY or code >= 500  # noqa: PLR2004 - the server's faults
        if again:
            self._breaker.failed(why)
        else:
            self._breaker.succeeded()
        pause = _pause(answer.headers.get("retry-after", ""))
        return _RefusedError(why, again=again, pause=pause, texts=code in _REFUSED)


def _client(service: Service, patience: Patience) -> httpx2.AsyncClient:
    key = {"authorization": f"Bearer {service.key}"} if service.key else {}
    return httpx2.AsyncClient(
        headers={
            "content-type": "application/json",
            # A small compressed answer could be a large one.
            "accept-encoding": "identity",
            "user-agent": "gameai-knowledge",
            **key,
        },
        timeout=httpx2.Timeout(patience.seconds, connect=_CONNECT_SECONDS),
        limits=httpx2.Limits(max_connections=_CONCURRENCY),
        # Neither a proxy nor a password of the machine; the key goes to no other address, and no cookie is kept.
        trust_env=False,
        follow_redirects=False,
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
    )


async def _bounded(answer: httpx2.Response, most: int) -> bytes:
    """The body. Raises `EmbeddingError` for one that is too large."""
    data = bytearray()
    async for piece in answer.aiter_raw():
        data += piece
        if len(data) > most:
            raise EmbeddingError(f"the embedding service's answer has more than {most} bytes")
    return bytes(data)


def _pause(given: str) -> float:
    """Retry-After in seconds; a date counts as none."""
    return float(given) if given.isascii() and given.isdigit() and len(given) < 6 else 0.0  # noqa: PLR2004 - a day


def _sentence(error: Exception) -> str:
    found = " ".join(str(error).split())
    return found or type(error).__name__
