"""Who may do what on the bus: decided by the controller under the chart's rights, and enforced by a server with the chart's configuration."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from gameai.bus import subjects
from gameai.bus.batches import Limits
from gameai.bus.log import BusError, Outgoing, RefusedError, Start
from gameai.bus.login import Login, encryption
from gameai.bus.nats import NatsLog
from gameai.bus.publisher import Publisher
from gameai.bus.streams import LOG, STREAMS
from gameai_devcluster import install
from gameai_devcluster.api import Api
from gameai_devcluster.broker import broker
from support.bus import METRICS, REGISTRY, killed
from support.managed_bus import SECRET, Bus, configuration, controller, managed, variables

pytestmark = pytest.mark.usefixtures("operator")


@pytest.fixture
async def bus(api: Api, namespace: str, tmp_path: Path) -> AsyncIterator[Bus]:
    async with managed(api, namespace, tmp_path) as found:
        yield found


async def test_a_world_publishes_as_its_own_services_and_a_restart_of_the_controller_changes_nothing(
    bus: Bus,
) -> None:
    async with (
        bus.connection() as log,
        Publisher(log, REGISTRY, "game-server", 31, metrics=METRICS) as events,
    ):
        for each in range(100):
            await events.publish(bus.world(), killed(each), world_us=0)
    assert await bus.metric('gameai_bus_controller_connections_total{result="accepted"}') == 1
    secret = bus.api.get("Secret", install.NAMESPACE, SECRET)
    async with controller(bus.api, bus.namespace, bus.folder, bus.server.port) as health:
        other = replace(bus, health=health)
        await other.until_ready()
        assert await other.metric('gameai_bus_stream_messages{stream="GAME_LOG"}') > 1
    assert bus.api.get("Secret", install.NAMESPACE, SECRET)["data"] == secret["data"]


async def test_every_subject_of_another_is_refused_by_its_name(bus: Bus) -> None:
    own, other = bus.world(), bus.world("barrow")
    foreign = [
        subjects.log(other, "game-server"),
        subjects.log(own, "weather-manager"),
        subjects.ambient(other, "game-server"),
        "dlq.none.quests.a.b.0000000000000000",
        "redrive.none.quests.a.b.0000000000000000",
        "$JS.API.STREAM.PURGE.GAME_LOG",
        "$SYS.REQ.USER.AUTH",
        # Jobs are for gateways, which say what a caller may do.
        "job.games.moor.00",
        "work.games.bronze.games.moor.2",
        "$JS.API.STREAM.MSG.GET.GAME_JOBS",
        "$JS.API.CONSUMER.MSG.NEXT.GAME_WORK.games_bronze_games_moor_2",
    ]
    async with bus.connection() as log:
        assert await log.store(Outgoing(subject=subjects.log(own, "game-server"), payload=b"x"))
        tried = [log.store(Outgoing(subject=subject, payload=b"x")) for subject in foreign]
        for each in await asyncio.gather(*tried, return_exceptions=True):
            assert isinstance(each, RefusedError)
            assert "permissions violation for publish" in str(each)
        with pytest.raises(RefusedError, match="permissions violation"):
            async for _ in log.replay(LOG, "log.>", Start(sequence=1)):
                pass


async def test_what_the_streams_answer_reaches_no_subject_of_another(bus: Bus) -> None:
    """Servers do not check reply subjects."""
    other = subjects.log(bus.world("barrow"), "game-server")
    replies = [
        other,
        "dlq.none.quests.a.b.0000000000000000",
        "redrive.none.quests.a.b.0000000000000000",
        "$JS.API.STREAM.DELETE.GAME_DLQ",
        "$JS.API.STREAM.PURGE.GAME_LOG",
    ]
    async with bus.connection() as log, bus.streams() as all_of_it:
        own = subjects.log(bus.world(), "game-server")
        for reply in replies:
            await log._client.publish(own, b"x", reply)
        await log.store(Outgoing(subject=own, payload=b"x"))
        await asyncio.sleep(0.5)
        found = {
            subject
            for each in await all_of_it._js.streams_info()
            for subject in (await subjects_of(all_of_it, each.config.name or ""))
        }
        assert {each.name for each in STREAMS} == {
            each.config.name for each in await all_of_it._js.streams_info()
        }
    assert found == {own}


async def subjects_of(log: NatsLog, stream: str) -> list[str]:
    found = await log._js.stream_info(stream, subjects_filter=">")
    return list(found.state.subjects or ())


async def test_a_connection_without_a_decision_is_no_connection(
    bus: Bus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gameai.bus.nats._CONNECT_SECONDS", 3.0)
    # Its controller answers another server.
    held = variables(bus.api.get("Secret", install.NAMESPACE, SECRET))
    folder = tmp_path / "silent"
    folder.mkdir()
    with broker(folder, configuration(), held, bus.folder / "tls") as silent:
        await asyncio.wait_for(silent.answers(), 10)
        with pytest.raises(BusError, match="no connection to the bus"):
            async with NatsLog(silent.url, login=bus.login("moor-world")):
                pass


async def test_a_publisher_that_is_refused_says_which_subject(
    bus: Bus, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gameai.bus.publisher._DRAIN_SECONDS", 3.0)
    async with bus.connection() as log:
        client = log._client
        async with Publisher(
            *(log, REGISTRY, "game-server", 31),
            metrics=METRICS,
            limits=Limits(),
            ack_seconds=0.3,
        ) as events:
            await events.publish(bus.world("barrow"), killed(1), world_us=0)
        # Another connection would change nothing.
        assert log._client is client
    assert 'permissions violation for publish to "log.none.' in caplog.text


async def test_nothing_of_others_can_be_listened_to(bus: Bus) -> None:
    async with bus.connection() as log:
        for subject in (">", "log.>", "_INBOX.>", "*.*", "$SYS.>"):
            found = await log._client.subscribe(subject)
            async with asyncio.timeout(10):
                while not log._refusal(subject.lower()):
                    await asyncio.sleep(0.02)
            await found.unsubscribe()


@dataclass(frozen=True)
class Anonymous:
    """A client that shows nothing."""

    ca_file: Path
    scoped: bool = True

    def options(self) -> dict[str, Any]:
        return encryption(self.ca_file)


async def test_who_has_no_grant_does_not_connect(bus: Bus) -> None:
    logins: list[Login] = [
        bus.login("stranger"),
        bus.login("moor-world", "gameai-gateway"),
        Anonymous(bus.ca_file),
    ]
    tried = [NatsLog(bus.server.url, login=login).__aenter__() for login in logins]
    for found in await asyncio.gather(*tried, return_exceptions=True):
        assert isinstance(found, BusError)
        assert "Authorization Violation" in str(found)


async def test_a_world_that_is_deleted_loses_its_grant(bus: Bus) -> None:
    login = bus.login("moor-world")
    async with NatsLog(bus.server.url, login=login):
        pass
    bus.api.delete("GameWorld", bus.namespace, "moor")
    async with asyncio.timeout(60):
        while True:
            try:
                async with NatsLog(bus.server.url, login=login):
                    await asyncio.sleep(0.2)
            except BusError as error:
                if "Authorization Violation" in str(error):
                    return


async def test_streams_that_were_removed_come_back(bus: Bus) -> None:
    async with bus.streams() as log:
        assert {each.name for each in STREAMS} <= {
            each.config.name for each in await log._js.streams_info()
        }
        await log._js.delete_stream(LOG.name)
        async with asyncio.timeout(300):
            while LOG.name not in {each.config.name for each in await log._js.streams_info()}:
                await asyncio.sleep(0.5)


async def test_the_passwords_are_in_no_log_and_no_message(bus: Bus) -> None:
    held = variables(bus.api.get("Secret", install.NAMESPACE, SECRET))
    text = (bus.folder / "nats.log").read_text()
    assert text
    for name in ("CALLOUT_PASSWORD", "STREAMS_PASSWORD"):
        assert held[name] not in text
