from dataclasses import replace
from typing import Any

import pytest
from gameai_devcluster.testing import rendering
from gameai_devcluster.testing.rendering import NOW
from gameai_operator.api import crd
from gameai_operator.api.tier import ModelTier
from gameai_operator.controller.conditions import Condition
from gameai_operator.controller.kind import Decision, Observed, RejectedWrite
from gameai_operator.controller.manifest import Key
from gameai_operator.controller.plan import Child
from gameai_operator.controller.pod_facts import Pod
from gameai_operator.kinds import kinds
from gameai_operator.resources.deployment import TEMPLATE_HASH, TEMPLATE_INPUTS
from gameai_operator.settings import NetworkSettings, Policy, Settings
from gameai_operator.tier.decide import decide
from gameai_operator.tier.effective import target_ms
from gameai_operator.tier.objects import Live, deployments
from gameai_operator.tier.revisions import Inputs
from support import tiers
from support.defaults import added


def a_pod(**facts: Any) -> Pod:
    given: dict[str, Any] = {
        "namespace": "eldermoor",
        "name": "p",
        "uid": "u",
        "group": "on-demand",
        "ready": False,
        "terminating": False,
        "force_delete": False,
    }
    return Pod(**(given | facts))


def children(root: dict[str, Any], **facts: Any) -> dict[Key, Child]:
    """The Deployments that this tier renders, complete, with some facts replaced."""
    tier = ModelTier.model_validate(root)
    found = {}
    for document in deployments(tier, Live(on_demand=None, spot=None), tiers.CURRENT):
        key = Key("Deployment", "eldermoor", document["metadata"]["name"])
        found[key] = Child(
            key=key,
            uid="d",
            version=1,
            owner=None,
            terminating=False,
            manifest_hash="",
            intact=True,
            facts=tiers.as_live(document, **facts),
        )
    return found


def decided(
    *pods: Pod,
    live: dict[str, Any] | None = None,
    rejections: tuple[RejectedWrite, ...] = (),
    status: Any = None,
    **spec: Any,
) -> Decision:
    root = tiers.resource(status=status, **spec)
    below = {} if live is None else children(root, **live)
    observed = Observed(root=root, children=below, pods=pods, rejections=rejections, now=NOW)
    return decide(observed, current=tiers.CURRENT, network=NetworkSettings())


def said(decision: Decision, kind: str = "Ready") -> Condition:
    return next(each for each in decision.conditions if each.type == kind)


def test_a_new_tier_is_starting_and_in_progress() -> None:
    decision = decided()
    assert (said(decision).status, said(decision).reason) == (False, "Starting")
    assert said(decision).message == "0 of 1 replicas are ready"
    assert said(decision, "Reconciling").status is True
    assert said(decision, "Stalled").status is False
    assert said(decision, "ArgumentsChecked").reason == "KnownVersion"


def test_a_tier_whose_replicas_answer_is_ready() -> None:
    decision = decided(live={})
    assert (said(decision).status, said(decision).reason) == (True, "AllReplicasReady")
    assert said(decision, "Reconciling").status is False
    assert decision.status["capacity"] == {"onDemand": 0, "spot": 0, "any": 1, "lent": 0}
    assert decision.status["endpoint"] == "http://gold.eldermoor.svc:8000"
    assert decision.status["selector"] == "app.kubernetes.io/name=vllm,gameai.dev/tier=gold"


@pytest.mark.parametrize(
    ("replicas", "minimum", "answering", "status", "reason"),
    [
        (5, 1, 1, True, "MinimumReplicasReady"),
        (5, 3, 2, False, "Starting"),
        (5, 3, 3, True, "MinimumReplicasReady"),
        (2, 9, 1, False, "Starting"),
        (2, 9, 2, True, "AllReplicasReady"),
        (3, 0, 0, False, "Starting"),
        (0, 1, 0, True, "ScaledToZero"),
    ],
)
def test_a_tier_is_ready_when_its_minimum_answers(
    replicas: int, minimum: int, answering: int, status: bool, reason: str
) -> None:
    decision = decided(
        live={"ready": answering}, replicas=replicas, capacity={"minimumOnDemand": minimum}
    )
    assert (said(decision).status, said(decision).reason) == (status, reason)


@pytest.mark.parametrize(
    ("pod", "reason", "words"),
    [
        (
            a_pod(waiting=("CreateContainerConfigError", 'secret "hf" not found')),
            "SecretMissing",
            'Secret "hf" is missing: create it',
        ),
        (
            a_pod(waiting=("CreateContainerConfigError", "couldn't find key token in Secret n/hf")),
            "SecretMissing",
            'Secret "hf" has no key "token": add it',
        ),
        (
            a_pod(unschedulable='0/3 nodes: persistentvolumeclaim "models" not found.'),
            "VolumeClaimMissing",
            'PersistentVolumeClaim "models" is missing',
        ),
    ],
)
def test_what_only_the_user_can_correct_stalls(pod: Pod, reason: str, words: str) -> None:
    decision = decided(pod, live={"ready": 0, "rolling": True})
    for kind, status in (("Ready", False), ("Stalled", True)):
        assert (said(decision, kind).status, said(decision, kind).reason) == (status, reason)
        assert words in said(decision, kind).message
    assert said(decision, "Reconciling").status is False


@pytest.mark.parametrize(
    ("pod", "reason", "words"),
    [
        (a_pod(unschedulable="0/3 nodes"), "InsufficientCapacity", "scheduler: 0/3 nodes"),
        (a_pod(waiting=("ImagePullBackOff", "no host")), "ImagePullFailed", "kubelet: no host"),
        (a_pod(waiting=("CreateContainerError", "x")), "ContainerNotCreated", "kubelet: x"),
        (a_pod(crash="exit code 2"), "EngineCrashing", "vLLM exited: exit code 2"),
        (
            a_pod(side_fault="init container x: denied"),
            "ContainerFailing",
            "init container x: denied",
        ),
        (a_pod(gates="example.com/quota"), "SchedulingGated", "example.com/quota"),
        (a_pod(unready="elb/tg"), "ReadinessGatesClosed", "elb/tg"),
        (
            a_pod(dead="Evicted: too much"),
            "PodsEvicted",
            "Evicted: too much (see spec.model.source or spec.model.cache)",
        ),
        (a_pod(dead="NodeShutdown: bye"), "PodsFailed", "NodeShutdown: bye"),
        (
            a_pod(unschedulable="0/3 nodes: 3 node(s) didn't match Pod's node affinity/selector"),
            "InsufficientCapacity",
            "add such nodes, or change spec.hardware.instanceTypes, spec.hardware.nodeSelector, spec.capacity.spotPercent",
        ),
    ],
)
def test_what_may_heal_by_itself_does_not_stall(pod: Pod, reason: str, words: str) -> None:
    decision = decided(pod, live={"ready": 0, "rolling": True})
    assert (said(decision).status, said(decision).reason) == (False, reason)
    assert words in said(decision).message
    assert said(decision, "Stalled").status is False
    assert said(decision, "Reconciling").status is True


def test_a_dead_pod_never_speaks_for_a_tier_whose_pods_all_answer() -> None:
    dead = a_pod(crash="exit code 1 after 2 restarts: Error", dead="Evicted: too much")
    assert said(decided(dead, live={})).message == "1 of 1 replicas are ready"
    living = a_pod(unschedulable="0/3 nodes")
    short = decided(dead, living, live={"ready": 0})
    assert said(short).reason == "InsufficientCapacity", "a living pod says why"


def test_a_tier_without_gpus_needs_an_image_that_needs_none() -> None:
    decision = decided(live={"ready": 0}, hardware={"gpus": 0})
    assert (said(decision).reason, said(decision, "Stalled").status) == ("ImageNeedsGPU", True)
    assert "spec.engine.vllm.image" in said(decision).message
    own = {"vllm": {"image": "registry.example:5000/vllm-cpu:v0.32.0"}}
    assert said(decided(hardware={"gpus": 0}, engine=own)).reason == "Starting"
    assert said(decided(live={}, hardware={"gpus": 0})).status is True, "it answers all the same"


def test_all_mistakes_of_a_tier_are_reported_at_once() -> None:
    pod = a_pod(waiting=("CreateContainerConfigError", 'secret "hf" not found'))
    args = {"vllm": {"args": ["--port=1", "--max-num-seqs 3"]}}
    message = said(decided(pod, live={"ready": 0}, engine=args), "Stalled").message
    assert "--port is not allowed in args" in message
    assert "--max-num-seqs=VALUE" in message
    assert 'Secret "hf" is missing' in message


def test_a_roll_out_without_room_for_a_surge_names_the_remedy() -> None:
    pod = a_pod(unschedulable="0/39 nodes are available")
    decision = decided(pod, live={"rolling": True, "exceeded": True})
    reconciling = said(decision, "Reconciling")
    assert (reconciling.status, reconciling.reason) == (True, "ProgressDeadlineExceeded")
    assert "maxSurge: 0, maxUnavailable: 1" in reconciling.message
    crash = a_pod(crash="exit code 1")
    other = said(decided(crash, live={"rolling": True, "exceeded": True}), "Reconciling")
    assert "EngineCrashing" in other.message
    assert "maxSurge" not in other.message
    silent = said(decided(live={"rolling": True, "exceeded": True}), "Reconciling")
    assert silent.reason == "ProgressDeadlineExceeded"


def test_a_number_of_replicas_that_a_policy_overrides_is_reported() -> None:
    decision = decided(live={"asked": 2, "wanted": 1, "ready": 1}, replicas=2)
    assert "2 replicas were requested, but the object has 1" in said(decision).message


def test_pods_that_the_api_server_refuses_are_reported() -> None:
    decision = decided(live={"ready": 0, "create_fault": "exceeded quota"})
    assert (said(decision).reason, said(decision).message) == (
        "PodsRefused",
        "0 of 1 replicas are ready; API server: exceeded quota",
    )


def test_pods_that_answer_or_go_are_no_fault() -> None:
    pods = (a_pod(ready=True, unschedulable="x"), a_pod(terminating=True, unschedulable="x"))
    assert said(decided(*pods, live={})).reason == "AllReplicasReady"


def test_a_ready_tier_shows_what_keeps_the_rest_away() -> None:
    decision = decided(a_pod(unschedulable="0/3"), live={"ready": 1}, replicas=3)
    assert (
        said(decision).message == "1 of 3 replicas are ready; InsufficientCapacity: scheduler: 0/3"
    )


def test_the_same_words_are_reported_whatever_the_order_of_pods() -> None:
    pods = [a_pod(unschedulable=text) for text in ("b", "a", "")]
    messages = {said(decided(*order, live={"ready": 0})).message for order in (pods, pods[::-1])}
    assert messages == {"0 of 1 replicas are ready; scheduler: a"}


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
    assert split.status["capacity"] == {"onDemand": 1, "spot": 1, "any": 0, "lent": 0}


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
        ({"wanted": 3, "replicas": 3}, 80, False),
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
