"""What every call goes through: it is counted and timed, and errors become status codes."""

import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from types import MappingProxyType
from typing import Any

import grpc
from grpc import aio
from grpc_status import rpc_status

from gameai.errors import status_of
from gameai.serving import telemetry
from gameai.serving.requests import Handler, reader

_LOG = logging.getLogger(__name__)


class Interceptor(aio.ServerInterceptor):
    """Wraps the handlers of every call of ours. `heard`: when the last call came, on the monotonic clock."""

    def __init__(self) -> None:
        self.heard = time.monotonic()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler:
        """The handler with everything around it."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        # Of grpc's own services (health, reflection) nothing is counted.
        if handler is None or method.startswith("/grpc."):
            return handler
        self.heard = time.monotonic()
        return _wrapped(handler, method)


def _wrapped(handler: Handler, method: str) -> Handler:
    """The same handler, of any of the four kinds of calls, with its calls counted and its errors mapped."""
    kind, wrap = next(
        (kind, wrap) for kind, wrap in _KINDS.items() if getattr(handler, kind) is not None
    )
    made = getattr(grpc, f"{kind}_rpc_method_handler")
    return made(
        wrap(getattr(handler, kind), method),
        # The library logs the traceback of an error in a deserializer, also for a caller without a token.
        request_deserializer=reader(handler.request_deserializer),
        response_serializer=handler.response_serializer,
    )


def _unary(inner: Any, method: str) -> Any:
    """With one answer; the request is a message, or an iterator of them."""

    async def call(request: Any, context: aio.ServicerContext[Any, Any]) -> Any:
        began = time.perf_counter()
        code = grpc.StatusCode.CANCELLED
        try:
            answer = await inner(request, context)
            code = grpc.StatusCode.OK
            return answer
        except aio.AbortError:
            code = _aborted(context)
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller gets a status
            found = _failed_status(error, method)
            code = found.code
            await context.abort(code, found.details, found.trailing_metadata)
        finally:
            telemetry.SECONDS.labels(method).observe(time.perf_counter() - began)
            telemetry.REQUESTS.labels(method, code.name).inc()

    return call


def _stream(inner: Any, method: str) -> Any:
    """With a stream of answers; the request is a message, or an iterator of them."""

    async def call(request: Any, context: aio.ServicerContext[Any, Any]) -> AsyncIterator[Any]:
        code = grpc.StatusCode.CANCELLED
        telemetry.STREAMS.labels(method).inc()
        try:
            async for message in inner(request, context):
                yield message
            code = grpc.StatusCode.OK
        except aio.AbortError:
            code = _aborted(context)
            raise
        except Exception as error:  # noqa: BLE001 - same
            found = _failed_status(error, method)
            code = found.code
            await context.abort(code, found.details, found.trailing_metadata)
        finally:
            telemetry.STREAMS.labels(method).dec()
            telemetry.REQUESTS.labels(method, code.name).inc()

    return call


_KINDS = MappingProxyType(
    {
        "unary_unary": _unary,
        "stream_unary": _unary,
        "unary_stream": _stream,
        "stream_stream": _stream,
    }
)


def _aborted(context: aio.ServicerContext[Any, Any]) -> grpc.StatusCode:
    """The status with which a handler has ended its call itself; the library may give its number alone."""
    found: Any = context.code()
    codes = {each.value[0]: each for each in grpc.StatusCode}
    return codes.get(getattr(found, "value", (found,))[0], grpc.StatusCode.UNKNOWN)


def _failed_status(error: Exception, method: str) -> Any:
    """The status of a call, with its details as trailing metadata."""
    found = rpc_status.to_status(status_of(error))
    if found.code is grpc.StatusCode.INTERNAL:
        _LOG.error("%s failed; this is a bug", method, exc_info=error)
    return found
