"""The Python client, when its gateways are silent, late, gone or unwilling."""

import asyncio
import time
from collections import Counter
from typing import Any

import pytest
from gameai.client import AskError, Gateway, Source
from gameai.client import gateway as client_gateway
from support.inference import engine, eventually, gateway, view


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
                    # Asked to go away, it comes back without a pause.
                    before = set(ai._streams)

                    def renewed() -> bool:
                        # Again and again: the stream of the turn before may not have connected yet.
                        for held in list(second.service._sessions):
                            held.go_away()
                        return not before & set(ai._streams)  # noqa: B023 - same turn

                    await eventually(renewed)
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


async def test_a_report_of_players_outlives_the_stream_that_had_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client_gateway, "_REPORT_SECONDS", 0.3)
    monkeypatch.setattr(client_gateway, "_RESOLVE_SECONDS", 0.1)
    async with gateway(view()) as first, gateway(view()) as second:

        def reported_players() -> list[tuple[int, int]]:
            found = [each.service._players.worlds(time.monotonic()) for each in (first, second)]
            return [each.get("games/eldermoor", (0, 0)) for each in found]

        async with Gateway(f"{first.address},{second.address}") as ai:
            # Before any stream is there.
            ai.report_players(40, lobby=2)
            await eventually(lambda: sorted(reported_players()) == [(0, 0), (40, 2)], 20)
            holder = (first, second)[reported_players().index((40, 2))]
            holder.service.drain()
            # Never counted twice: what the leaving stream had is taken back.
            await eventually(
                lambda: reported_players()[(first, second).index(holder)] == (0, 0), 20
            )
            await eventually(lambda: sorted(reported_players()) == [(0, 0), (40, 2)], 20)

            def times() -> set[float]:
                held = [each.service._players._reports.values() for each in (first, second)]
                streams = [
                    each for worlds in held for reports in worlds for each in reports.values()
                ]
                return {each.at for each in streams if each.online}

            # It is sent again before it is stale.
            seen = times()
            await eventually(lambda: not seen & times(), 20)
            assert sorted(reported_players()) == [(0, 0), (40, 2)]
