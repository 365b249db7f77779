from typing import Any

import pytest
from gameai_operator.api.access import Access
from gameai_operator.controller.kind import Decision, RejectedWrite, SlotUse
from gameai_operator.controller.manifest import Key
from gameai_operator.controller.pod_facts import Pod
from gameai_operator.world.status import ASLEEP_SECONDS, GRACE_SECONDS
from support import worlds
from support.world_decisions import (
    BEGUN,
    FOREIGN,
    NEW,
    OLD,
    ROLES,
    children,
    said,
    see,
    status_conditions,
)


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
    conditions = status_conditions(ready.conditions, ago=ago)
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


def made(decision: Decision) -> set[str]:
    return {each["kind"] for each in decision.wanted}
