"""The Python client, when its gateways are silent, late, gone or unwilling."""

import asyncio
import time
from collections import Counter
from typing import Any

import pytest
from gameai.client import AskError, Gateway, Source
from inference import engine, eventually, gateway, view


async def test_a_gateway_that_says_nothing_is_given_no_questions() -> None:
    writers: list[asyncio.StreamWriter] = []

    async def silent(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    dumb = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with (
        server,
        engine() as (_, address),
        gateway(view([address])) as served,
        Gateway(f"{dumb},{served.address}") as ai,
    ):
        replies = [
            await ai.ask(
                role="reaction", archetype="guard", prompt="x", deadline_ms=20_000, default="patrol"
            )
            for _ in range(50)
        ]
    for writer in writers:
        writer.close()
    await asyncio.sleep(0.05)
    assert {each.source for each in replies} == {Source.ENGINE}


async def test_a_gateway_that_comes_later_is_waited_for_and_then_found_at_once() -> None:
    async with engine() as (_, address):
        async with gateway(view([address])) as first:
            port = first.address
        async with Gateway(port) as ai:
            call = asyncio.create_task(
                ai.ask(role="reaction", archetype="guard", prompt="x", deadline_ms=60_000)
            )
            await asyncio.sleep(1.5)
            async with gateway(view([address]), port=int(port.rpartition(":")[2])) as second:
                assert (await call).source is Source.ENGINE
                await eventually(lambda: not ai._backoff)
                for _ in range(3):
                    # Told to go away, it comes back without a pause.
                    before = set(ai._streams)
                    for held in list(second.service._sessions):
                        held.go_away()
                    await eventually(lambda: not before & set(ai._streams))  # noqa: B023 - same turn
                    await ai.ask(role="reaction", archetype="guard", prompt="x", deadline_ms=20_000)
                    assert not ai._backoff


async def test_a_name_without_addresses_is_asked_for_now_and_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks = 0
    loop = asyncio.get_running_loop()

    async def nothing(*_: Any, **__: Any) -> list[Any]:
        nonlocal looks
        looks += 1
        raise OSError("no such name")

    monkeypatch.setattr(loop, "getaddrinfo", nothing)
    async with Gateway("gateway.none:1") as ai:
        for _ in range(20):
            await ai.ask(role="r", prompt="x", deadline_ms=50, default="d")
    assert 1 <= looks <= 30


async def test_a_client_that_is_refused_comes_back_ever_more_slowly() -> None:
    async with gateway(view()) as served, Gateway(served.address, world="games/none") as ai:
        end, refused = time.monotonic() + 2, Counter[str]()
        while time.monotonic() < end or refused.total() < 3:
            try:
                await ai.ask(role="reaction", prompt="x", deadline_ms=30_000)
            except AskError as error:
                refused[error.code.name] += 1
        opened = next(served.service._numbers)
    assert refused["NOT_FOUND"] >= 3
    # After 50, 100, 200, 400 and 800 ms, and the first one.
    assert opened <= 7
