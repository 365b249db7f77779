"""PURE: how an HTTP/1.1 reply says where it ends (RFC 9112), strictly."""

import re
from functools import lru_cache
from typing import NamedTuple

_OK, _SWITCHING = 200, 101
_NO_CONTENT, _NOT_MODIFIED = 204, 304
_STATUS_LINE = re.compile(rb"HTTP/1\.1 ([1-5]\d\d)(?: [^\r\n]*)?")
_DECIMAL = re.compile(rb"\d{1,12}")
_CHUNK_LINE = re.compile(rb"([0-9a-fA-F]{1,8})[ \t]*(?:;[^\r\n]*)?")
_MOST_CHUNK_LINE = 256


class Head(NamedTuple):
    """A reply's status and framing. `length` is -1 for a body that ends with its connection."""

    status: int
    length: int
    chunked: bool
    closing: bool


@lru_cache(maxsize=256)
def read_head(text: bytes) -> Head:
    """The head of a reply, without the blank line at its end. Raises `ValueError` for what RFC 9112 forbids.

    Engines repeat themselves: within a second their heads differ by the length alone. Of 16 KiB each, 256 are 4 MiB.
    """
    first, *lines = text.split(b"\r\n")
    match = _STATUS_LINE.fullmatch(first)
    if match is None:
        raise ValueError("not a status line of HTTP/1.1")
    status = int(match[1])
    if status == _SWITCHING:
        raise ValueError("no other protocol was asked for")
    headers = [_header(line) for line in lines]
    lengths = {_length(value) for name, value in headers if name == b"content-length"}
    codings = [value.lower() for name, value in headers if name == b"transfer-encoding"]
    closing = any(name == b"connection" and b"close" in value.lower() for name, value in headers)
    if len(lengths) > 1 or (codings and (lengths or codings != [b"chunked"])):
        raise ValueError("the reply states the length of its body in two ways")
    if status < _OK or status in (_NO_CONTENT, _NOT_MODIFIED):
        return Head(status, 0, chunked=False, closing=closing)
    length = lengths.pop() if lengths else -1
    return Head(status, length, chunked=bool(codings), closing=closing)


def _header(line: bytes) -> tuple[bytes, bytes]:
    name, colon, value = line.partition(b":")
    if not colon or not name or name != name.strip():
        raise ValueError("not a header line")
    return name.lower(), value.strip(b" \t")


def _length(value: bytes) -> int:
    if _DECIMAL.fullmatch(value) is None:
        raise ValueError("content-length is not a number")
    return int(value)


def read_chunks(buffer: bytes | bytearray, most: int) -> tuple[list[bytes], int, bool]:
    """The data of whole chunks, the bytes that they used, and whether the last chunk is among them.

    What follows the last chunk (trailers) is not used. Raises `ValueError` for a chunk that is malformed or has more
    than `most` bytes.
    """
    parts: list[bytes] = []
    at = 0
    while True:
        line = buffer.find(b"\r\n", at, at + _MOST_CHUNK_LINE)
        if line < 0:
            if len(buffer) - at >= _MOST_CHUNK_LINE:
                raise ValueError("the line of a chunk is too long")
            return parts, at, False
        match = _CHUNK_LINE.fullmatch(buffer, at, line)
        if match is None or (size := int(match[1], 16)) > most:
            raise ValueError("not the line of a chunk, or too large a chunk")
        end = line + 2 + size
        if len(buffer) < end + 2:
            return parts, at, False
        if size == 0:
            ended = buffer[end : end + 2] == b"\r\n"
            return parts, end + 2 if ended else end, True
        if buffer[end : end + 2] != b"\r\n":
            raise ValueError("a chunk does not end where it says")
        parts.append(bytes(buffer[line + 2 : end]))
        at = end + 2
