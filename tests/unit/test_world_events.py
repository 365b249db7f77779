"""Services of a world that consume its events."""

from typing import Any

import pytest
from gameai.services.world_state.__main__ import consumes
from gameai.serving import LiveWorld
from gameai_contract.world_config import WorldConfig, parse
from gameai_devcluster.testing.rendering import decided
from gameai_operator.controller.kind import Decision
from gameai_operator.controller.manifest import Key
from gameai_operator.settings import Settings
from gameai_operator.world.bus import unmet
from gameai_operator.world.shown import ShownTexts
from support import worlds
from support.world_decisions import child, children, see

BUS = Settings(bus_endpoint="bus.gameai-system.svc:4222")
SERVICES = [
    {"name": "time-manager"},
    {"name": "rumours", "image": "registry.example/rumours:1", "consumes": ["time-manager"]},
    {"name": "quests", "image": "registry.example/quests:1", "serviceAccountName": "quests"},
]


def stalled(decision: Decision) -> tuple[bool, str]:
    found = next(each for each in decision.conditions if each.type == "Stalled")
    return bool(found.status), found.reason


def test_the_view_of_a_world_says_which_services_consume() -> None:
    decision = see(settings=BUS, services=SERVICES)
    view = next(each for each in decision.wanted if each["kind"] == "WorldView")
    assert view["spec"]["bus"]["accounts"] == [
        {
            "name": "moor-world",
            "services": ["time-manager", "rumours"],
            "consumers": [{"name": "rumours", "services": ["time-manager"]}],
        },
        {"name": "quests", "services": ["quests"]},
    ]
    assert not stalled(decision)[0]


def test_services_read_what_they_consume() -> None:
    found = parse(worlds.configuration(services=SERVICES)).services
    assert {name: each.consumes for name, each in found.items() if each.consumes} == {
        "rumours": ("time-manager",)
    }


def test_world_state_consumes_once_its_world_says_so() -> None:
    def configured(**service: Any) -> WorldConfig:
        given = {"services": [{"name": "world-state", **service}, {"name": "time-manager"}]}
        return parse(worlds.configuration(**given, **worlds.needs("world-state")))

    live = LiveWorld(configured(), lambda: 0)
    assert not consumes(live)
    live.take(configured(consumes=["time-manager"]))
    assert consumes(live)


def test_a_world_that_consumes_without_a_bus_says_so_and_runs() -> None:
    decision = see(settings=Settings(bus_endpoint=""), services=SERVICES)
    assert stalled(decision) == (True, "BusMissing")
    assert sum(each["kind"] == "Deployment" for each in decision.wanted) == len(SERVICES)


def test_a_service_whose_events_are_parked_makes_its_world_not_ready() -> None:
    live = {
        "spec": {},
        "status": {
            "parked": [
                {
                    "service": "quests",
                    "since": "2026-11-30T10:00:00Z",
                    "reason": "KeyError: 'stage'",
                },
                {"service": "rumours", "since": "2026-11-30T11:00:00Z"},
            ]
        },
    }
    found = ShownTexts().facts(live)
    first, second = found.parked
    assert (first.service, first.reason, second.reason) == ("quests", "KeyError: 'stage'", "")
    root = worlds.resource(services=SERVICES[:1])
    name = root["metadata"]["name"]
    views = {Key("WorldView", "eldermoor", name): child(name, "WorldView", found)}
    decision = decided(root, BUS, children=children(root) | views, references=worlds.READY_TIERS)
    conditions = {each.type: each for each in decision.conditions}
    services, ready = conditions["ServicesReady"], conditions["Ready"]
    assert (services.status, services.reason) == (False, "EventsParked")
    assert services.message.count("as dead letters, for a redrive") == 2
    assert "at 2026-11-30T10:00:00Z (KeyError: 'stage')" in services.message
    assert (ready.status, ready.reason) == (False, "EventsParked")
    assert ShownTexts().facts({"spec": {}}).parked == ()


@pytest.mark.parametrize(
    ("bus", "revision", "services", "reason"),
    [
        ("bus:4222", 5, SERVICES, ""),
        ("bus:4222", None, SERVICES, ""),
        ("bus:4222", 4, SERVICES, "TemplateRevisionTooOld"),
        ("", 5, SERVICES, "BusMissing"),
        ("", 4, SERVICES[:1], ""),
    ],
)
def test_what_keeps_a_service_from_consuming_is_named(
    bus: str, revision: int | None, services: list[dict[str, Any]], reason: str
) -> None:
    found = unmet(worlds.world(services=services), bus, revision)
    assert (found[0] if found else "") == reason
    assert found is None or found[1].startswith("spec.services[rumours].consumes: ")
