"""EDGE: one HTTP request to a page that a tenant's pod serves: bounded in time and bytes, whatever answers.

It is HTTP/1.0, so that there are no chunks, and neither redirects nor interim responses are followed.
"""

import asyncio
import re

_MOST_HEAD = 16 << 10
_PIECE_BYTES = 16 << 10
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})[ \r]")


async def request(
    method: str, address: str, path: str, *, seconds: float, most_bytes: int, sized: bool = True
) -> tuple[int, bytes]:
    """Status and body. Raises OSError, TimeoutError, and ValueError where it is no HTTP, too long, or not all of it.

    Many servers send no Content-Length to an HTTP/1.0 client: `sized=False` accepts a body of whole lines then.
    """
    host, _, port = address.rpartition(":")
    async with asyncio.timeout(seconds):
        reader, writer = await asyncio.open_connection(host.strip("[]"), int(port))
        try:
            head = f"{method} {path} HTTP/1.0\r\nHost: {address}\r\nContent-Length: 0\r\n\r\n"
            writer.write(head.encode())
            answer = await _all(reader, _MOST_HEAD + most_bytes)
        finally:
            writer.transport.abort()
    return parsed(answer, most_bytes, sized=sized)


async def _all(reader: asyncio.StreamReader, most: int) -> bytes:
    found = bytearray()
    while piece := await reader.read(_PIECE_BYTES):
        found += piece
        if len(found) > most:
            raise ValueError(f"more than {most} bytes")
    return bytes(found)


def parsed(answer: bytes, most_bytes: int, *, sized: bool = True) -> tuple[int, bytes]:
    """Status and body of a whole answer. Raises ValueError."""
    head, found, body = answer.partition(b"\r\n\r\n")
    status = _STATUS.match(head)
    if not found or status is None:
        raise ValueError("no HTTP response")
    if len(body) > most_bytes:
        raise ValueError(f"more than {most_bytes} bytes")
    if b"transfer-encoding" in head.lower():
        raise ValueError("an HTTP/1.0 client was sent chunks")
    length = _length(head)
    whole = length == len(body) if sized or length >= 0 else body.endswith(b"\n")
    if not whole:
        raise ValueError("the body is not all of it")
    return int(status[1]), body


def _length(head: bytes) -> int:
    """What the headers say of the body; -1 where they do not."""
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length" and value.strip().isdigit():
            return int(value.strip()[:9])
    return -1
