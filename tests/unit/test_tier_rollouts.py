from dataclasses import replace
from typing import Any

import pytest
from gameai_devcluster.testing import rendering
from gameai_devcluster.testing.rendering import NOW
from gameai_operator.api import crd
from gameai_operator.api.tier import ModelTier
from gameai_operator.controller.kind import Decision, Observed, RejectedWrite
from gameai_operator.controller.manifest import Key
from gameai_operator.kinds import kinds
from gameai_operator.resources.deployment import TEMPLATE_HASH, TEMPLATE_INPUTS
from gameai_operator.settings import NetworkSettings, Policy, Settings
from gameai_operator.tier.decide import decide
from gameai_operator.tier.effective import takes_jobs, target_ms
from gameai_operator.tier.objects import deployments
from gameai_operator.tier.revisions import Inputs
from support import tiers
from support.defaults import added
from support.tier_decisions import a_pod, children, decided, said


def kinds_of(decision: Decision) -> set[str]:
    return {each["kind"] for each in decision.wanted}


ON_DEMAND_KEY = Key("Deployment", "eldermoor", "gold-on-demand")


SPOT_KEY = Key("Deployment", "eldermoor", "gold-spot")


def test_a_refused_argument_stalls_and_freezes_the_pod_template_alone() -> None:
    args = {"vllm": {"args": ["--uds=x"]}}
    decision = decided(live={"ready": 7}, engine=args, replicas=7)
    assert ON_DEMAND_KEY in decision.keep
    assert decision.replicas[ON_DEMAND_KEY] == 7
    assert kinds_of(decision) == {
        "ServiceAccount",
        "NetworkPolicy",
        "Service",
        "PodDisruptionBudget",
    }
    assert said(decision, "Stalled").reason == "ArgumentRefused"
    assert (said(decision).status, said(decision).reason) == (True, "AllReplicasReady")
    assert said(decision, "ArgumentsChecked").status is False


def test_another_vllm_version_is_applied_unchecked() -> None:
    decision = decided(engine={"vllm": {"image": "v:v0.1.2", "args": ["--new"]}})
    assert "Deployment" in kinds_of(decision)
    checked = said(decision, "ArgumentsChecked")
    assert (checked.status, checked.reason) == (False, "UnknownVersion")
    assert "0.1.2" in checked.message


def test_an_unknown_template_revision_stalls_and_keeps_what_is_there() -> None:
    decision = decided(status={"templateRevision": 99})
    assert "Deployment" not in kinds_of(decision)
    assert ON_DEMAND_KEY in decision.keep
    assert said(decision, "Stalled").reason == "TemplateRevisionUnknown"
    assert decision.status["templateRevision"] == 99


def test_a_refused_object_stalls_with_its_reason() -> None:
    refusal = RejectedWrite(key=Key("Service", "n", "gold"), reason="NameConflict", message="taken")
    decision = decided(rejections=(refusal,))
    assert (said(decision, "Stalled").reason, said(decision).reason) == ("NameConflict",) * 2


def test_a_changed_template_is_a_roll_out_before_it_begins() -> None:
    decision = decided(live={"remembered": {TEMPLATE_HASH: "other"}})
    assert said(decision, "Reconciling").reason == "RollingOut"


@pytest.mark.parametrize("before", ["True", "False"])
def test_an_unseen_write_keeps_what_was_said_of_the_roll_out(before: str) -> None:
    said_before = {
        "type": "Reconciling",
        "status": before,
        "reason": "X",
        "lastTransitionTime": "2026-11-22T10:00:00Z",
    }
    decision = decided(live={"observed": False}, status={"conditions": [said_before]})
    assert said(decision, "Reconciling").word == before


def test_pods_are_counted_by_the_capacity_that_they_ask_for() -> None:
    split = decided(live={}, capacity={"spotPercent": 50}, replicas=2)
    assert split.status["capacity"] == {
        "onDemand": 1,
        "spot": 1,
        "any": 0,
        "lent": 0,
        "headroom": 0,
    }


def test_a_tier_without_a_known_price_shows_no_cost() -> None:
    assert "cost" not in decided(hardware={"gpus": 0}).status
    waiting = decided(a_pod(), replicas=2).status["cost"]
    assert waiting == {"perHour": "0.000", "wantedPerHour": "2.012", "instanceType": "g5.xlarge"}
    placed = decided(a_pod(placed=True), replicas=2).status["cost"]
    assert placed["perHour"] == "1.006", "what has no node costs nothing"


def with_spot(spot: dict[str, Any], **spec: Any) -> Decision:
    """A tier that has both Deployments, and is to have none on spot nodes any more."""
    root = tiers.resource(**spec)
    before = tiers.resource(**{**spec, "capacity": {"spotPercent": 80}})
    below = children(root)
    facts = replace(children(before)[SPOT_KEY].facts, **spot)
    below[SPOT_KEY] = replace(below[ON_DEMAND_KEY], key=SPOT_KEY, facts=facts)
    observed = Observed(root=root, children=below, pods=(), now=NOW)
    return decide(observed, current=tiers.CURRENT, network=NetworkSettings())


@pytest.mark.parametrize(
    ("facts", "kept"),
    [
        ({}, True),
        ({"wanted": 0, "replicas": 1}, True),
        ({"wanted": 0, "replicas": 0}, False),
    ],
)
def test_the_spot_deployment_goes_once_it_has_no_pods(facts: dict[str, Any], kept: bool) -> None:
    decision = with_spot(facts)
    assert (SPOT_KEY in decision.keep) is kept
    assert (SPOT_KEY._replace(kind="PodDisruptionBudget") in decision.keep) is kept


@pytest.mark.parametrize(
    ("facts", "percent", "kept"),
    [
        ({"wanted": 3, "replicas": 3}, 0, True),
        ({"wanted": 0, "replicas": 1}, 0, True),
        ({"wanted": 0, "replicas": 0}, 0, False),
        ({"wanted": 3, "replicas": 3, "updated": 3}, 80, False),
        ({"wanted": 3, "replicas": 3, "updated": 2}, 80, True),
    ],
)
def test_the_service_account_of_a_retiring_spot_deployment_stays_as_long_as_its_pods(
    facts: dict[str, Any], percent: int, kept: bool
) -> None:
    account = Key("ServiceAccount", "eldermoor", "gold")
    spec = {"serviceAccountName": "x", "capacity": {"spotPercent": percent}}
    assert (account in with_spot(facts, **spec).keep) is kept


def test_the_latency_target_is_the_specs_or_that_of_the_class() -> None:
    assert target_ms(tiers.tier()) == 16
    assert target_ms(tiers.tier(latency={"targetMs": 40})) == 40


def test_an_announced_event_that_cannot_be_read_stalls_and_holds_up_nothing() -> None:
    event = {"name": "raid", "cron": "0 25 * * 5", "durationMinutes": 60, "minReplicas": 7}
    decision = decided(live={}, scaling={"maxReplicas": 9, "schedule": [event]})
    assert said(decision, "Stalled").reason == "ScheduleInvalid"
    assert "spec.scaling.schedule[raid].cron" in said(decision, "Stalled").message
    assert "Deployment" in kinds_of(decision)


@pytest.mark.parametrize(("replicas", "wanted"), [(1, 3), (5, 5), (40, 9), (None, 3)])
def test_bounds_hold_whoever_wrote_the_number(replicas: int | None, wanted: int) -> None:
    decision = decided(live={}, replicas=replicas, scaling={"minReplicas": 3, "maxReplicas": 9})
    assert decision.status["wantedReplicas"] == wanted


def test_a_tier_whose_spot_deployment_cannot_be_made_runs_on_demand() -> None:
    decision = decided(
        live={}, engine={"vllm": {"args": ["--uds=x"]}}, replicas=5, capacity={"spotPercent": 80}
    )
    broken = decision.replicas
    assert broken[ON_DEMAND_KEY] + broken[SPOT_KEY] >= 5


def test_an_old_service_account_stays_while_old_pods_may_still_be_made() -> None:
    account = Key("ServiceAccount", "eldermoor", "gold")
    assert account in decided(live={"rolling": True}, serviceAccountName="x").keep
    # A ReplicaSet of the former template wants pods that it has not created yet.
    assert account in decided(live={"updated": 0, "replicas": 0}, serviceAccountName="x").keep
    assert account in decided(live={"observed": False}, serviceAccountName="x").keep
    assert account not in decided(live={}, serviceAccountName="x").keep


def test_the_revision_in_use_is_reported() -> None:
    remembered = {TEMPLATE_INPUTS: Inputs(revision=1, capacity=tiers.CURRENT.capacity).text()}
    assert decided(live={"remembered": remembered}).status["templateRevision"] == 1


@pytest.mark.parametrize(
    ("allowed", "stalled"),
    [((), True), (("/mnt/models",), False), (("/mnt/models/",), False), (("/mnt",), True)],
)
def test_a_cache_on_the_node_lies_only_where_the_chart_allows(
    allowed: tuple[str, ...], stalled: bool
) -> None:
    source = {"huggingFace": {"repository": "a/b"}}
    cache = {"hostPath": {"path": "/mnt/models"}}
    root = tiers.resource(model={"source": source, "cache": cache})
    decision = rendering.decided(root, Settings(policy=Policy(host_paths=allowed)))
    assert said(decision, "Stalled").status is stalled
    assert ("Deployment" not in kinds_of(decision)) is stalled
    if stalled:
        assert said(decision, "Stalled").reason == "HostPathNotAllowed"
        assert "policy.allowedHostPaths" in said(decision).message


def test_a_tier_is_under_way_in_no_paced_rollout() -> None:
    assert not kinds(Settings())["ModelTier"].rolls(tiers.resource())


@pytest.mark.parametrize("spot", [0, 80])
def test_the_api_server_adds_nothing_to_a_status(spot: int) -> None:
    assert added(crd.MODEL_TIER, decided(capacity={"spotPercent": spot}).status) == []


def agent_images(live: dict[Key, Any], current: Inputs, **spec: Any) -> set[str]:
    root = tiers.resource(capacity={"spotPercent": 50}, replicas=4, **spec)
    observed = Observed(root=root, children=live, pods=(), now=NOW)
    made = decide(observed, current=current, network=NetworkSettings())
    templates = [e["spec"]["template"] for e in made.wanted if e["kind"] == "Deployment"]
    return {each["spec"]["initContainers"][0]["image"] for each in templates}


def test_a_new_image_of_the_agent_comes_with_the_next_change_that_replaces_pods() -> None:
    live = children(tiers.resource(capacity={"spotPercent": 50}, replicas=4))
    newer = replace(tiers.CURRENT, agent_image="gameai-workloads:0.2.0")
    assert agent_images(live, newer) == {tiers.AGENT_IMAGE}
    assert agent_images(live, newer, rollout={"maxSurge": 2}) == {tiers.AGENT_IMAGE}
    assert agent_images(live, newer, podLabels={"team": "npc"}) == {newer.agent_image}
    # A Deployment that was not written yet follows the one that was.
    tier = tiers.tier(capacity={"spotPercent": 50}, replicas=4, podLabels={"team": "npc"})
    [written, _] = deployments(tier, tiers.NOTHING, newer)
    half = live | {ON_DEMAND_KEY: replace(live[ON_DEMAND_KEY], facts=tiers.as_live(written))}
    assert agent_images(half, newer, podLabels={"team": "npc"}) == {newer.agent_image}


def test_a_rollout_says_what_keeps_its_pods_from_being_ready() -> None:
    words = 'pods "gold-" is forbidden: error looking up service account'
    live = {"updated": 0, "rolling": True, "create_fault": words}
    found = said(decided(live=live), "Reconciling")
    assert found.reason == "RollingOut"
    assert found.message.endswith(f"are ready yet; PodsRefused: API server: {words}")


@pytest.mark.parametrize(
    ("tier_class", "takes"), [("Gold", False), ("Silver", False), ("Bronze", True)]
)
def test_bronze_alone_takes_jobs(tier_class: str, takes: bool) -> None:
    document = tiers.resource()
    document["spec"]["class"] = tier_class
    assert takes_jobs(ModelTier.model_validate(document)) is takes
