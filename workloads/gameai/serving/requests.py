"""EDGE: a request is read by the handler of its call, within a time: a caller who sends nothing holds no place.

gRPC reads the message of a unary call before its handler runs, and waits for it as long as the connection lives.
"""

import asyncio
import contextlib
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from grpc import aio
from grpc_status import rpc_status

from gameai.errors import ExhaustedError, InvalidArgumentError, ServiceFault, status_of

Handler = Any  # grpc.RpcMethodHandler; grpc types its parts as Any
Context = aio.ServicerContext[Any, Any]
Guard = Callable[[Context], AbstractAsyncContextManager[Any]]
# From the start of a call to the last byte of its request; and where many calls wait for theirs, for the oldest of them.
# Not `grpc.max_concurrent_streams`: of an honest client above that limit, grpc 1.85 refuses one call in twenty.
SECONDS, SHORT_SECONDS = 10.0, 0.5
# Calls of health and reflection whose answers are streams: they last long, and their callers are not authenticated.
MOST_LONG_CALLS = 64


class Requests(aio.ServerInterceptor):
    """Handlers read their one request themselves; those of health and reflection map errors and are limited."""

    def __init__(self, places: int) -> None:
        """`places`: calls that the server takes at a time; more than half of them never wait long for a request."""
        self._long_calls = 0
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
        ours = handler_call_details.method.startswith("/gameai.")
        # A stream of requests is read by its handler already, and the errors of ours are mapped elsewhere.
        if ours and handler.request_streaming:
            return handler
        if handler.response_streaming:
            guard = contextlib.nullcontext if ours else self._long
            return _with_stream(handler, guard, self._arrivals)
        guard = contextlib.nullcontext if ours else _mapped
        return _with_answer(handler, guard, self._arrivals)

    @contextlib.asynccontextmanager
    async def _long(self, context: Context) -> AsyncIterator[None]:
        async with _mapped(context):
            if self._long_calls >= MOST_LONG_CALLS:
                raise ExhaustedError(
                    f"{MOST_LONG_CALLS} health watches and reflections are open here: ask for one Check, or come back later"
                )
            self._long_calls += 1
            try:
                yield
            finally:
                self._long_calls -= 1


@contextlib.asynccontextmanager
async def _mapped(context: Context) -> AsyncIterator[None]:
    """Errors of ours become the status of the call."""
    try:
        yield
    except ServiceFault as error:
        found: Any = rpc_status.to_status(status_of(error))
        await context.abort(found.code, found.details, found.trailing_metadata)


def _with_answer(handler: Handler, guard: Guard, arrivals: "Arrivals") -> Handler:
    method, read = _method(handler), reader(handler.request_deserializer)

    async def call(arriving: AsyncIterator[Any], context: Context) -> Any:
        async with guard(context):
            request = arriving if handler.request_streaming else read(await arrivals.only(arriving))
            return await method(request, context)

    return grpc.stream_unary_rpc_method_handler(
        call,
        request_deserializer=read if handler.request_streaming else None,
        response_serializer=handler.response_serializer,
    )


def _with_stream(handler: Handler, guard: Guard, arrivals: "Arrivals") -> Handler:
    method, read = _method(handler), reader(handler.request_deserializer)
    yields = inspect.isasyncgenfunction(method)

    async def call(arriving: AsyncIterator[Any], context: Context) -> AsyncIterator[Any]:
        async with guard(context):
            request = arriving if handler.request_streaming else read(await arrivals.only(arriving))
            # A method that is no generator writes its answers itself.
            answers = method(request, context)
            if not yields:
                await answers
                return
            async for answer in answers:
                yield answer

    return grpc.stream_stream_rpc_method_handler(
        call,
        request_deserializer=read if handler.request_streaming else None,
        response_serializer=handler.response_serializer,
    )


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

    async def only(self, arriving: AsyncIterator[bytes]) -> bytes:
        """The bytes of the only request of a call. Raises `InvalidArgumentError` if there is none in time."""
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
            late = f"the request has not arrived in time: within {SECONDS:g} s, or {SHORT_SECONDS:g} s while many calls wait"
            raise InvalidArgumentError(late) from None
        finally:
            self._waiting.pop(limit, None)

    def _hurry(self, now: float) -> None:
        if len(self._waiting) > self._most:
            oldest = next(iter(self._waiting))
            oldest.reschedule(max(now, self._waiting.pop(oldest) + SHORT_SECONDS))
