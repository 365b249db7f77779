"""EDGE: a day of a world in ten seconds: its services as processes here, and one subscriber that prints what they publish."""

import asyncio
import contextlib
import datetime
import json
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path

import grpc
from gameai.bus import subjects
from gameai.bus.admin import NatsAdmin
from gameai.bus.subjects import World, name_id
from gameai.client import Bus
from gameai.events.v1.events_pb2 import SOURCE_GAME_SERVER, EntityKilled
from gameai.settings.v1 import settings_pb2 as pb
from gameai.settings.v1 import settings_pb2_grpc
from gameai.world_state.v1 import world_state_pb2 as facts
from gameai.world_state.v1 import world_state_pb2_grpc
from gameai_contract.names import (
    CONFIG_ENVIRONMENT,
    DATABASE_ENVIRONMENT,
    SERVICE_ENVIRONMENT,
)
from gameai_contract.world_config import parse

from gameai_devcluster import laptop_bus, postgres
from gameai_devcluster.api import Json
from gameai_devcluster.services import Service, ServiceLaunch

# A day at six times the speed of one a minute, from five in the morning.
_DAY_SECONDS, _DAWN_SECONDS = 10.0, 5 * 3600
_CHANGE_SECONDS = 3.0
_CALL_SECONDS = 10.0
_SERVICES = ("time-manager", "weather-manager", "settings", "world-state")
_EVENTS = ("PhaseChanged", "WeatherChanged", "SettingChanged", "FactChanged")
_KEY, _REGION, _VALUE, _AUTHOR = "combat.damage", "moor", 120, "designer"
_FACT, _KILLS, _STEP = "danger", 3, 10


class DayError(Exception):
    """An event did not come, or a service did not answer; the message says which."""


def play(folder: Path, document: Json, say: Callable[[str], None]) -> None:
    """Play the day of a world with this configuration. Raises `DayError`, TimeoutError."""
    seen: list[str] = []

    def show(text: str) -> None:
        seen.append(text)
        say(text)

    with (
        laptop_bus.running(folder) as bus,
        postgres.running(folder / "postgres") as database,
        contextlib.ExitStack() as stack,
    ):
        config = folder / "world.json"
        config.write_text(json.dumps(_fast(document, bus.port)))
        environment = {
            CONFIG_ENVIRONMENT: str(config),
            DATABASE_ENVIRONMENT: database.database("world"),
        }
        services = [
            Service(
                ServiceLaunch(
                    name=name,
                    config=config,
                    log=folder / f"{name}.log",
                    environment={**environment, SERVICE_ENVIRONMENT: name},
                )
            )
            for name in _SERVICES
        ]
        for each in services:
            stack.callback(each.close)
        for each in services:
            each.wait_serving()
        tuning, present = (each.channel() for each in services[-2:])
        world = subjects.configured(parse(config.read_text(), by_hand=True))

        async def change() -> None:
            await asyncio.to_thread(_change, settings_pb2_grpc.SettingsServiceStub(tuning), say)
            stub = world_state_pb2_grpc.WorldStateServiceStub(present)
            await asyncio.to_thread(_declare, stub)
            if world is not None:
                await _fight(bus.url, world)
            await asyncio.to_thread(_look, stub, say)

        try:
            asyncio.run(_played(bus.url, show, change))
        except grpc.RpcError as error:
            raise DayError(f"a service of the day did not answer: {error}") from error
    missing = [each for each in _EVENTS if not any(each in line for line in seen)]
    if missing:
        raise DayError(f"no {missing[0]} was published; the logs are in {folder}")


def _change(stub: settings_pb2_grpc.SettingsServiceStub, say: Callable[[str], None]) -> None:
    """A designer declares a setting, and changes it for a region."""
    damage = pb.Declaration(
        key=_KEY, description="Damage of all weapons.", unit="percent", default=pb.Value(whole=100)
    )
    stub.DeclareSettings(
        pb.DeclareSettingsRequest(
            request_id=_drawn(), declarations=[damage], author=_AUTHOR, reason="first version"
        ),
        timeout=_CALL_SECONDS,
    )
    change = pb.Change(
        key=_KEY, layer=pb.LAYER_REGION, region=_REGION, value=pb.Value(whole=_VALUE)
    )
    answer = stub.UpdateSettings(
        pb.UpdateSettingsRequest(
            request_id=_drawn(), changes=[change], author=_AUTHOR, reason="the moor is too easy"
        ),
        timeout=_CALL_SECONDS,
    )
    asked = pb.GetEffectiveRequest(keys=[_KEY], context=pb.Context(region=_REGION))
    [found] = stub.GetEffective(asked, timeout=_CALL_SECONDS).settings
    say(
        f"gameai.settings.v1.SettingsService/GetEffective: {_KEY} in {_REGION} is {found.value.whole} at revision {answer.revision}"
    )


def _declare(stub: world_state_pb2_grpc.WorldStateServiceStub) -> None:
    """A game server declares the danger of regions: it rises with each kill."""
    kill = facts.Reaction(event="EntityKilled", region_field="region", add=_STEP)
    danger = facts.FactRule(
        name=_FACT,
        description="Danger of a region.",
        per_region=True,
        maximum=100,
        drift_per_hour=5,
        reactions=[kill],
    )
    request = facts.DeclareFactsRequest(request_id=_drawn(), rules=[danger])
    stub.DeclareFacts(request, timeout=_CALL_SECONDS)


async def _fight(url: str, world: World) -> None:
    """A game server publishes kills."""
    async with NatsAdmin(url) as log:
        arena = Bus.of_log(log, world, service="arena")
        async with arena.publisher(SOURCE_GAME_SERVER) as publisher:
            for victim in range(1, _KILLS + 1):
                killed = EntityKilled(victim=victim, region=name_id(_REGION))
                await publisher.publish(killed, world_us=0)


def _look(stub: world_state_pb2_grpc.WorldStateServiceStub, say: Callable[[str], None]) -> None:
    """Watch the danger until it is there. Raises `grpc.RpcError`."""
    asked = facts.WatchFactsRequest(regions=[_REGION], facts=[_FACT])
    for message in stub.WatchFacts(asked, timeout=_CALL_SECONDS):
        for each in message.facts:
            if each.cause and each.value > _STEP * (_KILLS - 1):
                say(
                    f"gameai.world_state.v1.WorldStateService/WatchFacts: {_FACT} of {_REGION} is {each.present} after {_KILLS} kills"
                )
                return


def _drawn() -> str:
    return str(uuid.uuid4())  # noqa: TID251 - the edge


def _fast(document: Json, bus: int) -> Json:
    """A world whose day takes ten seconds, and its bus."""
    now = datetime.datetime.now(datetime.UTC)  # noqa: TID251 - the edge
    clock = {"effectiveAt": f"{now:%Y-%m-%dT%H:%M:%SZ}", "worldSeconds": str(_DAWN_SECONDS)}
    settings = {
        "weather-manager": {"regions": "coast, moor", "stepMinutes": "360"},
        "time-manager": {},
        "settings": {},
        "world-state": {"regions": "coast, moor"},
    }
    return {
        **document,
        "clock": {"anchors": [{**clock, "speed": "6", "dayLengthMinutes": 1}]},
        "services": {
            name: {
                "endpoint": "",
                "settings": given,
                "settingsHash": "",
                "consumes": ["arena"] if name == "world-state" else [],
            }
            for name, given in settings.items()
        },
        "bus": {"endpoint": f"127.0.0.1:{bus}", "world": "demo", "knowledgeBase": ""},
    }


async def _played(
    url: str, show: Callable[[str], None], change: Callable[[], Awaitable[None]]
) -> None:
    """Print the events of a day; in its course a setting and a fact are changed."""
    printing = asyncio.create_task(laptop_bus.printed(url, laptop_bus.types_of([]), show))
    try:
        await asyncio.sleep(_CHANGE_SECONDS)
        await change()
        await asyncio.sleep(_DAY_SECONDS - _CHANGE_SECONDS)
    finally:
        printing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await printing
