from typing import Any

import pytest
import tiers
from gameai_devcluster.testing import rendering
from gameai_devcluster.testing.rendering import NOW
from gameai_operator.api.tier import ModelTier
from gameai_operator.engine.conditions import Condition
from gameai_operator.engine.deployments import TEMPLATE_HASH, TEMPLATE_INPUTS
from gameai_operator.engine.kind import Decision, Refusal, Sight
from gameai_operator.engine.manifest import Key
from gameai_operator.engine.plan import Child
from gameai_operator.engine.pods import Pod
from gameai_operator.kinds import kinds
from gameai_operator.settings import NetworkSettings, Settings
from gameai_operator.tier.decide import decide
from gameai_operator.tier.objects import Live, objects
from gameai_operator.tier.revisions import Inputs


def a_pod(**facts: Any) -> Pod:
    given: dict[str, Any] = {
        "namespace": "eldermoor",
        "name": "p",
        "uid": "u",
        "group": "on-demand",
        "ready": False,
        "terminating": False,
        "hasten": False,
    }
    return Pod(**(given | facts))


def children(root: dict[str, Any], **facts: Any) -> dict[Key, Child]:
    """The Deployments that this tier renders, complete, with some facts replaced."""
    tier = ModelTier.model_validate(root)
    found = {}
    for document in objects(
        tier, Live(on_demand=None, spot=None), tiers.CURRENT, NetworkSettings()
    ):
        if document["kind"] != "Deployment":
            continue
        key = Key("Deployment", "eldermoor", document["metadata"]["name"])
        found[key] = Child(
            key=key,
            uid="d",
            version=1,
            owner=None,
            terminating=False,
            manifest_hash="",
            facts=tiers.as_live(document, **facts),
        )
    return found


def decided(
    *pods: Pod,
    live: dict[str, Any] | None = None,
    refusals: tuple[Refusal, ...] = (),
    status: Any = None,
    **spec: Any,
) -> Decision:
    root = tiers.resource(status=status, **spec)
    below = {} if live is None else children(root, **live)
    sight = Sight(root=root, children=below, pods=pods, refusals=refusals, now=NOW)
    return decide(sight, current=tiers.CURRENT, network=NetworkSettings())


def said(decision: Decision, kind: str = "Ready") -> Condition:
    return next(each for each in decision.conditions if each.type == kind)


def test_a_new_tier_is_starting_and_in_progress() -> None:
    decision = decided()
    assert (said(decision).status, said(decision).reason) == (False, "Starting")
    assert said(decision).message == "0 of 1 replicas answer"
    assert said(decision, "Reconciling").status is True
    assert said(decision, "Stalled").status is False
    assert said(decision, "ArgumentsChecked").reason == "KnownVersion"


def test_a_tier_whose_replicas_answer_is_ready() -> None:
    decision = decided(live={})
    assert (said(decision).status, said(decision).reason) == (True, "AllReplicasReady")
    assert said(decision, "Reconciling").status is False
    assert decision.status["capacity"] == {"onDemand": 1, "spot": 0}
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
def test_what_only_the_user_can_mend_stalls(pod: Pod, reason: str, words: str) -> None:
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
        (a_pod(crash="exit code 2"), "EngineCrashing", "vLLM ends: exit code 2"),
    ],
)
def test_what_may_heal_by_itself_does_not_stall(pod: Pod, reason: str, words: str) -> None:
    decision = decided(pod, live={"ready": 0, "rolling": True})
    assert (said(decision).status, said(decision).reason) == (False, reason)
    assert words in said(decision).message
    assert said(decision, "Stalled").status is False
    assert said(decision, "Reconciling").status is True


def test_pods_that_the_api_server_refuses_are_told() -> None:
    decision = decided(live={"ready": 0, "create_fault": "exceeded quota"})
    assert (said(decision).reason, said(decision).message) == (
        "PodsRefused",
        "0 of 1 replicas answer; API server: exceeded quota",
    )


def test_pods_that_answer_or_go_are_no_fault() -> None:
    pods = (a_pod(ready=True, unschedulable="x"), a_pod(terminating=True, unschedulable="x"))
    assert said(decided(*pods, live={})).reason == "AllReplicasReady"


def test_a_ready_tier_tells_what_keeps_the_rest_away() -> None:
    decision = decided(a_pod(unschedulable="0/3"), live={"ready": 1}, replicas=3)
    assert said(decision).message == "1 of 3 replicas answer; InsufficientCapacity: scheduler: 0/3"


def test_the_same_words_are_told_whatever_the_order_of_pods() -> None:
    pods = [a_pod(unschedulable=text) for text in ("b", "a", "")]
    messages = {said(decided(*order, live={"ready": 0})).message for order in (pods, pods[::-1])}
    assert messages == {"0 of 1 replicas answer; scheduler: a"}


def test_a_refused_argument_stalls_and_leaves_the_children_alone() -> None:
    decision = decided(live={}, engine={"vllm": {"args": ["--uds=x"]}})
    assert decision.wanted is None
    assert said(decision, "Stalled").reason == "ArgumentRefused"
    assert (said(decision).status, said(decision).reason) == (True, "AllReplicasReady")
    assert said(decision, "ArgumentsChecked").status is False


def test_another_vllm_version_is_applied_unchecked() -> None:
    decision = decided(engine={"vllm": {"image": "v:v0.1.2", "args": ["--new"]}})
    assert decision.wanted is not None
    checked = said(decision, "ArgumentsChecked")
    assert (checked.status, checked.reason) == (False, "UnknownVersion")
    assert "0.1.2" in checked.message


def test_an_unknown_template_revision_stalls_and_keeps_what_is_there() -> None:
    decision = decided(status={"templateRevision": 99})
    assert decision.wanted is None
    assert said(decision, "Stalled").reason == "TemplateRevisionUnknown"
    assert decision.status["templateRevision"] == 99


def test_a_refused_object_stalls_with_its_reason() -> None:
    refusal = Refusal(key=Key("Service", "n", "gold"), reason="NameConflict", message="taken")
    decision = decided(refusals=(refusal,))
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


def test_a_tier_without_a_known_price_tells_no_cost() -> None:
    assert "cost" not in decided(hardware={"gpus": 0}).status
    assert decided().status["cost"] == {"perHour": "1.006"}


SPOT_KEY = Key("Deployment", "eldermoor", "gold-spot")


@pytest.mark.parametrize(
    ("facts", "kept"),
    [
        ({}, False),
        ({"rolling": True}, True),
        ({"observed": False}, True),
        ({"ready": 0}, True),
    ],
)
def test_spot_pods_stay_until_those_on_demand_can_take_over(
    facts: dict[str, Any], kept: bool
) -> None:
    assert (SPOT_KEY in decided(live=facts).keep) is kept


def test_spot_pods_stay_while_there_are_none_on_demand() -> None:
    assert SPOT_KEY in decided().keep


def test_an_old_service_account_stays_while_old_pods_may_still_be_made() -> None:
    account = Key("ServiceAccount", "eldermoor", "gold")
    assert account in decided(live={"rolling": True}, serviceAccountName="x").keep
    assert account not in decided(live={}, serviceAccountName="x").keep


def test_the_revision_in_use_is_reported() -> None:
    remembered = {TEMPLATE_INPUTS: Inputs(revision=1, capacity=tiers.CURRENT.capacity).text()}
    assert decided(live={"remembered": remembered}).status["templateRevision"] == 1


@pytest.mark.parametrize(
    ("allowed", "stalled"),
    [((), True), (("/mnt/models",), False), (("/mnt/",), False), (("/mnt/mod",), True)],
)
def test_a_cache_on_the_node_lies_only_where_the_chart_allows(
    allowed: tuple[str, ...], stalled: bool
) -> None:
    source = {"huggingFace": {"repository": "a/b"}}
    cache = {"hostPath": {"path": "/mnt/models"}}
    root = tiers.resource(model={"source": source, "cache": cache})
    decision = rendering.decided(root, Settings(allowed_host_paths=allowed))
    assert said(decision, "Stalled").status is stalled
    assert (decision.wanted is None) is stalled
    if stalled:
        assert said(decision, "Stalled").reason == "HostPathNotAllowed"
        assert "policy.allowedHostPaths" in said(decision).message


def test_a_tier_is_under_way_in_no_paced_rollout() -> None:
    assert not kinds(Settings())["ModelTier"].rolls(tiers.resource())
