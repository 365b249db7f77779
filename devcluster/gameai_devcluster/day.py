"""EDGE: a day of a world in ten seconds: its services as processes here, and one subscriber that prints what they publish."""

import asyncio
import contextlib
import datetime
import json
import uuid
from collections.abc import Callable
from pathlib import Path

import grpc
from gameai.settings.v1 import settings_pb2 as pb
from gameai.settings.v1 import settings_pb2_grpc
from gameai_contract.names import (
    CONFIG_ENVIRONMENT,
    DATABASE_ENVIRONMENT,
    SERVICE_ENVIRONMENT,
)

from gameai_devcluster import laptop_bus, postgres
from gameai_devcluster.api import Json
from gameai_devcluster.services import Service, ServiceLaunch

# A day at six times the speed of one a minute, from five in the morning.
_DAY_SECONDS, _DAWN_SECONDS = 10.0, 5 * 3600
_CHANGE_SECONDS = 3.0
_CALL_SECONDS = 10.0
_SERVICES = ("time-manager", "weather-manager", "settings")
_EVENTS = ("PhaseChanged", "WeatherChanged", "SettingChanged")
_KEY, _REGION, _VALUE, _AUTHOR = "combat.damage", "moor", 120, "designer"


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
        stub = settings_pb2_grpc.SettingsServiceStub(services[-1].channel())
        try:
            asyncio.run(_played(bus.url, show, lambda: _change(stub, say)))
        except grpc.RpcError as error:
            raise DayError(f"the settings service did not answer: {error}") from error
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
    }
    return {
        **document,
        "clock": {"anchors": [{**clock, "speed": "6", "dayLengthMinutes": 1}]},
        "services": {
            name: {"endpoint": "", "settings": given, "settingsHash": ""}
            for name, given in settings.items()
        },
        "bus": {"endpoint": f"127.0.0.1:{bus}", "world": "demo", "knowledgeBase": ""},
    }


async def _played(url: str, show: Callable[[str], None], change: Callable[[], None]) -> None:
    """Print the events of a day; in its course a setting is changed."""
    printing = asyncio.create_task(laptop_bus.printed(url, laptop_bus.types_of([]), show))
    try:
        await asyncio.sleep(_CHANGE_SECONDS)
        await asyncio.to_thread(change)
        await asyncio.sleep(_DAY_SECONDS - _CHANGE_SECONDS)
    finally:
        printing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await printing
