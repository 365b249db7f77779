"""gRPC's own health service and reflection, beside a service."""

from typing import Any

import grpc
from grpc import aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

_STATES = health_pb2.HealthCheckResponse


class GrpcHealth:
    """Says of a server, and of its service by its full name on the wire, whether they serve.

    With `streams` a caller may also watch it, and reflect. Such calls last long, and their callers are not authenticated: where
    callers must be known, they could take the places of those who are.
    """

    def __init__(self, server: aio.Server, wire_name: str, *, streams: bool = True) -> None:
        self._checks = health.aio.HealthServicer() if streams else _Single()
        self._names = ("", wire_name)
        health_pb2_grpc.add_HealthServicer_to_server(self._checks, server)
        if not streams:
            return
        names = (wire_name, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, server)

    async def say(self, *, serving: bool) -> None:
        """From now on this is so."""
        for name in self._names:
            await self._checks.set(name, _STATES.SERVING if serving else _STATES.NOT_SERVING)


class _Single(health.aio.HealthServicer):
    """Answers health checks."""

    async def Watch(  # noqa: N802 - the wire's name
        self,
        request: health_pb2.HealthCheckRequest,  # noqa: ARG002 - its signature
        context: aio.ServicerContext[Any, Any],
    ) -> None:
        """Refuse; clients then take a server for well."""
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "ask Check now and then")
