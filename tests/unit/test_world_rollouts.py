from dataclasses import replace
from typing import Any

import pytest
from gameai_devcluster.testing.rendering import decided
from gameai_operator.api import crd
from gameai_operator.controller.conditions import Condition
from gameai_operator.controller.kind import Decision, SlotUse
from gameai_operator.controller.manifest import Owner
from gameai_operator.resources.deployment import TEMPLATE_HASH, TEMPLATE_INPUTS
from gameai_operator.resources.template_inputs import Inputs
from gameai_operator.settings import PodSettings, Settings
from gameai_operator.world.clock import turning
from gameai_operator.world.roles import refers
from gameai_operator.world.status import rolls
from support import worlds
from support.defaults import added
from support.world_decisions import (
    BEGUN,
    FOREIGN,
    IMAGE,
    NEW,
    OLD,
    ROLES,
    child,
    children,
    said,
    see,
    status_conditions,
)


def test_a_rollout_is_reported_until_every_pod_is_new() -> None:
    assert said(see(facts={"rolling": True}), "Reconciling").reason == "RollingOut"
    assert said(see(facts={"remembered": {TEMPLATE_HASH: "old"}}), "Reconciling").status is True


def test_what_was_said_stands_until_the_controller_has_seen_our_write() -> None:
    before = {
        "conditions": status_conditions((Condition(type="Reconciling", status=True, reason="x"),))
    }
    assert said(see(facts={"observed": False}, status=before), "Reconciling").status is True
    assert said(see(facts={"observed": False}), "Reconciling").status is False


def image(decision: Decision) -> str:
    deployment = next(e for e in decision.wanted or () if e["kind"] == "Deployment")
    return str(deployment["spec"]["template"]["spec"]["containers"][0]["image"])


def test_a_new_image_waits_for_the_worlds_turn() -> None:
    waits = see(settings=NEW, status=OLD, seen={"turn": False})
    assert (waits.turn, image(waits)) == (SlotUse.WAITS, IMAGE)
    assert waits.status["workloadsImage"] == IMAGE
    going_on = see(settings=NEW, facts={"rolling": True}, status=BEGUN, seen={"holds_slot": True})
    assert going_on.turn is SlotUse.HOLDS
    through = see(settings=NEW, status=BEGUN, seen={"holds_slot": True})
    assert through.turn is SlotUse.NONE
    begins = see(settings=NEW, status=OLD)
    assert (begins.turn, image(begins)) == (SlotUse.HOLDS, "gameai-workloads:9")
    assert said(begins, "Reconciling").status is True
    ends = see(status=OLD)
    assert ends.turn is SlotUse.NONE


def test_a_world_of_own_images_takes_no_turn() -> None:
    own = [{"name": "duel", "image": "duel:1", "replicas": 1}]
    assert see(settings=NEW, status=OLD, services=own, seen={"turn": False}).turn is SlotUse.NONE


def test_a_broken_own_image_holds_up_none() -> None:
    both = [{"name": "weather-manager", "replicas": 1}, {"name": "duel", "image": "gone:1"}]
    root = worlds.resource(services=both, status=BEGUN)
    below = {
        key: replace(each, facts=replace(each.facts, rolling="duel" in key.name))
        for key, each in children(root).items()
    }
    seen = {"children": below, "references": {}, "holds_slot": True}
    decision = decided(root, NEW, **seen)
    assert said(decision, "Reconciling").status is True
    assert decision.turn is SlotUse.NONE


def test_a_new_world_waits_for_no_ones_turn_and_takes_none() -> None:
    assert decided(worlds.resource(), turn=False).turn is SlotUse.NONE


def test_children_of_a_former_world_of_this_name_say_nothing() -> None:
    root = worlds.resource()
    old = Owner(kind="GameWorld", name="moor", uid="another")
    below = {key: replace(each, owner=old) for key, each in children(root).items()}
    anchors = turning(worlds.world(), None, 0).anchors
    config = replace(child("moor-world", "ConfigMap", (replace(anchors[0], world=1),)), owner=old)
    decision = decided(root, children=below | {config.key: config}, references={})
    assert said(decision).reason == "Starting"
    assert decision.status["clock"]["worldSeconds"] == "28800"


def test_a_new_operator_or_image_restarts_no_pod_by_itself() -> None:
    assert image(see(settings=NEW, status=OLD, seen={"turn": False})) == IMAGE
    assert image(see(settings=NEW)) == "gameai-workloads:9", "a new world gets the new one"


@pytest.mark.parametrize(
    ("reported_image", "reconciling", "under_way"),
    [("a", "True", True), ("a", "False", False), ("b", "True", False)],
)
def test_status_shows_who_was_under_way_before_a_restart(
    reported_image: str, reconciling: str, under_way: bool
) -> None:
    status = {
        "workloadsImage": reported_image,
        "conditions": [{"type": "Reconciling", "status": reconciling}],
    }
    assert rolls({"status": status}, "a") is under_way
    assert rolls({}, "a") is False


def test_a_world_refers_to_its_tiers_and_to_its_namespace_where_one_is_foreign() -> None:
    own = worlds.resource(roles=ROLES)
    assert refers(own) == (worlds.SILVER,)
    foreign = worlds.resource(roles=[*ROLES, *FOREIGN])
    assert refers(foreign) == (worlds.SILVER, worlds.GOLD, worlds.NAMESPACE)
    assert refers(worlds.resource()) == ()


SECRET = Settings(pods=PodSettings(pull_secrets=("registry",)))


def pod_spec(decision: Decision) -> dict[str, Any]:
    deployment = next(e for e in decision.wanted if e["kind"] == "Deployment")
    found: dict[str, Any] = deployment["spec"]["template"]["spec"]
    return found


def account(decision: Decision) -> dict[str, Any]:
    return dict(next(e for e in decision.wanted if e["kind"] == "ServiceAccount"))


def test_pull_secrets_of_the_chart_stand_in_the_pods_of_own_accounts_too() -> None:
    own = [{"name": "duel", "image": "duel:1", "replicas": 1, "serviceAccountName": "mine"}]
    decision = see(settings=SECRET, services=own)
    assert pod_spec(decision)["imagePullSecrets"] == [{"name": "registry"}]
    assert "imagePullSecrets" not in account(decision), "other controllers write there as well"


def test_pull_secrets_of_a_world_of_the_first_revision_stay_on_its_account() -> None:
    decision = see(settings=SECRET, status=OLD)
    assert account(decision)["imagePullSecrets"] == [{"name": "registry"}]
    assert pod_spec(decision).get("imagePullSecrets") in (None, [])


def test_a_changed_chart_setting_restarts_no_pod() -> None:
    known = {"workloadsImage": IMAGE, "templateRevision": 2}
    notes = {TEMPLATE_INPUTS: Inputs(revision=2, image=IMAGE).text()}
    decision = see(settings=SECRET, status=known, facts={"remembered": notes})
    assert pod_spec(decision).get("imagePullSecrets") in (None, [])
    renewed = see(settings=replace(SECRET, workloads_image="new:1"), status=known)
    assert pod_spec(renewed)["imagePullSecrets"] == [{"name": "registry"}]


def duel(**more: Any) -> list[dict[str, Any]]:
    return [{"name": "duel", "image": "duel:1", "replicas": 1, **more}]


@pytest.mark.parametrize(
    ("revision", "service", "mounted"),
    [
        (2, {}, False),
        (2, {"serviceAccountName": "mine"}, True),
        (2, {"apiToken": True}, True),
        (3, {}, False),
        (3, {"serviceAccountName": "mine"}, False),
        (3, {"serviceAccountName": "mine", "apiToken": True}, True),
    ],
)
def test_pods_get_a_token_for_the_api_where_it_is_asked_for(
    revision: int, service: dict[str, Any], mounted: bool
) -> None:
    found = pod_spec(see(templateRevision=revision, services=duel(**service)))
    assert found["automountServiceAccountToken"] is mounted


def test_a_service_has_tokens_for_gateway_memory_and_bus_and_its_account_may_ask() -> None:
    settings = Settings(pods=PodSettings(audience="two"))
    decision = see(settings=settings, services=duel(serviceAccountName="mine"))
    found = pod_spec(decision)
    [volume] = [each for each in found["volumes"] if each["name"] == "gateway-token"]
    tokens = [each["serviceAccountToken"] for each in volume["projected"]["sources"]]
    assert tokens == [
        {"path": "token", "audience": "two", "expirationSeconds": 3600},
        {"path": "memory-token", "audience": "gameai-memory", "expirationSeconds": 3600},
        {"path": "bus-token", "audience": "gameai-bus", "expirationSeconds": 3600},
    ]
    environment = {each["name"]: each["value"] for each in found["containers"][0]["env"]}
    assert environment["GAMEAI_GATEWAY_TOKEN"] == "/var/run/gameai/token"
    assert environment["GAMEAI_MEMORY_TOKEN"] == "/var/run/gameai/memory-token"
    assert environment["GAMEAI_BUS_TOKEN"] == "/var/run/gameai/bus-token"
    view = next(each for each in decision.wanted if each["kind"] == "WorldView")
    assert view["spec"]["callers"] == ["eldermoor/mine", "eldermoor/moor-world"]
    assert [each["name"] for each in view["spec"]["bus"]["accounts"]] == ["mine"]


def test_an_audience_is_remembered_with_the_pods_that_have_it() -> None:
    document = PodSettings(audience="two").document()
    again = PodSettings.parse(document)
    assert again is not None
    assert again.audience == "two"
    assert "audience" not in PodSettings().document(), "as former releases wrote it"


def test_a_child_that_goes_does_not_count() -> None:
    root = worlds.resource()
    below = {key: replace(each, terminating=True) for key, each in children(root).items()}
    decision = decided(root, children=below, references={})
    assert said(decision).reason == "Starting"
    assert decision.status["services"][0]["ready"] == 0


def test_settings_of_the_cluster_restart_no_world_of_the_first_revision() -> None:
    free = Settings(pods=PodSettings(fixed_ids=False, labels={"a": "b"}))
    assert pod_spec(see(status=OLD)) == pod_spec(see(status=OLD, settings=free))
    assert "runAsUser" not in pod_spec(see(settings=free))["securityContext"]


def test_a_world_in_trouble_before_it_takes_a_new_image_does_not_count_against_it() -> None:
    ready = status_conditions((Condition(type="Ready", status=True, reason="x"),))
    before = {**OLD, "conditions": ready}
    assert see(settings=NEW, status=before).healthy
    assert not see(settings=NEW, status=before, facts={"exceeded": True}).healthy


def test_a_clock_that_never_began_says_so() -> None:
    decision = see(services=[{"name": "nobody"}])
    assert (said(decision, "ClockStarted").status, said(decision, "ClockStarted").reason) == (
        False,
        "NotStarted",
    )


def test_the_api_server_adds_nothing_to_a_status() -> None:
    assert added(crd.GAME_WORLD, see().status) == []
