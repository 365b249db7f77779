"""EDGE: a port that cannot be opened, as one sentence instead of a traceback."""

import contextlib
import os
import socket
from collections.abc import Iterator


class PortError(Exception):
    """A port cannot be opened; the message names the flag."""


@contextlib.contextmanager
def opening(flag: str, address: str, port: int) -> Iterator[None]:
    """What a server raises for a port becomes `PortError`: asyncio an OSError, gRPC a RuntimeError without the cause."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        where = f"{address or 'all interfaces'}, port {port}"
        raise PortError(f"{flag}: cannot listen on {where}: {_why(error)}") from error


def _why(error: Exception) -> str:
    if not isinstance(error, OSError):
        return "the port is in use, the address is not one of this machine, or the certificate is invalid"
    known = not isinstance(error, socket.gaierror) and error.errno
    return os.strerror(known) if known else str(error.strerror or error)
