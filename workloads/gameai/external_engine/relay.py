"""EDGE: answers as a vLLM does: /v1/chat/completions, /v1/models, /health, and forwards to the service."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus

from aiohttp import ClientError, ClientResponse, web

from gameai.external_engine import metrics, translation
from gameai.external_engine.budget import NANO, Budget
from gameai.external_engine.gate import Gate
from gameai.external_engine.service import RefusedError, Service
from gameai.external_engine.translation import Outgoing, StreamUsage, UnacceptableError

_LOG = logging.getLogger(__name__)
_JSON = "application/json"
_REQUEST_SECONDS = 30.0
_ANSWER_BYTES, _TOKEN_BYTES = 64 << 10, 512


class CallerGoneError(Exception):
    """The caller closed its connection."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """The tier's model name, that of the service, how it limits tokens, and how many requests it gets at a time."""

    model: str
    service_model: str
    completion_limit: bool
    concurrent: int


@dataclass(slots=True)
class _Bill:
    """What was set aside for a request, and what it has cost; None: it is not known, and the whole counts."""

    reserved: int
    spent: int | None = None


class Relay:
    """Forwards requests, within the number at a time, the gate and the budget."""

    def __init__(
        self,
        service: Service,
        options: Options,
        gate: Gate,
        budget: Budget | None,
        now: Callable[[], float],
        key: str = "",
    ) -> None:
        self._service, self._options, self._gate = service, options, gate
        self._key = key.encode()
        self._budget, self._now = budget, now
        self.running = 0
        self.draining = False
        metrics.RUNNING.set_function(lambda: self.running)
        metrics.READY.set_function(lambda: not self.fault())
        if budget is not None:
            metrics.BUDGET_LEFT.set_function(lambda: budget.left(now()) / NANO)

    def routes(self) -> list[web.RouteDef]:
        """What it answers."""
        return [
            web.post("/v1/chat/completions", self.complete),
            web.get("/v1/models", self.models),
            web.get("/health", self.health),
        ]

    def fault(self) -> str:
        """Why it takes no requests; empty while it does."""
        now = self._now()
        found = "draining" if self.draining else self._gate.fault(now)
        return found or (self._budget.fault(now) if self._budget is not None else "")

    async def health(self, _: web.Request) -> web.Response:
        """For kubelets."""
        fault = self.fault()
        return web.Response(text=f"{fault or 'ok'}\n", status=503 if fault else 200)

    async def models(self, _: web.Request) -> web.Response:
        """The tier's name, as of a vLLM."""
        row = {"id": self._options.model, "object": "model", "owned_by": "external"}
        return web.json_response({"object": "list", "data": [row]})

    async def complete(self, request: web.Request) -> web.StreamResponse:
        """Forward a chat completion."""
        result = "failed"
        try:
            answer = await self._complete(request)
            result = "answered"
            return answer
        except asyncio.CancelledError:
            result = "cancelled"
            raise
        except UnacceptableError as error:
            result = "unacceptable"
            return _error(HTTPStatus.BAD_REQUEST, str(error))
        except RefusedError as error:
            result = error.result
            return _error(error.status, str(error))
        except (CallerGoneError, TimeoutError):
            result = "cancelled"
            return web.Response(status=HTTPStatus.REQUEST_TIMEOUT)
        finally:
            metrics.REQUESTS.labels(result).inc()

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        # A caller that does not finish its request holds no place.
        async with asyncio.timeout(_REQUEST_SECONDS):
            body = await request.read()
        if self.running >= self._options.concurrent:
            busy = f"{self.running} requests are running: the replica is busy"
            raise RefusedError(HTTPStatus.SERVICE_UNAVAILABLE, busy, "busy")
        fault = self._gate.fault(self._now())
        if fault:
            raise RefusedError(HTTPStatus.TOO_MANY_REQUESTS, fault, "closed")
        self.running += 1
        try:
            options = self._options
            sent = translation.outgoing(
                body,
                options.service_model,
                completion_limit=options.completion_limit,
            )
            return await self._forward(request, sent)
        finally:
            self.running -= 1

    async def _forward(self, request: web.Request, sent: Outgoing) -> web.StreamResponse:
        bill = self._reserved(sent)
        try:
            async with self._service.asked(sent.body) as answer:
                if sent.streams:
                    return await self._stream(request, answer, bill)
                return await self._whole(answer, sent, bill)
        except RefusedError as error:
            if not error.charged:
                bill.spent = 0
            raise
        finally:
            self._settle(bill)

    async def _whole(self, answer: ClientResponse, sent: Outgoing, bill: _Bill) -> web.Response:
        body = await _read(answer, sent.most_tokens)
        if self._key:
            # A service that repeats it makes it known to its callers.
            body = body.replace(self._key, b"")
        self._count(translation.usage(body), bill)
        try:
            text = translation.incoming(body, self._options.model, sent.labels)
        except UnacceptableError as error:
            raise RefusedError(
                HTTPStatus.BAD_GATEWAY, str(error), "failed", charged=True
            ) from error
        return web.Response(body=text, content_type=_JSON)

    async def _stream(
        self, request: web.Request, answer: ClientResponse, bill: _Bill
    ) -> web.StreamResponse:
        found, usage = web.StreamResponse(), StreamUsage()
        found.content_type = "text/event-stream"
        try:
            await _said(found.prepare(request))
            async for data in answer.content.iter_any():
                usage.feed(data)
                await _said(found.write(data))
            self._count(usage.found, bill)
            await _said(found.write_eof())
        except (ClientError, TimeoutError):
            # After the first part, only a broken connection can report a failure.
            if request.transport is not None:
                request.transport.abort()
            raise
        return found

    def _reserved(self, sent: Outgoing) -> _Bill:
        """Room for the largest price: a token has at least one byte. Raises `RefusedError`."""
        budget, now = self._budget, self._now()
        if budget is None:
            return _Bill(0, 0)
        most = budget.prices.of(len(sent.body), sent.most_tokens)
        if most > budget.whole:
            message = "the request may cost more than the whole budget of an hour: raise engine.external.budget.usdPerHour"
            raise RefusedError(HTTPStatus.BAD_REQUEST, message, "budget")
        if not budget.reserve(most, now):
            if fault := budget.fault(now):
                _LOG.warning("%s", fault)
            raise RefusedError(HTTPStatus.TOO_MANY_REQUESTS, "the budget has no room now", "budget")
        return _Bill(most)

    def _count(self, tokens: tuple[int, int] | None, bill: _Bill) -> None:
        if tokens is None:
            return
        for kind, number in zip(("prompt", "completion"), tokens, strict=True):
            metrics.TOKENS.labels(kind).inc(number)
        if self._budget is not None:
            bill.spent = self._budget.prices.of(*tokens)

    def _settle(self, bill: _Bill) -> None:
        if self._budget is None:
            return
        spent = bill.reserved if bill.spent is None else bill.spent
        self._budget.settle(bill.reserved, spent, self._now())
        metrics.COST.inc(spent / NANO)

    async def drained(self, seconds: float) -> None:
        """Say that it is not ready, and wait for the requests that run."""
        self.draining = True
        try:
            async with asyncio.timeout(seconds):
                while self.running:  # noqa: ASYNC110 - a pod that ends looks now and then
                    await asyncio.sleep(0.1)
        except TimeoutError:
            _LOG.warning("%d requests did not end within %g s", self.running, seconds)


async def _said(writing: Awaitable[object]) -> None:
    """Wait for a write to the caller. Raises `CallerGoneError`; aiohttp's own error would look like one of the service."""
    try:
        await writing
    except ConnectionError as error:
        raise CallerGoneError from error


async def _read(answer: ClientResponse, tokens: int) -> bytes:
    """The whole answer. Raises `RefusedError` where it is larger than one of so many tokens is."""
    parts, size, most = [], 0, _ANSWER_BYTES + tokens * _TOKEN_BYTES
    async for part in answer.content.iter_any():
        size += len(part)
        if size > most:
            message = f"the service's answer has more than {most} bytes"
            raise RefusedError(HTTPStatus.BAD_GATEWAY, message, "failed", charged=True)
        parts.append(part)
    return b"".join(parts)


def _error(status: int, message: str) -> web.Response:
    return web.Response(
        body=translation.error(message, "external_engine"), status=status, content_type=_JSON
    )
