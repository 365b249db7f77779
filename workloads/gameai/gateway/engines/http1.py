"""EDGE: an HTTP/1.1 client for engines: kept connections, no copies, cancel = close.

One request at a time on a connection. Replies have a content length, chunks, or end with their connection. An engine's
image is its tenant's choice, so a reply is hostile input: each call says how many bytes its reply may have. In
measurements the openai client cost 85 times the CPU of this, and aiohttp 7 times.
"""

import asyncio
import logging
from collections.abc import Callable
from enum import StrEnum
from typing import Protocol, cast

from gameai.gateway.engines.http_framing import Head, read_chunks, read_head

_LOG = logging.getLogger(__name__)
MOST_BODY = 1 << 20
MOST_HEAD = 16 << 10
# Of a reply with another status than 200. Longer bodies are read as empty, because the status is enough.
MOST_ERROR = 16 << 10
# vLLM closes an idle connection after its own keep-alive time, which should be above this.
IDLE_SECONDS = 60.0
CONNECT_SECONDS = 2.0
_END = b"\r\n\r\n"
_OK = 200
_MOST_INTERIM = 8
_MOST_STREAMED = 64 << 10
# Each chunk costs time, however small: a reply may have so many, and one more for so many bytes that it may have.
_LEAST_CHUNKS, _BYTES_A_CHUNK = 64, 256


class Failure(StrEnum):
    """How a call ended without a reply."""

    REFUSED = "refused"
    RESET = "reset"
    GARBLED = "garbled"
    SILENT = "silent"


class Listener(Protocol):
    """The caller. Exactly one of `replied` and `failed` is called, unless the call is cancelled."""

    def heard(self) -> None:
        """The first byte came."""

    def holding(self, size: int) -> None:
        """So many bytes of an unfinished reply are held."""

    def streamed(self, data: bytes) -> None:
        """A part of a streamed reply's body."""

    def replied(self, status: int, body: bytes) -> None:
        """The whole reply is there; of a stream, its end."""

    def failed(self, failure: Failure) -> None:
        """There is no reply."""


class Call:
    """One request on its way; its reply has at most `most` bytes. `streams`: the body of a 200 is delivered in parts."""

    __slots__ = ("again", "cancelled", "connection", "listener", "most", "request", "streams")

    def __init__(self, request: bytes, listener: Listener, *, streams: bool, most: int) -> None:
        self.request = request
        self.listener = listener
        self.streams = streams
        self.most = most
        self.connection: Connection | None = None
        self.cancelled = False
        self.again = False

    def cancel(self) -> None:
        """The reply is not wanted any more: close the connection, so that the engine stops."""
        self.cancelled = True
        if self.connection is not None:
            self.connection.abandon()

    def pause(self) -> None:
        """Read nothing more of a streamed reply until `resume`."""
        if self.connection is not None and self.connection.transport is not None:
            self.connection.transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        connection = self.connection
        if connection is not None and connection.open and connection.transport is not None:
            connection.transport.resume_reading()


class Connection(asyncio.Protocol):
    """One connection: a call, its reply, the next."""

    __slots__ = ("_body", "_buffer", "_call", "_chunks", "_head", "_interim", "_pool", "_read_bytes", "idle_since", "open", "reused", "transport")  # fmt: skip

    def __init__(self, pool: "ConnectionPool") -> None:
        self._pool = pool
        self._call: Call | None = None
        self.transport: asyncio.Transport | None = None
        self.open = False
        self.reused = False
        self.idle_since = 0.0
        self._reset()

    def _reset(self) -> None:
        # Bytes while one piece holds all that came; a bytearray where more pieces follow: joining bytes again and again
        # would take a time that grows with the square of the number of pieces.
        self._buffer: bytes | bytearray = b""
        self._body = bytearray()
        self._head: Head | None = None
        self._read_bytes = self._interim = self._chunks = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is open."""
        # Transports of uvloop are not subclasses of asyncio's.
        self.transport = cast("asyncio.Transport", transport)
        self.open = True

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is closed. If a reused connection returned no byte, the engine had closed it before the request: sending it again is not a retry."""
        self.open = False
        self._pool.lost(self)
        call, self._call = self._call, None
        if call is None:
            return
        head = self._head
        if head is not None and head.length < 0 and not head.chunked and exc is None:
            call.listener.replied(head.status, bytes(self._body))
        elif self.reused and not call.again and head is None and not self._buffer:
            call.again = True
            self._pool.dial(call)
        else:
            call.listener.failed(Failure.RESET)

    def send(self, call: Call) -> None:
        """Send a request. Its listener receives the events."""
        assert self.transport is not None  # noqa: S101 - it was made
        self._call, call.connection = call, self
        self.transport.write(call.request)

    def abandon(self) -> None:
        """Close immediately, without an event for the listener."""
        self._call = None
        self.open = False
        if self.transport is not None:
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        """A part of the reply. Unexpected bytes close the connection."""
        call = self._call
        if call is None:
            self.abandon()
            return
        if self._head is None and not self._buffer:
            call.listener.heard()
        self._read_bytes += len(data)
        self._add(data)
        try:
            body = self._read(call)
        except ValueError:
            self._fail(call)
            return
        if self._call is not call:
            return
        if body is None:
            call.listener.holding(len(self._buffer) + len(self._body))
        else:
            self._end(call, body)

    def _add(self, data: bytes) -> None:
        if not self._buffer:
            self._buffer = data
            return
        if isinstance(self._buffer, bytes):
            self._buffer = bytearray(self._buffer)
        self._buffer += data

    def _fail(self, call: Call) -> None:
        """The reply violates the protocol or is too long. The status of an error reply is delivered nevertheless."""
        head = self._head
        self.abandon()
        if head is not None and head.status != _OK:
            call.listener.replied(head.status, b"")
        else:
            call.listener.failed(Failure.GARBLED)

    def _read(self, call: Call) -> bytes | None:
        """The whole body, once it is there. Raises `ValueError`."""
        while self._head is None:
            if not self._read_head():
                return None
        head = self._head
        streams = call.streams and head.status == _OK
        most = call.most if head.status == _OK else MOST_ERROR
        if (self._read_bytes if streams else head.length) > most:
            raise ValueError
        if head.chunked:
            return self._read_body(call, streams=streams, most=most)
        if head.length < 0:
            self._body += self._buffer
            self._buffer = b""
            if len(self._body) > most:
                raise ValueError
            return None
        if len(self._buffer) < head.length:
            return None
        body, self._buffer = bytes(self._buffer[: head.length]), self._buffer[head.length :]
        return body

    def _read_body(self, call: Call, *, streams: bool, most: int) -> bytes | None:
        # A chunk of a stream is delivered immediately, even if its reader is slow.
        chunks, used, ended = read_chunks(
            self._buffer, min(most, _MOST_STREAMED) if streams else most
        )
        if used:
            self._buffer = self._buffer[used:]
        data = b"".join(chunks)
        self._chunks += len(chunks)
        if self._chunks > _LEAST_CHUNKS + most // _BYTES_A_CHUNK:
            raise ValueError("too many chunks")
        if not streams:
            self._body += data
            if len(self._body) > most:
                raise ValueError
        elif data:
            call.listener.streamed(data)
        return bytes(self._body) if ended else None

    def _read_head(self) -> bool:
        end = self._buffer.find(_END, 0, MOST_HEAD)
        if end < 0:
            if len(self._buffer) >= MOST_HEAD:
                raise ValueError
            return False
        head = read_head(bytes(self._buffer[:end]))
        self._buffer = self._buffer[end + 4 :]
        if head.status >= _OK:
            self._head = head
            return True
        self._interim += 1
        if self._interim > _MOST_INTERIM:
            raise ValueError
        return bool(self._buffer)

    def _end(self, call: Call, body: bytes) -> None:
        # Bytes after a reply must not become part of the next reply.
        assert self._head is not None  # noqa: S101 - a reply has one
        status, closing = self._head.status, self._head.closing or bool(self._buffer)
        # Its caller may still cancel it, when the connection is another call's.
        self._call = call.connection = None
        self._reset()
        if self.transport is not None:
            # The last part of a stream may have paused it.
            self.transport.resume_reading()
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

    def send(
        self, request: bytes, listener: Listener, *, streams: bool = False, most: int = MOST_BODY
    ) -> Call:
        """Send on a kept connection, else on a new one; the reply has at most `most` bytes."""
        call = Call(request, listener, streams=streams, most=most)
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
        except Exception as error:  # noqa: BLE001 - an address may be wrong in many ways, and the caller needs the error
            _LOG.debug("%s:%d: %s", self._host, self._port, error)
            if not call.cancelled:
                call.listener.failed(Failure.REFUSED)
            return
        if call.cancelled:
            self.keep(connection)
        else:
            connection.send(call)
