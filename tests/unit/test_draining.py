"""When a server that is to stop has no callers left."""

import asyncio
from time import monotonic

import pytest
from gameai.serving import draining

LONG_AGO = -1e9


async def test_a_server_without_callers_stops_at_once() -> None:
    async with asyncio.timeout(10):
        await draining.quiet(lambda: LONG_AGO, 600)


async def test_a_server_waits_for_as_long_as_its_last_callers_connection_lives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(draining, "QUIET_SECONDS", 0.3)
    heard = monotonic()
    async with asyncio.timeout(10):
        await draining.quiet(lambda: heard, 600)
    assert monotonic() >= heard + 0.3


async def test_a_server_waits_for_what_is_busy() -> None:
    busy = True
    waiting = asyncio.create_task(draining.quiet(lambda: LONG_AGO, 600, busy=lambda: busy))
    await asyncio.sleep(0.2)
    assert not waiting.done()
    busy = False
    async with asyncio.timeout(10):
        await waiting


async def test_a_server_does_not_wait_forever() -> None:
    began = monotonic()
    async with asyncio.timeout(10):
        await draining.quiet(monotonic, 0.2, busy=lambda: True)
    assert monotonic() >= began + 0.2
