"""EDGE: the service elsewhere: requests with its key, and what its errors mean for the next ones."""

import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus

import aiohttp

from gameai.external_engine import translation
from gameai.external_engine.gate import Gate

_LOG = logging.getLogger(__name__)
# Of the largest deadline of a question, and for connections.
_ANSWER_SECONDS, _CONNECT_SECONDS = 600.0, 10.0
_REFUSED_SECONDS, _BUSY_SECONDS, _MOST_BUSY_SECONDS = 30.0, 5.0, 600.0
# The key, the model or the account must be corrected first.
_OURS = {
    HTTPStatus.UNAUTHORIZED: "the service refuses the API key (401): correct the Secret of engine.external.openAI.secretRef, and restart the pods",
    HTTPStatus.PAYMENT_REQUIRED: "the service asks for payment (402)",
    HTTPStatus.FORBIDDEN: "the service does not allow the API key to use the model (403)",
    HTTPStatus.NOT_FOUND: "the service knows neither the path nor the model (404): check url and model of engine.external.openAI",
}
_MOST_DIGITS = 6
_ERROR_BYTES = 64 << 10
_NO_CONNECTION = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)
_NO_QUOTA = "insufficient_quota"
# What OpenAI says of max_tokens for a reasoning model.
_OTHER_LIMIT = "max_completion_tokens"
_WRONG_LIMIT = "the service's model takes max_completion_tokens: set tokenLimit of engine.external.openAI to MaxCompletionTokens"
_OF_QUESTION = frozenset({400, 413, 422})


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where the service is. `key` is sent, unless it is empty; it is in no log and no answer."""

    url: str
    key: str

    def __repr__(self) -> str:
        return f"Place(url={self.url!r})"


class RefusedError(Exception):
    """The request has no answer: the status and message for the caller, the result for the metric, and whether it may cost something."""

    def __init__(self, status: int, message: str, result: str, *, charged: bool = False) -> None:
        super().__init__(message)
        self.status, self.result, self.charged = status, result, charged


class Service:
    """Asks the service, and closes the gate by what it answers.

    `now` is a clock in seconds that only rises; `completion_limit`: requests have max_completion_tokens.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        place: Place,
        gate: Gate,
        now: Callable[[], float],
        *,
        completion_limit: bool,
    ) -> None:
        self._session, self._place, self._gate, self._now = session, place, gate, now
        self._completion_limit = completion_limit

    @asynccontextmanager
    async def asked(self, body: bytes) -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer of status 200 to a request. Raises `RefusedError`, also for what goes wrong in the block."""
        began = self._now()
        headers = {"Content-Type": "application/json"}
        if self._place.key:
            headers["Authorization"] = f"Bearer {self._place.key}"
        try:
            async with self._session.post(
                f"{self._place.url}/chat/completions",
                data=body,
                headers=headers,
                # A redirect would take the key elsewhere.
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=_ANSWER_SECONDS, connect=_CONNECT_SECONDS),
            ) as answer:
                if answer.status != HTTPStatus.OK:
                    raise await self._refusal(answer, began)
                yield answer
                self._gate.answered()
        except (aiohttp.ClientError, TimeoutError) as error:
            # What has a connection may have been computed.
            charged = not isinstance(error, _NO_CONNECTION)
            why = f"no answer of the service: {type(error).__name__}"
            raise self._failed(why, began, charged=charged) from error

    async def _refusal(self, answer: aiohttp.ClientResponse, began: float) -> RefusedError:
        """What follows from another status."""
        status = answer.status
        said, code = translation.said(await _beginning(answer), self._place.key)
        if status in _OF_QUESTION and self._wrong_limit(said):
            return self._closed(_WRONG_LIMIT, _REFUSED_SECONDS)
        if code == _NO_QUOTA:
            return self._closed("the account of the API key has no quota left", _REFUSED_SECONDS)
        if status in _OF_QUESTION:
            self._gate.answered()
            return RefusedError(
                status, said or f"the service refused the request ({status})", "refused"
            )
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            seconds = _seconds(answer.headers.get("Retry-After", ""))
            why = f"the service asks for {seconds:g} s of time (429)"
            return self._closed(why, seconds)
        if status in _OURS:
            return self._closed(_OURS[HTTPStatus(status)], _REFUSED_SECONDS)
        return self._failed(f"the service answered {status}", began)

    def _wrong_limit(self, said: str) -> bool:
        """Whether the model takes its limit by the other name. Requests that are too long are refused with the same names."""
        return not self._completion_limit and _OTHER_LIMIT in said and "unsupported" in said.lower()

    def _closed(self, why: str, seconds: float) -> RefusedError:
        if not self._gate.fault(self._now()):
            _LOG.warning("%s; trying again in %g s", why, seconds)
        self._gate.close(why, seconds, self._now())
        return RefusedError(HTTPStatus.TOO_MANY_REQUESTS, why, "refused")

    def _failed(self, why: str, began: float, *, charged: bool = False) -> RefusedError:
        was_open = not self._gate.fault(self._now())
        self._gate.failed(why, began, self._now())
        if was_open and self._gate.fault(self._now()):
            _LOG.warning("%s; trying again in %g s", why, self._gate.seconds(self._now()))
        return RefusedError(HTTPStatus.BAD_GATEWAY, why, "failed", charged=charged)


async def _beginning(answer: aiohttp.ClientResponse) -> bytes:
    """The body of an error, as far as it is read."""
    found = b""
    with contextlib.suppress(aiohttp.ClientError, TimeoutError):
        while len(found) < _ERROR_BYTES and (part := await answer.content.readany()):
            found += part
    return found


def _seconds(text: str) -> float:
    """Retry-After in seconds; a date, or nothing, counts as the usual time."""
    short = text.isascii() and text.isdigit() and len(text) < _MOST_DIGITS
    return min(max(float(text), 1.0), _MOST_BUSY_SECONDS) if short else _BUSY_SECONDS
