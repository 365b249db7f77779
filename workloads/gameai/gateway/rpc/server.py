"""EDGE: the gRPC server of a gateway, with a certificate that may be replaced while it runs."""

import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

import grpc
from grpc import aio

from gameai.serving import draining
from gameai.serving.opening import opening
from gameai.serving.requests import Requests

# A question has at most 65,536 characters and 64 fields: 0.4 MiB. What waits for its end is held by gRPC, not counted here.
_MOST_FRAME_BYTES = 1 << 20
_MOST_CALLS = 2000
OPTIONS = (
    ("grpc.max_receive_message_length", _MOST_FRAME_BYTES),
    # Streams go on after their connection's GOAWAY: no stream lives longer than the grace.
    ("grpc.max_connection_age_ms", int(draining.CONNECTION_SECONDS * 1000)),
    ("grpc.max_connection_age_grace_ms", 400_000),
    ("grpc.max_concurrent_streams", 400),
    # Clients ask an idle connection every 20 s whether it lives; gRPC's own limit is 5 minutes.
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.so_reuseport", 0),
    # What gRPC holds of a stream before the gateway asks for it: without these it grows to megabytes, for each stream.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 64 << 10),
)


class Service(Protocol):
    """A service of the gateway."""

    def add_to(self, server: aio.Server) -> None:
        """Serve its methods."""


def new_server(
    services: Iterable[Service], address: str, pair: tuple[Path, Path] | None
) -> tuple[aio.Server, int]:
    """A server and the port that it listens on; `pair`: files of a certificate and its key. Raises `OSError` and `PortError`."""
    server = aio.server(
        interceptors=[Requests(_MOST_CALLS)], options=OPTIONS, maximum_concurrent_rpcs=_MOST_CALLS
    )
    for each in services:
        each.add_to(server)
    credentials = None if pair is None else _credentials(_Pair(*pair))
    host, _, port = address.rpartition(":")
    with opening("--port", host, int(port)):
        if credentials is None:
            return server, server.add_insecure_port(address)
        return server, server.add_secure_port(address, credentials)


def _credentials(held: "_Pair") -> grpc.ServerCredentials:
    return grpc.dynamic_ssl_server_credentials(held.read(), held.renewed)


class _Pair:
    """A certificate and its key, which are replaced while the gateway runs."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self._certificate, self._key = certificate, key
        self._seen: tuple[bytes, bytes] = (b"", b"")

    def read(self) -> grpc.ServerCertificateConfiguration:
        """What the files hold. Raises `OSError`."""
        self._seen = self._key.read_bytes(), self._certificate.read_bytes()
        return grpc.ssl_server_certificate_configuration([self._seen])

    def renewed(self) -> Any:
        """Asked at each new connection: what the files hold, if it is new; else None."""
        before = self._seen
        with contextlib.suppress(OSError):
            found = self.read()
            return None if self._seen == before else found
        return None
