"""Services consume events of their own world: the controller declares their consumers, and a server lets them use these alone."""

import asyncio
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from gameai.bus import subjects
from gameai.bus.dead_letters import REASON
from gameai.bus.group import PoisonError, WorldGroup
from gameai.bus.log import Log, Outgoing, RefusedError
from gameai.bus.publisher import Publisher
from gameai.bus.streams import DEAD_LETTERS, LOG, ORDERS
from gameai.bus.subjects import World
from gameai.client import Bus as Client
from gameai_contract.names import BUS_CA_KEY
from gameai_devcluster.api import Api
from support.bus import (
    METRICS,
    REGISTRY,
    Handled,
    batch_of,
    consuming,
    fails_at,
    first_victim,
    killed,
    until,
)
from support.live import world
from support.managed_bus import QUESTS, SERVER, Bus, controller, group, with_quests

ROOT = Path(__file__).parents[3]
pytestmark = pytest.mark.usefixtures("operator")


@pytest.fixture
async def bus(api: Api, namespace: str, tmp_path: Path) -> AsyncIterator[Bus]:
    async with with_quests(api, namespace, tmp_path) as found:
        yield found


async def publish(log: Log, of: World, *victims: int) -> None:
    async with Publisher(log, REGISTRY, "game-server", 31, metrics=METRICS) as events:
        for each in victims:
            await events.publish(of, killed(each), world_us=each)
            await events.flush()


async def letters(bus: Bus, of: World) -> list[tuple[int, str]]:
    """Victim and reason of each dead letter of a world."""
    found, sequence = [], 1
    async with bus.streams() as log:
        while each := await log.first(DEAD_LETTERS, group(of).own_letters, sequence):
            found.append((first_victim(each), each.headers[REASON]))
            sequence = each.sequence + 1
    return found


async def test_a_service_consumes_events_of_its_world_and_of_no_other(bus: Bus) -> None:
    moor, barrow = bus.world(), bus.world("barrow")
    handled = Handled()
    async with (
        bus.connection("quests") as own,
        bus.connection("barrow-world") as other,
        bus.connection() as log,
        consuming(own, handled, replicas=2, group=group(moor)),
    ):
        for each in range(20):
            await publish(other, barrow, 1000 + each)
            await publish(log, moor, each)
        await handled.reach(20)
        await asyncio.sleep(0.5)
    assert handled.of(moor) == list(range(20))
    assert len(handled.events) == 20


async def condition(bus: Bus, reason: str) -> str:
    """Wait until ServicesReady of moor has a reason; its message."""
    async with asyncio.timeout(60):
        while True:
            world_ = bus.api.get("GameWorld", bus.namespace, "moor")
            entries = {
                each["type"]: each for each in world_.get("status", {}).get("conditions", ())
            }
            found = entries.get("ServicesReady", {})
            if found.get("reason") == reason:
                return str(found.get("message", ""))
            await asyncio.sleep(0.2)


async def test_a_position_survives_a_restart_of_all_parts(bus: Bus) -> None:
    moor, first, second = bus.world(), Handled(), Handled()
    async with bus.connection("quests") as own, bus.connection() as log:
        async with consuming(own, first, group=group(moor)):
            await publish(log, moor, 1, 2, 3)
            await first.reach(3)
        # A server writes positions at intervals.
        await asyncio.sleep(1.0)
        bus.server.kill()
        bus.server.start()
        async with controller(bus.api, bus.namespace, bus.folder, bus.server.port):
            await asyncio.wait_for(bus.server.answers(), 30)
        async with consuming(own, second, group=group(moor)):
            await publish(log, moor, 4)
            await second.reach(1)
            await asyncio.sleep(0.5)
    assert second.of(moor) == [4]


async def test_poison_parks_the_world_for_its_service_and_a_redrive_goes_on_in_order(
    bus: Bus,
) -> None:
    moor = bus.world()
    handled = Handled(fails_at(2, PoisonError("the quest has no stage 7"), times=1))

    async def parked(number: int) -> bool:
        return len(await letters(bus, moor)) == number

    async with (
        bus.connection("quests") as own,
        bus.connection() as log,
        consuming(own, handled, replicas=2, group=group(moor)),
    ):
        assert await bus.dead_letters("list") == (0, "no dead letters\n")
        await publish(log, moor, 1, 2, 3, 4)
        await until(lambda: parked(3))
        assert await letters(bus, moor) == [
            (2, "PoisonError: the quest has no stage 7"),
            (3, "its world is parked"),
            (4, "its world is parked"),
        ]
        _, said = await bus.dead_letters("list")
        named = group(moor).own_letters.removeprefix("dlq.")
        assert said.splitlines()[1].split()[:2] == [named, "3"]
        assert "PoisonError: the quest has no stage 7" in said
        parked_at = await condition(bus, "EventsParked")
        assert "service quests could not handle a batch of events at " in parked_at
        assert "PoisonError: the quest has no stage 7" in parked_at
        assert (await bus.dead_letters("redrive", named))[0] == 0
        await handled.reach(4)
        await until(lambda: parked(0))
        assert await condition(bus, "AllServicesReady") == ""
        await publish(log, moor, 5)
        await handled.reach(5)
    assert handled.of(moor) == [1, 2, 3, 4, 5]
    assert [each.redriven for each in handled.batches] == [False, True, True, True, False]


async def test_dead_letters_that_are_discarded_are_lost_for_their_consumer_alone(bus: Bus) -> None:
    moor = bus.world()
    named = group(moor).own_letters.removeprefix("dlq.")
    handled = Handled(fails_at(1, PoisonError("no")))

    async def parked(number: int) -> bool:
        return len(await letters(bus, moor)) == number

    async with (
        bus.connection("quests") as own,
        bus.connection() as log,
        consuming(own, handled, group=group(moor)),
    ):
        await publish(log, moor, 1, 2, 3)
        await until(lambda: parked(3))
        _, said = await bus.dead_letters("list")
        first = f"--sequence={said.splitlines()[1].split()[2]}"
        assert await bus.dead_letters("discard", named, first) == (0, "discarded 1 batch\n")
        code, said = await bus.dead_letters("discard", named, first)
        assert code == 1
        assert "it was handled or discarded" in said
        assert [victim for victim, _ in await letters(bus, moor)] == [2, 3]
        assert await bus.dead_letters("discard", named) == (0, "discarded 2 batches\n")
        await publish(log, moor, 4)
        await handled.reach(1)
    assert handled.of(moor) == [4]
    code, said = await bus.dead_letters("redrive", named)
    assert (code, said) == (
        1,
        f"error: there are no dead letters of {named}: `list` shows those that are\n",
    )
    for other in ("x", named.replace("quests", "*")):
        assert (await bus.dead_letters("discard", other))[0] == 1


async def test_a_service_that_ends_leaves_its_batch_to_another_replica_at_once(bus: Bus) -> None:
    moor, handled = bus.world(), Handled()
    async with bus.connection("quests") as own, bus.connection() as log:
        async with consuming(own, Handled(), group=group(moor)):
            await asyncio.sleep(0.5)
        async with consuming(own, handled, group=group(moor)):
            await publish(log, moor, 1)
            async with asyncio.timeout(10):
                await handled.reach(1)
    assert handled.batches[0].deliveries == 1


async def test_the_client_needs_what_the_operator_gives_a_pod_and_nothing_else(
    bus: Bus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moor, handled = bus.world(), Handled()
    document = json.loads(
        bus.api.get("ConfigMap", bus.namespace, "moor-world")["data"]["world.json"]
    )
    file = tmp_path / "world.json"
    file.write_text(json.dumps(document | {"bus": None}))

    def client(service: str, account: str) -> Client:
        monkeypatch.setenv("GAMEAI_CONFIG", str(file))
        monkeypatch.setenv("GAMEAI_SERVICE", service)
        monkeypatch.setenv("GAMEAI_BUS_TOKEN", str(bus.login(account).file))
        return Client.of_world()

    monkeypatch.setattr("gameai.client.bus._PAUSE_SECONDS", 0.2)
    consuming = asyncio.create_task(client("quests", "quests").consume(handled))
    await asyncio.sleep(0.5)
    assert not consuming.done(), "a bus that comes later is waited for"
    uid = bus.api.get("GameWorld", bus.namespace, "moor")["metadata"]["uid"]
    place = {"endpoint": bus.url.removeprefix("nats://"), "world": uid}
    file.write_text(json.dumps(document | {"bus": place}))
    shutil.copy(bus.ca_file, tmp_path / BUS_CA_KEY)
    async with client("game-server", "moor-world").publisher(31) as events:
        for each in range(5):
            await events.publish(killed(each), world_us=each)
        await events.flush()
        await handled.reach(5)
    consuming.cancel()
    await asyncio.gather(consuming, return_exceptions=True)
    assert handled.of(moor) == [0, 1, 2, 3, 4]


async def test_the_example_prints_each_death_and_ends_with_sigterm(
    bus: Bus, tmp_path: Path
) -> None:
    document = json.loads(
        bus.api.get("ConfigMap", bus.namespace, "moor-world")["data"]["world.json"]
    )
    uid = bus.api.get("GameWorld", bus.namespace, "moor")["metadata"]["uid"]
    place = {"endpoint": bus.url.removeprefix("nats://"), "world": uid}
    file = tmp_path / "world.json"
    file.write_text(json.dumps(document | {"bus": place}))
    shutil.copy(bus.ca_file, tmp_path / BUS_CA_KEY)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(ROOT / "examples/event-bus/rumours.py")),
        env={
            **os.environ,
            "GAMEAI_CONFIG": str(file),
            "GAMEAI_SERVICE": "quests",
            "GAMEAI_BUS_TOKEN": str(bus.login("quests").file),
        },
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout
    try:
        async with bus.connection() as log:
            await publish(log, bus.world(), 17, 0, 18)
        async with asyncio.timeout(60):
            said = await process.stdout.readline()
        assert said == b"rumour 1: 0000000000000011 is dead\n"
        await until(lambda: _has_letters(bus))
        found = await letters(bus, bus.world())
        assert found[0] == (0, "PoisonError: event 2 has no victim")
        process.terminate()
        async with asyncio.timeout(20):
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()


async def _has_letters(bus: Bus) -> bool:
    return len(await letters(bus, bus.world())) == 2


async def test_a_service_that_consumes_later_needs_no_restart(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gameai.bus.consumer._REFUSED_SECONDS", 0.5)
    server = {"name": "chronicle", "image": "registry.example/chronicle:1"}
    services = [SERVER, QUESTS, server]
    bus.api.apply(world(bus.namespace, services=services), manager="kubectl")
    moor, handled = bus.world(), Handled()
    chronicle = WorldGroup(world=moor, consumer="chronicle")
    async with bus.connection() as log, consuming(log, handled, group=chronicle):
        await publish(log, moor, 1)
        await asyncio.sleep(1.0)
        services[2] = server | {"consumes": ["game-server"]}
        bus.api.apply(world(bus.namespace, services=services), manager="kubectl")
        await handled.reach(1)
    assert handled.of(moor) == [1]


async def test_every_foreign_consumer_and_letter_is_refused(bus: Bus) -> None:
    moor, barrow = group(bus.world()), group(bus.world("barrow"))
    other = WorldGroup(world=moor.world, consumer="game-server")
    # The account quests is that of both worlds; the world's own account consumes nothing.
    foreign = [
        *(f"$JS.API.CONSUMER.MSG.NEXT.{each.name}.{moor.name}" for each in (LOG, ORDERS)),
        *(f"$JS.ACK.{each.name}.{moor.name}.1.1.1.1.0" for each in (LOG, ORDERS)),
        moor.own_letters,
        f"$JS.API.DIRECT.GET.GAME_DLQ.{moor.own_letters}",
        subjects.letter_request("first", moor.own_letters),
        subjects.letter_request("remove", barrow.own_letters),
    ]
    others = [
        f"$JS.API.CONSUMER.MSG.NEXT.GAME_LOG.{other.name}",
        f"$JS.API.CONSUMER.CREATE.GAME_LOG.{moor.name}",
        f"$JS.API.CONSUMER.DELETE.GAME_LOG.{moor.name}",
        f"$JS.API.CONSUMER.INFO.GAME_LOG.{moor.name}",
        "$JS.API.STREAM.MSG.GET.GAME_DLQ",
        "$JS.API.STREAM.MSG.DELETE.GAME_DLQ",
        "$JS.API.DIRECT.GET.GAME_DLQ",
        "$JS.API.DIRECT.GET.GAME_LOG",
        subjects.redrive(subjects.own(moor.world, "quests"), "quests"),
        "dlq.own.*.*.*.*",
        "letters.first.own.>",
    ]
    async with bus.connection() as server, bus.connection("quests") as quests:
        tried = [
            log.store(Outgoing(subject=subject, payload=b"1"))
            for log, given in ((server, foreign), (quests, others))
            for subject in given
        ]
        found = await asyncio.gather(*tried, return_exceptions=True)
    for subject, each in zip((*foreign, *others), found, strict=True):
        assert isinstance(each, RefusedError), subject
        assert "permissions violation" in str(each)


async def test_what_is_delivered_reaches_no_subject_of_another(bus: Bus) -> None:
    """Servers do not check reply subjects: neither those of requests, nor those of answers to batches."""
    moor, barrow = group(bus.world()), group(bus.world("barrow"))
    replies = [
        subjects.log(barrow.world, "game-server"),
        barrow.own_letters,
        moor.own_letters,
        "$JS.API.STREAM.DELETE.GAME_DLQ",
        f"$JS.API.CONSUMER.DELETE.GAME_LOG.{barrow.name}",
        subjects.letter_request("remove", moor.own_letters),
    ]
    async with bus.streams() as admin:
        log = subjects.log(moor.world, "game-server")
        for _ in replies:
            await admin.store(Outgoing(subject=log, payload=batch_of(1)))
        letter = Outgoing(subject=moor.own_letters, payload=batch_of(1))
        first = await admin.store(letter)
        async with bus.connection("quests") as quests:
            for reply in replies:
                await quests._client.publish(
                    f"$JS.API.CONSUMER.MSG.NEXT.GAME_LOG.{moor.name}", b"1", reply
                )
                direct = f"$JS.API.DIRECT.GET.GAME_DLQ.{moor.own_letters}"
                await quests._client.publish(direct, b"", reply)
                request = subjects.letter_request("first", moor.own_letters)
                await quests._client.publish(request, b"1", reply)
                sequence = (await admin._js.stream_info(LOG.name)).state.last_seq
                ack = f"$JS.ACK.GAME_LOG.{moor.name}.1.{sequence}.1.1.0"
                await quests._client.publish(ack, b"+NXT", reply)
            await quests._client.flush()
        await asyncio.sleep(1.0)
        streams = {each.config.name: each.state for each in await admin._js.streams_info()}
        assert set(streams) >= {"GAME_LOG", "GAME_DLQ"}
        assert streams["GAME_LOG"].messages == len(replies)
        assert await admin.first(DEAD_LETTERS, "dlq.>", first) is not None
        assert streams["GAME_DLQ"].messages == 1
        assert {each.name for each in await admin.consumers(LOG)} == {moor.name, barrow.name}
