"""EDGE: how a call ends: errors inside of its handler become its gRPC status."""

import logging
from typing import Any, Self

from google.rpc import code_pb2
from google.rpc.status_pb2 import Status
from grpc import aio
from grpc_status import rpc_status

from gameai.errors import status, status_of
from gameai.gateway.metrics import Metrics
from gameai.gateway.rpc.garbage import Garbage
from gameai.gateway.rpc.sinks import GoneError, StuckError

_LOG = logging.getLogger(__name__)
_REFUSED = frozenset({code_pb2.UNAUTHENTICATED, code_pb2.PERMISSION_DENIED})
Context = aio.ServicerContext[Any, Any]


class CallStatus:
    """Errors inside become the call's status, once the handler's own clean-up is done."""

    def __init__(self, metrics: Metrics, garbage: Garbage) -> None:
        self._metrics = metrics
        self._garbage = garbage
        self._status: Status | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        self._garbage.ended()
        if error is None or not isinstance(error, Exception):
            return False
        self.failed(error)
        return True

    def failed(self, error: BaseException | None) -> None:
        """The call ends with the status of an error."""
        if error is None or isinstance(error, GoneError):
            # No status reaches the client.
            return
        if isinstance(error, StuckError):
            self._metrics.count_event("stream not read")
            message = "the answers are not read"
            self._status = status(code_pb2.RESOURCE_EXHAUSTED, message, "ANSWERS_NOT_READ")
            return
        self._status = status_of(error)
        if self._status.code in _REFUSED:
            self._metrics.count_event("caller refused")
        if self._status.code == code_pb2.INTERNAL:
            _LOG.error("a call failed; this is a bug", exc_info=error)

    def fault(self, found: Status | None) -> None:
        """The call ends with an answer's error, if it has one."""
        self._status = found

    async def end(self, context: Context) -> None:
        """Abort the call, if there is a reason to."""
        if self._status is not None:
            found = rpc_status.to_status(self._status)
            try:
                await context.abort(found.code, found.details, found.trailing_metadata)
            except aio.AbortError:
                raise
            except Exception:
                # gRPC has no public name for what it raises where the client is gone.
                if not context.done():
                    raise
