"""EDGE: a port that cannot be opened, as one sentence instead of a traceback."""

import contextlib
import os
from collections.abc import Iterator


class PortError(Exception):
    """A port cannot be opened; the message names the flag."""


@contextlib.contextmanager
def opening(flag: str, address: str, port: int) -> Iterator[None]:
    """What a server raises for a port becomes `PortError`: asyncio an OSError, gRPC a RuntimeError without the cause."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        code = error.errno if isinstance(error, OSError) else None
        why = os.strerror(code) if code else "in use, or not an address of this machine"
        where = f"{address or 'all interfaces'}, port {port}"
        raise PortError(f"{flag}: cannot listen on {where}: {why}; choose another port") from error
