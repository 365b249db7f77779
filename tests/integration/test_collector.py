"""Metrics pages as they come over a network: in pieces, long, broken off, and of others."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import web
from gameai_operator.scaling.collector import Collector, Source
from gameai_operator.scaling.estimates import Estimates
from gameai_operator.scaling.exposition import GATEWAY, GATEWAY_FAMILY, MOST_BYTES, reader
from gameai_operator.scaling.signals import Signals

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
TIERS = 8000
LAST = f"games/t{TIERS - 1}"


def page() -> str:
    """Three hundred kilobytes, whose last lines are those of the last tier."""
    names = (("queue_depth", 7), ("in_flight", 40))
    lines = [
        f'gameai_gateway_{name}{{tier="games/t{number}"}} {value}'
        for number in range(TIERS)
        for name, value in names
    ]
    types = [f"# TYPE gameai_gateway_{name} gauge" for name, _ in names]
    return "\n".join([*types, *lines, ""])


async def whole(_: web.Request) -> web.StreamResponse:
    return web.Response(text=page())


async def pieces(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    text = page().encode()
    for part in (text[:5000], text[5000:200_000], text[200_000:]):
        await response.write(part)
        await asyncio.sleep(0.05)
    return response


async def broken_off(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": str(len(page()))})
    await response.prepare(request)
    await response.write(page().encode()[:5000])
    assert request.transport is not None
    request.transport.abort()
    return response


async def too_long(_: web.Request) -> web.StreamResponse:
    return web.Response(text=page() + "#" * MOST_BYTES)


async def another(_: web.Request) -> web.StreamResponse:
    return web.Response(text="<html>It works!</html>")


@contextlib.asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_get("/metrics", handler)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def collected(handler: Handler) -> Signals:
    """What is known of the last tier after a few rounds."""
    estimates = Estimates()
    async with serving(handler) as address:
        source = Source(
            name="gateway",
            targets=lambda: (address,),
            read=reader(GATEWAY, GATEWAY_FAMILY),
            listed=estimates.gateways,
            take=estimates.take,
        )
        clock = asyncio.get_running_loop().time
        running = asyncio.create_task(Collector([source], clock=clock, seconds=0.2).run())
        await asyncio.sleep(2.5)
        running.cancel()
        return estimates.signals(LAST, [], expected=0, requests_per_player=1.0, now=clock())


@pytest.mark.parametrize("handler", [whole, pieces])
async def test_a_page_is_read_to_its_end(handler: Handler) -> None:
    found = await collected(handler)
    assert found.queued is not None
    assert found.in_flight is not None
    assert (found.queued.value, found.in_flight.value) == (7.0, 40.0)


@pytest.mark.parametrize("handler", [broken_off, too_long, another])
async def test_what_is_not_all_of_a_gateways_page_is_no_page(handler: Handler) -> None:
    found = await collected(handler)
    assert (found.queued, found.in_flight) == (None, None)
    assert len(found.silent) == 1
