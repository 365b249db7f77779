"""EDGE: a request is read by the handler of its call, within a time: a caller who sends nothing holds no place.

gRPC reads the message of a unary call before its handler runs, and waits for it as long as the connection lives.
"""

import asyncio
import contextlib
import inspect
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc
from google.protobuf.message import DecodeError
from grpc import aio
from grpc_status import rpc_status

from gameai.errors import (
    ExhaustedError,
    InvalidArgumentError,
    ServiceFault,
    UnavailableError,
    status_of,
)
from gameai.serving import telemetry

Handler = Any  # grpc.RpcMethodHandler; grpc types its parts as Any
Context = aio.ServicerContext[Any, Any]
_M = TypeVar("_M")
# From the start of a call to the last byte of its request; and where many calls wait for theirs, for the oldest of them.
# Not `grpc.max_concurrent_streams`: of an honest client above that limit, grpc 1.85 refuses one call in twenty.
SECONDS, SHORT_SECONDS = 10.0, 0.5


class Requests(aio.ServerInterceptor):
    """The first of a server's interceptors: handlers read their one request themselves, and other handlers come after that.

    Of gRPC's own services (health, reflection) it also maps errors, and bounds the calls that last long: their callers are
    not authenticated.
    """

    def __init__(self, places: int, admit: Callable[[Context], object] = lambda _: None) -> None:
        """`places`: calls that the server takes at a time; more than half of them never wait long for a request.

        `admit` is called for our calls before their request is read, and raises where the caller may not call.
        """
        self._admit = admit
        self._most_long_calls = places // 4
        self._long_calls: Counter[str] = Counter()
        self._arrivals = Arrivals(places // 2)

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler:
        """The same handler, which gRPC starts before the request has arrived."""
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        method = handler_call_details.method
        ours = not method.startswith("/grpc.")
        # A stream of requests is read by its handler already, and the errors of ours are mapped there.
        if ours and handler.request_streaming:
            return handler

        async def read(arriving: AsyncIterator[bytes], context: Context) -> Any:
            if ours:
                self._admit(context)
            return decode(await self._arrivals.only(arriving))

        decode = reader(handler.request_deserializer)
        parts = _Parts(
            handler=handler,
            read=read,
            mapped=lambda context: _mapped(context, method, counts=ours),
            held=contextlib.nullcontext if ours else lambda: self._long(method),
        )
        return _with_stream(parts) if handler.response_streaming else _with_answer(parts)

    @contextlib.contextmanager
    def _long(self, method: str) -> Iterator[None]:
        if self._long_calls[method] >= self._most_long_calls:
            raise ExhaustedError(
                f"{self._most_long_calls} calls of {method} are open here: end one, or call again later"
            )
        self._long_calls[method] += 1
        try:
            yield
        finally:
            self._long_calls[method] -= 1


@dataclass(frozen=True, kw_only=True, slots=True)
class _Parts:
    """A handler, and what stands around its method: how its one request is read, its errors, and its place among long calls."""

    handler: Handler
    read: Callable[[AsyncIterator[bytes], Context], Awaitable[Any]]
    mapped: Callable[[Context], AbstractAsyncContextManager[Any]]
    held: Callable[[], AbstractContextManager[Any]]

    async def request(self, arriving: AsyncIterator[Any], context: Context) -> Any:
        """What the method takes: the request, or the stream of them."""
        return arriving if self.handler.request_streaming else await self.read(arriving, context)


@contextlib.asynccontextmanager
async def _mapped(context: Context, method: str, *, counts: bool) -> AsyncIterator[None]:
    """Errors of ours become the status of the call; `counts`: those before its handler are counted here."""
    try:
        yield
    except ServiceFault as error:
        found: Any = rpc_status.to_status(status_of(error))
        if counts:
            telemetry.REQUESTS.labels(method, found.code.name).inc()
        await context.abort(found.code, found.details, found.trailing_metadata)


def _with_answer(parts: _Parts) -> Handler:
    method = _method(parts.handler)

    async def call(arriving: AsyncIterator[Any], context: Context) -> Any:
        async with parts.mapped(context):
            return await method(await parts.request(arriving, context), context)

    return grpc.stream_unary_rpc_method_handler(call, **_wire(parts.handler))


def _with_stream(parts: _Parts) -> Handler:
    method = _method(parts.handler)
    yields = inspect.isasyncgenfunction(method)

    async def call(arriving: AsyncIterator[Any], context: Context) -> AsyncIterator[Any]:
        async with parts.mapped(context):
            request = await parts.request(arriving, context)
            with parts.held():
                # A method that is no generator writes its answers itself.
                answers = method(request, context)
                if not yields:
                    await answers
                    return
                async for answer in answers:
                    yield answer

    return grpc.stream_stream_rpc_method_handler(call, **_wire(parts.handler))


def _wire(handler: Handler) -> dict[str, Any]:
    """One request stays bytes, until its caller is admitted."""
    read = reader(handler.request_deserializer) if handler.request_streaming else None
    return {"request_deserializer": read, "response_serializer": handler.response_serializer}


def _method(handler: Handler) -> Any:
    kinds = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")
    return next(found for kind in kinds if (found := getattr(handler, kind)) is not None)


def reader(deserialize: Callable[[bytes], Any] | None) -> Callable[[bytes], Any]:
    """A deserializer of requests whose error is the caller's; without one they stay bytes."""

    def read(data: bytes) -> Any:
        try:
            return deserialize(data) if deserialize else data
        except DecodeError as error:
            raise InvalidArgumentError(f"the request is not a message: {error}") from error

    return read


class Arrivals:
    """Calls that wait for their request. Belongs to one loop.

    While more than `most` wait, the oldest ones get a shorter time: calls that are silent leave before those that have just come.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._waiting: dict[asyncio.Timeout, float] = {}

    async def only(self, arriving: AsyncIterator[_M]) -> _M:
        """The only request of a call. Raises `InvalidArgumentError` without one, `UnavailableError` and `ExhaustedError` where it is late."""
        now = asyncio.get_running_loop().time()
        limit = asyncio.timeout_at(now + SECONDS)
        try:
            async with limit:
                self._waiting[limit] = now
                self._hurry(now)
                return await anext(aiter(arriving))
        except StopAsyncIteration:
            raise InvalidArgumentError("the call has no message") from None
        except TimeoutError:
            if limit in self._waiting:
                raise UnavailableError(
                    f"the request has not arrived within {SECONDS:g} s: call again"
                ) from None
            raise ExhaustedError(
                "the request has not arrived, and many calls wait for theirs: call again"
            ) from None
        finally:
            self._waiting.pop(limit, None)

    def _hurry(self, now: float) -> None:
        while len(self._waiting) > self._most:
            oldest = next(iter(self._waiting))
            end = max(now, self._waiting.pop(oldest) + SHORT_SECONDS)
            # One whose time is over leaves by itself.
            if not oldest.expired():
                oldest.reschedule(end)
