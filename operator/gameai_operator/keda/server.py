"""EDGE: the scaler as an external scaler of KEDA: it answers from memory, and never waits for anything.

KEDA sets no deadline for these calls and holds a lock of the ScaledObject meanwhile.
"""

import asyncio
import logging
import ssl
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
from grpc.aio import ServicerContext

from gameai_operator import telemetry
from gameai_operator.keda import externalscaler_pb2 as wire
from gameai_operator.keda import externalscaler_pb2_grpc as services
from gameai_operator.resources.scaled_object import METRIC, TARGET
from gameai_operator.scaling.recommendations import Recommendation, Recommendations
from gameai_operator.settings import Settings

_LOG = logging.getLogger(__name__)
_RETRY_SECONDS = 10.0
# KEDA's calls take a moment at most.
_GRACE_SECONDS = 1.0
_MOST_CALLS = 256
_MOST_BYTES = 64 * 1024
_OPTIONS = (
    ("grpc.max_receive_message_length", _MOST_BYTES),
    ("grpc.max_metadata_size", 16 * 1024),
    # KEDA keeps its connections forever; a new one finds the scalers there are now.
    ("grpc.max_connection_age_ms", 5 * 60_000),
    ("grpc.max_connection_age_grace_ms", 10_000),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.so_reuseport", 0),
)


class ExternalScaler(services.ExternalScalerServicer):
    """What KEDA asks of a tier: its ScaledObject has the name and the namespace of the tier."""

    def __init__(self, known: Recommendations, clock: Callable[[], float]) -> None:
        self._known = known
        self._clock = clock

    async def IsActive(  # noqa: N802 - the name of the RPC
        self,
        request: wire.ScaledObjectRef,
        context: "ServicerContext[wire.ScaledObjectRef, wire.IsActiveResponse]",
    ) -> wire.IsActiveResponse:
        """Whether a signal asks for more than the minimum; KEDA shows it, and does not act on it where the minimum is above 0."""
        found = await self._find("IsActive", request, context)
        return wire.IsActiveResponse(result=found.busy)

    async def StreamIsActive(  # noqa: N802 - the name of the RPC
        self,
        request: wire.ScaledObjectRef,
        context: "ServicerContext[wire.ScaledObjectRef, wire.IsActiveResponse]",
    ) -> AsyncIterator[wire.IsActiveResponse]:
        """UNIMPLEMENTED: a tier has at least one replica, and a push can only start the first one."""
        del request
        message = "use a trigger of type external, not external-push"
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, message)
        yield wire.IsActiveResponse()  # makes this a generator; never reached

    async def GetMetricSpec(  # noqa: N802 - the name of the RPC
        self,
        request: wire.ScaledObjectRef,
        context: "ServicerContext[wire.ScaledObjectRef, wire.GetMetricSpecResponse]",
    ) -> wire.GetMetricSpecResponse:
        """One metric: the recommended number of replicas, with the target 1."""
        del context
        self._known.note_asked(request.namespace, request.name, self._clock())
        telemetry.KEDA_REQUESTS.labels("GetMetricSpec", "OK").inc()
        spec = wire.MetricSpec(metricName=METRIC, targetSize=TARGET, targetSizeFloat=TARGET)
        return wire.GetMetricSpecResponse(metricSpecs=[spec])

    async def GetMetrics(  # noqa: N802 - the name of the RPC
        self,
        request: wire.GetMetricsRequest,
        context: "ServicerContext[wire.GetMetricsRequest, wire.GetMetricsResponse]",
    ) -> wire.GetMetricsResponse:
        """Exactly one value, since KEDA adds all values up."""
        found = await self._find("GetMetrics", request.scaledObjectRef, context)
        number = found.replicas
        value = wire.MetricValue(metricName=METRIC, metricValue=number, metricValueFloat=number)
        return wire.GetMetricsResponse(metricValues=[value])

    async def _find(
        self, method: str, asked: wire.ScaledObjectRef, context: "ServicerContext[Any, Any]"
    ) -> Recommendation:
        # Of several scalers each is asked in turn, so that every method counts.
        self._known.note_asked(asked.namespace, asked.name, self._clock())
        found = self._known.get(asked.namespace, asked.name, self._clock())
        code = "UNAVAILABLE" if found is None else "OK"
        telemetry.KEDA_REQUESTS.labels(method, code).inc()
        if found is None:
            message = f"no recommendation of the last minute for ModelTier {asked.namespace[:63]}/{asked.name[:63]}"
            await context.abort(grpc.StatusCode.UNAVAILABLE, message)
        return found


async def serve(settings: Settings, known: Recommendations, clock: Callable[[], float]) -> None:
    """Serve until cancelled. A taken port or a wrong certificate must not end scaling without KEDA: it is tried again."""
    said = ""
    while True:
        try:
            server, _ = await start(settings, known, clock)
            break
        except (OSError, ssl.SSLError) as error:
            if str(error) != said:
                _LOG.error("KEDA is not answered: %s", error)
            said = str(error)
            await asyncio.sleep(_RETRY_SECONDS)
    try:
        await server.wait_for_termination()
    finally:
        await server.stop(_GRACE_SECONDS)


async def start(
    settings: Settings, known: Recommendations, clock: Callable[[], float]
) -> tuple[grpc.aio.Server, int]:
    """Serve, with TLS where a certificate is configured; the server and its port. Raises OSError and `ssl.SSLError`."""
    server = grpc.aio.server(options=_OPTIONS, maximum_concurrent_rpcs=_MOST_CALLS)
    services.add_ExternalScalerServicer_to_server(ExternalScaler(known, clock), server)
    host = settings.health_address or "::"
    address = f"[{host}]" if ":" in host else host
    address = f"{address}:{settings.scaler.keda_port}"
    try:
        port = _listen(server, address, settings)
    except RuntimeError as error:
        raise OSError(f"--keda-port: cannot listen on {address}: {error}") from error
    await server.start()
    _LOG.info("answering KEDA on port %d", port)
    return server, port


def _listen(server: grpc.aio.Server, address: str, settings: Settings) -> int:
    own = settings.scaler
    if not own.certificate_file:
        return server.add_insecure_port(address)
    return server.add_secure_port(address, _credentials(own.certificate_file, own.key_file))


def _credentials(certificate_file: str, key_file: str) -> grpc.ServerCredentials:
    """Credentials that follow their files: a renewed certificate is served to the next connection."""
    checked = (b"", b"")

    def read() -> grpc.ServerCertificateConfiguration:
        nonlocal checked
        certificate, key = Path(certificate_file).read_bytes(), Path(key_file).read_bytes()
        if (certificate, key) != checked:
            check(certificate, key)
            checked = (certificate, key)
        return grpc.ssl_server_certificate_configuration([(key, certificate)])

    def check(certificate: bytes, key: bytes) -> None:
        """Raise `ssl.SSLError` where they are no pair: in a copy, since the files may be replaced meanwhile."""
        with tempfile.TemporaryDirectory() as folder:
            pair = Path(folder) / "pair.pem"
            pair.touch(mode=0o600)
            pair.write_bytes(certificate + b"\n" + key)
            ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(pair)

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        try:
            return read()
        except (OSError, ssl.SSLError) as error:
            _LOG.warning("the certificate for KEDA was not renewed: %s", error)
            return None

    first = read()
    return grpc.dynamic_ssl_server_credentials(first, fetch)  # type: ignore[arg-type] # None keeps the present one
