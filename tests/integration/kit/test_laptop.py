"""A bus on a laptop: no operator, no identities, and every event is printed."""

import asyncio
import json
from pathlib import Path

import pytest
from gameai.bus.group import Received
from gameai.client import Bus
from gameai_contract.world_config import ConfigError
from gameai_devcluster import laptop_bus
from gameai_devcluster.broker import Broker
from support.bus import killed, victim_of


@pytest.fixture
def config(tmp_path: Path, server: Broker, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What a person writes, and the environment of a process that no operator has started."""
    file = tmp_path / "world.json"
    bus = {"endpoint": f"127.0.0.1:{server.port}", "world": "laptop"}
    clock = {"effectiveAt": "2026-11-22T09:00:00Z", "worldSeconds": "0", "speed": "1"}
    file.write_text(
        json.dumps(
            {
                "world": "duels",
                "namespace": "studio",
                "seed": 7,
                "clock": {"anchors": [{**clock, "dayLengthMinutes": 48}]},
                "services": {},
                "bus": bus,
            }
        )
    )
    monkeypatch.setenv("GAMEAI_CONFIG", str(file))
    monkeypatch.setenv("GAMEAI_SERVICE", "game-server")
    monkeypatch.delenv("GAMEAI_BUS_TOKEN", raising=False)
    monkeypatch.delenv("GAMEAI_SETTINGS_HASH", raising=False)
    return file


async def test_events_are_published_consumed_and_printed_without_a_token(
    config: Path, server: Broker, nats: object
) -> None:
    said: list[str] = []
    handled: list[int] = []

    async def handle(received: Received) -> None:
        handled.extend(victim_of(each) for each in received.batch.events)

    tasks = [
        asyncio.create_task(laptop_bus.printed(server.url, laptop_bus.types_of([]), said.append)),
        asyncio.create_task(Bus.of_world(insecure=True).consume(handle)),
    ]
    try:
        await asyncio.sleep(1.0)
        async with Bus.of_world(insecure=True).publisher(source=31) as events:
            await events.publish(killed(7), world_us=90_060_000_000)
        async with asyncio.timeout(20):
            while not (said and handled):
                await asyncio.sleep(0.05)
    finally:
        for each in tasks:
            each.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    assert handled == [7]
    assert said == ["day 2 01:01  studio/duels  game-server  EntityKilled victim: 7"]


async def test_a_pod_without_a_token_is_refused(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GAMEAI_SETTINGS_HASH", "0123")
    with pytest.raises(ConfigError, match=r"^GAMEAI_BUS_TOKEN must be set"):
        Bus.of_world(insecure=True)


async def test_a_program_of_one_service_needs_no_name_in_its_environment(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GAMEAI_SERVICE")
    with pytest.raises(ConfigError, match=r"^GAMEAI_SERVICE must be set"):
        Bus.of_world(insecure=True)
    Bus.of_world(insecure=True, service="game-server")
