"""The gateway's own HTTP/1.1: what an engine, or whatever else answers there, may say."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from gameai.gateway.engines.http1 import Call, ConnectionPool, Failure
from support.inference import engine


class Heard:
    def __init__(self) -> None:
        self.outcome: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def heard(self) -> None: ...

    def holding(self, size: int) -> None: ...

    def streamed(self, data: bytes) -> None: ...

    def replied(self, status: int, body: bytes) -> None:
        self.outcome.set_result((status, body))

    def failed(self, failure: Failure) -> None:
        self.outcome.set_result(failure)


@asynccontextmanager
async def raw_server(*replies: bytes) -> AsyncIterator[str]:
    """Answers each connection's first request with these bytes, piece by piece."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            for each in replies:
                writer.write(each)
                await writer.drain()
                await asyncio.sleep(0.01)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


@asynccontextmanager
async def connections(address: str) -> AsyncIterator[ConnectionPool]:
    pool = ConnectionPool(address, time.monotonic)
    try:
        yield pool
    finally:
        pool.close()
        # Transports close in the loop's next passes.
        await asyncio.sleep(0.05)


HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("replies", "expected"),
    [
        ((HEAD + b"Content-Length: 2\r\n\r\nok",), (200, b"ok")),
        ((HEAD + b"content-le", b"ngth: 5\r\n\r\nhe", b"llo"), (200, b"hello")),
        ((HEAD + b"Content-Length: 0\r\n\r\n",), (200, b"")),
        ((CHUNKED + b"2\r\nok\r\n", b"3;x=y\r\nay!\r\n0\r\n\r\n"), (200, b"okay!")),
        ((CHUNKED + b"-6\r\nok\r\n",), Failure.GARBLED),
        ((CHUNKED + b"fffffff\r\n",), Failure.GARBLED),
        ((CHUNKED + b"zz\r\n",), Failure.GARBLED),
        # A megabyte may come in 4,160 chunks, and not in more.
        ((CHUNKED + b"1\r\nx\r\n" * 4_100 + b"0\r\n\r\n",), (200, b"x" * 4_100)),
        ((CHUNKED + b"1\r\nx\r\n" * 5_000 + b"0\r\n\r\n",), Failure.GARBLED),
        ((HEAD + b"Content-Length: -1\r\n\r\n",), Failure.GARBLED),
        ((HEAD + b"Content-Length: 99999999\r\n\r\n",), Failure.GARBLED),
        ((HEAD + b"\r\n",), (200, b"")),
        ((HEAD + b"X: y\r\n\r\nto the", b" end"), (200, b"to the end")),
        ((b"HTTP/1.1 100 Continue\r\n\r\n" + HEAD + b"Content-Length: 2\r\n\r\nok",), (200, b"ok")),
        ((b"HTTP/1.1 100 Continue\r\n\r\n" * 9,), Failure.GARBLED),
        ((b"HTTP/1.1 204 No Content\r\n\r\n",), (204, b"")),
        # Of an error that is too long the status is reported all the same.
        ((b"HTTP/1.1 400 Bad Request\r\nContent-Length: 99999\r\n\r\nx",), (400, b"")),
        ((b"SSH-2.0-nonsense\r\n\r\n",), Failure.GARBLED),
        ((b"x" * 40_000,), Failure.GARBLED),
        ((HEAD + b"Content-Length: 9\r\n\r\nhalf",), Failure.RESET),
        ((), Failure.RESET),
    ],
)
async def test_replies_are_read_or_their_call_fails(
    replies: tuple[bytes, ...], expected: Any
) -> None:
    async with raw_server(*replies) as address, connections(address) as pool:
        heard = Heard()
        pool.send(b"GET / HTTP/1.1\r\n\r\n", heard)
        async with asyncio.timeout(30):
            assert await heard.outcome == expected


async def test_what_comes_after_a_reply_is_no_ones() -> None:
    whole = HEAD + b"Content-Length: 2\r\n\r\nok"
    async with raw_server(whole + HEAD) as address, connections(address) as pool:
        heard = Heard()
        pool.send(b"GET / HTTP/1.1\r\n\r\n", heard)
        async with asyncio.timeout(30):
            assert await heard.outcome == (200, b"ok")
        assert pool.idle == 0


@pytest.mark.parametrize(
    "address", ["127.0.0.1:1", "a..b:80", "no-such-host.invalid:80", "127.0.0.1:99999"]
)
async def test_an_address_that_cannot_be_called_is_refused(address: str) -> None:
    heard = Heard()
    async with connections(address) as pool, asyncio.timeout(30):
        pool.send(b"", heard)
        assert await heard.outcome is Failure.REFUSED


async def test_a_kept_connection_that_was_closed_is_no_failure() -> None:
    async with engine() as (_, address), connections(address) as pool:
        request = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
        first = Heard()
        pool.send(request, first)
        assert await first.outcome == (200, b"")
        # The server closes it just as it is used again: seen from here, a reset with not a byte.
        kept = pool._idle[0]
        second = Heard()
        call: Call = pool.send(request, second)
        assert call.connection is kept
        kept.transport.abort()  # type: ignore[union-attr] # it is open
        async with asyncio.timeout(30):
            assert await second.outcome == (200, b"")
        assert call.again
