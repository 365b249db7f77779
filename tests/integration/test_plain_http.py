"""Pages that tenants' pods serve: whatever they answer is bounded in time and bytes."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from gameai_operator.scaling.plain_http import parsed, request

MOST = 1000


@contextlib.asynccontextmanager
async def serving(answer: bytes, *, again: bool = False, waits: float = 0.0) -> AsyncIterator[str]:
    """A server that sends these bytes, once or without end."""

    handling: set[asyncio.Task[None] | None] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handling.add(asyncio.current_task())
        try:
            await reader.readuntil(b"\r\n\r\n")
            await asyncio.sleep(waits)
            writer.write(answer)
            while again:
                writer.write(answer)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for each in handling:
            if each is not None:
                each.cancel()
        await asyncio.gather(*filter(None, handling), return_exceptions=True)


async def ask(address: str) -> tuple[int, bytes]:
    return await request("GET", address, "/metrics", seconds=1.0, most_bytes=MOST)


async def test_a_page_is_read_to_its_end() -> None:
    page = b"a 1\n" * 200
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\ncontent-length: 800\r\n\r\n"
    async with serving(head + page) as address:
        assert await ask(address) == (200, page)
    # Also by IPv6 and with another status.
    assert parsed(b"HTTP/1.0 503 Busy\r\nContent-Length: 0\r\n\r\n", MOST) == (503, b"")


def test_a_page_without_a_length_is_whole_if_it_ends_with_a_line() -> None:
    """Servers of Go and .NET send no length to an HTTP/1.0 client."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n"
    assert parsed(head + b"a 1\n", MOST, sized=False) == (200, b"a 1\n")
    refused = (head + b"a 1\na 2", head, head.replace(b"Type: text/plain", b"Length: 9") + b"a 1\n")
    for answer in refused:
        with pytest.raises(ValueError, match="the body is not all of it"):
            parsed(answer, MOST, sized=False)
    with pytest.raises(ValueError, match="the body is not all of it"):
        parsed(head + b"a 1\n", MOST)
    chunked = head.replace(b"Content-Type: text/plain", b"Transfer-Encoding: chunked")
    with pytest.raises(ValueError, match="was sent chunks"):
        parsed(chunked + b"4\r\na 1\n\r\n0\r\n\r\n", MOST, sized=False)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"", "no HTTP"),
        (b"hello", "no HTTP"),
        (b"HTTP/1.1 200 OK\r\n", "no HTTP"),
        (b"HTTP/2 200\r\n\r\n", "no HTTP"),
        (b"HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n", "no HTTP"),
        (b"HTTP/1.1 200 OK\r\n\r\nall of it?", "not all"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\nbroken off", "not all"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n" + b"x" * 1001, "more than 1000"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 12345678901\r\n\r\n", "not all"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "not all"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "was sent chunks"),
    ],
)
async def test_what_is_no_whole_page_is_refused(answer: bytes, words: str) -> None:
    async with serving(answer) as address:
        with pytest.raises(ValueError, match=words):
            await ask(address)


@pytest.mark.parametrize("piece", [b"HTTP/1.1 100 Continue\r\n\r\n", b"x" * 1000])
async def test_an_answer_without_end_is_read_to_its_limit(piece: bytes) -> None:
    async with serving(piece, again=True) as address:
        with pytest.raises(ValueError, match="more than"):
            await ask(address)


async def test_a_page_that_does_not_come_is_given_up() -> None:
    async with serving(b"", waits=30) as address:
        with pytest.raises(TimeoutError):
            await ask(address)
    with pytest.raises(OSError, match=r"refused|Connect"):
        await ask(address)
