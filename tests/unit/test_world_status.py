import datetime
from dataclasses import replace
from typing import Any

import pytest
from gameai_devcluster.testing.rendering import NOW, decided
from gameai_operator.api import crd
from gameai_operator.api.access import Access
from gameai_operator.controller.conditions import Condition
from gameai_operator.controller.kind import Decision, RejectedWrite, SlotUse
from gameai_operator.controller.manifest import Key, Owner
from gameai_operator.controller.plan import Child
from gameai_operator.controller.pod_facts import Pod
from gameai_operator.resources.deployment import TEMPLATE_HASH, TEMPLATE_INPUTS, Deployment
from gameai_operator.settings import PodSettings, Settings
from gameai_operator.world.clock import turning
from gameai_operator.world.revisions import Inputs
from gameai_operator.world.roles import refers
from gameai_operator.world.status import ASLEEP_SECONDS, GRACE_SECONDS, rolls
from support import tiers, worlds
from support.defaults import added

ROLES = [{"name": "dialogue", "tierRef": {"name": "silver"}}]
FOREIGN = [{"name": "reaction", "tierRef": {"name": "gold", "namespace": "shared"}}]
IMAGE = Settings().workloads_image


def children(root: dict[str, Any], **facts: Any) -> dict[Key, Child]:
    """The Deployments that the world wants, complete; `facts` replace some."""
    found = {}
    used = root["status"].get("workloadsImage", IMAGE)
    rendered = decided(root, Settings(workloads_image=used), references=worlds.READY_TIERS)
    for document in rendered.wanted:
        if document["kind"] != "Deployment":
            continue
        name = document["metadata"]["name"]
        replicas = rendered.replicas[Key("Deployment", "eldermoor", name)]
        given: dict[str, Any] = {
            "wanted": replicas,
            "asked": replicas,
            "apart": True,
            "replicas": replicas,
            "updated": replicas,
            "ready": replicas,
            "remembered": {TEMPLATE_HASH: document["metadata"]["annotations"][TEMPLATE_HASH]},
        }
        live: Deployment = tiers.deployment(**(given | facts))
        found[Key("Deployment", "eldermoor", name)] = child(name, "Deployment", live)
    return found


def child(name: str, kind: str, facts: Any) -> Child:
    return Child(
        key=Key(kind, "eldermoor", name),
        uid="u",
        version=1,
        owner=None,
        terminating=False,
        manifest_hash="",
        intact=True,
        facts=facts,
    )


def told(conditions: tuple[Condition, ...], *, ago: float = 0.0) -> list[dict[str, Any]]:
    """Conditions as status has them, all of them `ago` seconds old."""
    since = (NOW - datetime.timedelta(seconds=ago)).strftime("%Y-%m-%dT%H:%M:%SZ")
    return [
        {
            "type": each.type,
            "status": each.word,
            "reason": each.reason,
            "message": each.message,
            "lastTransitionTime": since,
        }
        for each in conditions
    ]


def see(
    *pods: Pod,
    facts: dict[str, Any] | None = None,
    references: dict[Key, Any] | None = None,
    status: Any = None,
    seen: dict[str, Any] | None = None,
    settings: Settings | None = None,
    **spec: Any,
) -> Decision:
    root = worlds.resource(status=status, **spec)
    below = children(root, **(facts or {}))
    known = worlds.READY_TIERS if references is None else references
    given: dict[str, Any] = {"pods": pods, "children": below, "references": known}
    return decided(root, settings, **(given | (seen or {})))


def said(decision: Decision, kind: str = "Ready") -> Condition:
    return next(each for each in decision.conditions if each.type == kind)


def waiting(reason: str, message: str) -> Pod:
    return Pod(
        namespace="eldermoor",
        name="p",
        uid="p",
        group="weather-manager",
        ready=False,
        terminating=False,
        force_delete=False,
        waiting=(reason, message),
    )


def test_a_world_whose_services_and_tiers_answer_is_ready() -> None:
    decision = see(roles=ROLES)
    assert (said(decision).status, said(decision).reason) == (True, "WorldReady")
    assert said(decision, "Reconciling").status is False
    assert decision.status["readyServices"] == "1/1"
    assert decision.status["services"] == [
        {
            "name": "weather-manager",
            "ready": 1,
            "replicas": 1,
            "endpoint": "moor-weather-manager.eldermoor.svc:50051",
        }
    ]
    assert decision.requeue_after_seconds is None


def test_a_world_without_services_is_ready_and_says_so() -> None:
    decision = see(services=[])
    assert said(decision).status is True
    assert said(decision, "ServicesReady").reason == "NoServices"
    assert "services" not in decision.status


def test_a_service_scaled_to_zero_is_not_missed() -> None:
    decision = see(services=[{"name": "weather-manager", "replicas": 0}])
    assert said(decision).status is True
    assert decision.status["readyServices"] == "0/0"


@pytest.mark.parametrize(
    ("pods", "reason", "words", "stalled"),
    [
        ((), "Starting", "no ready pods: weather-manager", False),
        (
            (waiting("ErrImagePull", "no such host"),),
            "ImagePullFailed",
            "kubelet: no such host",
            False,
        ),
        (
            (waiting("CreateContainerConfigError", 'secret "duel-keys" not found'),),
            "SecretMissing",
            'Secret "duel-keys" is missing: create it, or change spec.services[].envFrom',
            True,
        ),
    ],
)
def test_a_service_that_does_not_answer_says_why(
    pods: tuple[Pod, ...], reason: str, words: str, stalled: bool
) -> None:
    decision = see(*pods, facts={"ready": 0})
    assert (said(decision).status, said(decision).reason) == (False, reason)
    assert words in said(decision).message
    assert said(decision, "Stalled").status is stalled


def test_a_hibernated_world_says_when_time_stands_still_and_what_its_tiers_cost() -> None:
    view = worlds.view(cost_per_hour="1.006")
    awake = see(roles=ROLES)
    decision = see(
        state="Hibernated",
        roles=ROLES,
        references={worlds.SILVER: view},
        status={"clock": awake.status["clock"]},
    )
    message = said(decision).message
    assert f"world time is stopped from {decision.status['clock']['effectiveAt']}" in message
    assert "its tiers keep running: eldermoor/silver (1.006 USD/h)" in message
    assert decision.requeue_after_seconds == ASLEEP_SECONDS
    assert f"from {decision.status['clock']['effectiveAt']} on" in message


def test_broken_archetypes_are_seen_without_looking_for_them() -> None:
    decision = see(archetypes={"configMap": {"name": "nowhere"}})
    assert (said(decision).status, said(decision).reason) == (True, "Degraded")
    assert said(decision, "Degraded").reason == "ArchetypesMissing"


def test_a_misspelt_tier_is_reported_with_the_nearest_name() -> None:
    decision = see(
        roles=ROLES,
        references={},
        seen={"neighbours": lambda: (Key("ModelTier", "eldermoor", "silvr"),)},
    )
    assert "did you mean silvr?" in said(decision, "TiersReady").message


def test_a_hibernated_world_is_ready_and_wants_no_pods() -> None:
    decision = see(state="Hibernated", roles=ROLES, references={worlds.SILVER: None})
    assert (said(decision).status, said(decision).reason) == (True, "Hibernated")
    assert set(decision.replicas.values()) == {0}


@pytest.mark.parametrize(
    ("view", "reason"),
    [
        (None, "TierMissing"),
        (worlds.view(ready=False, reason="Starting"), "TierNotReady"),
    ],
)
def test_a_tier_that_is_not_there_or_not_ready_is_named(view: Any, reason: str) -> None:
    decision = see(roles=ROLES, references={worlds.SILVER: view})
    assert said(decision, "TiersReady").reason == reason
    assert (said(decision).status, said(decision).reason) == (False, reason)
    assert "tier eldermoor/silver" in said(decision).message
    assert said(decision, "Degraded").reason == reason


def test_a_missing_and_a_refused_foreign_tier_read_the_same() -> None:
    closed = worlds.view(access=Access())
    refused = see(roles=FOREIGN, references={worlds.GOLD: closed, worlds.NAMESPACE: {}})
    missing = see(roles=FOREIGN, references={worlds.GOLD: None, worlds.NAMESPACE: {}})
    assert said(refused, "TiersReady") == said(missing, "TiersReady")
    assert said(refused).reason == "RefNotPermitted"


def test_the_worst_of_several_tiers_is_reported() -> None:
    decision = see(roles=[*ROLES, *FOREIGN], references={})
    assert said(decision, "TiersReady").reason == "RefNotPermitted"


def lost(*, ago: float, generation: int = 1, tiers_lost: bool = True) -> Decision:
    """A world that was Ready; its tier is gone, `tiers_lost` so long ago."""
    ready = see(roles=ROLES)
    conditions = told(ready.conditions, ago=ago)
    for each in conditions:
        if each["type"] == "TiersReady" and tiers_lost:
            each["status"] = "False"
    status = {**ready.status, "observedGeneration": generation, "conditions": conditions}
    return see(roles=ROLES, references={worlds.SILVER: None}, status=status)


def test_a_tier_lost_a_moment_ago_degrades_a_world_that_stays_ready() -> None:
    decision = lost(ago=500, tiers_lost=False)
    assert (said(decision).status, said(decision).reason) == (True, "Degraded")
    assert said(decision, "Degraded").reason == "TierLost"
    assert decision.requeue_after_seconds == GRACE_SECONDS


def test_the_grace_of_a_lost_tier_runs_out() -> None:
    soon = lost(ago=GRACE_SECONDS - 20)
    assert said(soon).status is True
    assert soon.requeue_after_seconds == 20
    over = lost(ago=GRACE_SECONDS)
    assert (said(over).status, said(over).reason) == (False, "TierMissing")
    assert said(over, "Degraded").reason == "TierMissing"
    assert over.requeue_after_seconds is None


def test_an_edit_of_something_else_does_not_end_the_grace() -> None:
    assert said(lost(ago=GRACE_SECONDS - 20, generation=0)).status is True


def test_a_role_newly_pointed_at_nothing_has_no_grace() -> None:
    assert said(lost(ago=500, generation=0, tiers_lost=False)).status is False


def test_a_lost_tier_changes_no_pod_template() -> None:
    def templates(decision: Decision) -> list[Any]:
        return [e["spec"]["template"] for e in decision.wanted or () if e["kind"] == "Deployment"]

    assert templates(lost(ago=0)) == templates(see(roles=ROLES))


def test_a_mistake_is_stalled_and_leaves_children_and_clock_alone() -> None:
    status = {"clock": see().status["clock"], "templateRevision": 1, "workloadsImage": "old"}
    decision = see(
        settings=NEW,
        services=[{"name": "nobody"}],
        seen={"children": children(worlds.resource())},
        clock={"dayLengthMinutes": 48, "speed": "7", "paused": False},
        status=status,
    )
    assert decision.status["workloadsImage"] == "old", "a world that renders nothing took no image"
    assert made(decision) == {"NetworkPolicy", "WorldView"}, "neither starts a pod"
    kept = {(key.kind, key.name) for key in decision.keep}
    assert kept >= {("Deployment", "moor-weather-manager"), ("ConfigMap", "moor-world")}
    assert said(decision).reason == said(decision, "Stalled").reason == "UnknownService"
    assert decision.status["clock"]["speed"] == "1"
    assert decision.turn is SlotUse.NONE


def test_a_mistake_in_a_running_service_sends_no_alert_and_stops_no_hibernation() -> None:
    wrong = [{"name": "weather-manager", "replicas": 1, "settings": {"climate": "Maritme"}}]
    below = {"children": children(worlds.resource())}
    decision = see(services=wrong, seen=below)
    assert (said(decision).status, said(decision).reason) == (True, "WorldReady")
    assert "did you mean Maritime?" in said(decision).message
    assert said(decision, "Stalled").reason == "InvalidSetting"
    asleep = see(services=wrong, seen=below, state="Hibernated")
    assert asleep.replicas == {Key("Deployment", "eldermoor", "moor-weather-manager"): 0}


def test_a_service_that_a_mistake_hides_is_kept_and_ends_only_in_hibernation() -> None:
    below = {"children": children(worlds.resource())}
    key = Key("Deployment", "eldermoor", "moor-weather-manager")
    renamed: dict[str, Any] = {"services": [{"name": "weather-manger"}], "seen": below}
    assert key in see(**renamed).keep
    assert key not in see(**renamed).replicas
    assert see(**renamed, state="Hibernated").replicas[key] == 0


def test_all_mistakes_of_a_world_are_reported_at_once() -> None:
    network = {"allowFrom": [{"podSelector": {"matchLabels": {"not a key!": "x"}}}]}
    message = said(see(services=[{"name": "nobody"}], network=network), "Stalled").message
    assert "not a key!" in message
    assert "nobody is not in the catalogue" in message


def test_a_revision_that_is_unknown_is_stalled() -> None:
    decision = see(templateRevision=99, status={"workloadsImage": "old", "templateRevision": 1})
    assert made(decision) == {"NetworkPolicy", "Service", "WorldView"}
    assert said(decision).reason == "TemplateRevisionUnknown"
    assert decision.status["workloadsImage"] == "old"


def test_a_refused_write_is_stalled() -> None:
    refusal = RejectedWrite(key=Key("Service", "n", "x"), reason="NameConflict", message="taken")
    decision = see(seen={"rejections": (refusal,)})
    assert (said(decision, "Stalled").status, said(decision, "Stalled").reason) == (
        True,
        "NameConflict",
    )
    assert said(decision).status is True, "everything answers all the same"
    assert "NameConflict: taken" in said(decision).message
    silent = see(facts={"ready": 0}, seen={"rejections": (refusal,)})
    assert (said(silent).status, said(silent).reason) == (False, "NameConflict")


def test_a_write_that_keeps_failing_is_reported_with_the_servers_words() -> None:
    failure = RejectedWrite(
        key=Key("Service", "n", "x"), reason="ApplyFailing", message="500 webhook"
    )
    decision = see(seen={"failures": (failure,)})
    reconciling = said(decision, "Reconciling")
    assert (reconciling.status, reconciling.reason, reconciling.message) == (
        True,
        "ApplyFailing",
        "500 webhook",
    )


def test_a_halted_roll_out_is_reported_by_the_worlds_that_wait() -> None:
    waits = see(settings=NEW, status=OLD, seen={"turn": False, "halted": "3 of the first 4"})
    assert said(waits, "Reconciling").reason == "RolloutHalted"
    assert "3 of the first 4" in said(waits, "Reconciling").message


def test_a_world_that_makes_no_progress_gives_its_turn_back() -> None:
    facts = {"rolling": True, "exceeded": True}
    decision = see(settings=NEW, facts=facts, status=BEGUN, seen={"holds_slot": True})
    assert decision.turn is SlotUse.FAILED
    later = see(settings=NEW, facts=facts, status=BEGUN)
    assert later.turn is SlotUse.FAILED, "its failure counts for as long as it lasts"


def test_a_rollout_is_reported_until_every_pod_is_new() -> None:
    assert said(see(facts={"rolling": True}), "Reconciling").reason == "RollingOut"
    assert said(see(facts={"remembered": {TEMPLATE_HASH: "old"}}), "Reconciling").status is True


def test_what_was_said_stands_until_the_controller_has_seen_our_write() -> None:
    before = {"conditions": told((Condition(type="Reconciling", status=True, reason="x"),))}
    assert said(see(facts={"observed": False}, status=before), "Reconciling").status is True
    assert said(see(facts={"observed": False}), "Reconciling").status is False


NEW = Settings(workloads_image="gameai-workloads:9")
OLD: dict[str, Any] = {"workloadsImage": IMAGE, "templateRevision": 1}


BEGUN: dict[str, Any] = {"workloadsImage": "gameai-workloads:9", "templateRevision": 1}


def made(decision: Decision) -> set[str]:
    return {each["kind"] for each in decision.wanted}


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
    ("told_image", "reconciling", "under_way"),
    [("a", "True", True), ("a", "False", False), ("b", "True", False)],
)
def test_status_shows_who_was_under_way_before_a_restart(
    told_image: str, reconciling: str, under_way: bool
) -> None:
    status = {
        "workloadsImage": told_image,
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


def test_a_service_has_a_token_for_the_gateway_and_its_account_may_ask() -> None:
    settings = Settings(pods=PodSettings(audience="two"))
    decision = see(settings=settings, services=duel(serviceAccountName="mine"))
    found = pod_spec(decision)
    [volume] = [each for each in found["volumes"] if each["name"] == "gateway-token"]
    [source] = volume["projected"]["sources"]
    token = {"path": "token", "audience": "two", "expirationSeconds": 3600}
    assert source == {"serviceAccountToken": token}
    environment = {each["name"]: each["value"] for each in found["containers"][0]["env"]}
    assert environment["GAMEAI_GATEWAY_TOKEN"] == "/var/run/gameai/token"
    view = next(each for each in decision.wanted if each["kind"] == "WorldView")
    assert view["spec"]["callers"] == ["eldermoor/mine", "eldermoor/moor-world"]


def test_an_audience_is_remembered_with_the_pods_that_have_it() -> None:
    told = PodSettings(audience="two").document()
    again = PodSettings.parse(told)
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
    ready = told((Condition(type="Ready", status=True, reason="x"),))
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
