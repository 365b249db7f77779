"""A user's day with tiers: apply, wait, scale, edit, break, fix, delete."""

import re
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from gameai_devcluster import install
from gameai_devcluster.api import Api, Json, path
from gameai_devcluster.operators import Operator
from gameai_devcluster.testing.audit import AuditLog
from gameai_devcluster.testing.waiting import condition, settled, until
from support.live import manifest

pytestmark = pytest.mark.usefixtures("operator")
Kubectl = Callable[..., str]
OWNED = (
    "Deployment",
    "Service",
    "PodDisruptionBudget",
    "NetworkPolicy",
    "ReplicaSet",
    "ServiceAccount",
    "Pod",
)
EXAMPLES = sorted((install.ROOT / "examples").glob("modeltier-*.yaml"))


def tier(api: Api, namespace: str, name: str = "gold") -> Json:
    return api.get("ModelTier", namespace, name)


def applied(api: Api, document: Json, *, seconds: float = 60) -> Json:
    """Apply a tier and wait until it is settled."""
    api.apply(document, manager="kubectl")
    metadata = document["metadata"]
    return until(
        f"{metadata['name']} is settled",
        lambda: (
            found if settled(found := tier(api, metadata["namespace"], metadata["name"])) else None
        ),
        seconds=seconds,
    )


def left(api: Api, namespace: str) -> set[str]:
    """What a tier may have made; pods that are ending take all of their grace."""
    return {
        f"{kind} {each['metadata']['name']}"
        for kind in OWNED
        for each in api.list(kind, namespace)
        if kind != "Pod" or "deletionTimestamp" not in each["metadata"]
    }


def stalled(api: Api, namespace: str, reason: str) -> str:
    """Wait until the tier is stalled for a reason; what it says."""

    def look() -> str | None:
        found = condition(tier(api, namespace), "Stalled")
        return found["message"] if found.get("reason") == reason else None

    return until(f"Stalled, {reason}", look, seconds=60)


def nudges(operator: Operator) -> int:
    """How often a Deployment that made no progress was nudged."""
    return operator.output().count("makes no progress")


def ready_reason(api: Api, namespace: str, reason: str) -> str:
    """Wait until Ready has a reason; what it says."""

    def look() -> str | None:
        found = condition(tier(api, namespace), "Ready")
        return found["message"] if found.get("reason") == reason else None

    return until(f"Ready, {reason}", look, seconds=60)


def test_apply_wait_scale_and_delete_as_a_user_would(
    api: Api, namespace: str, kubectl: Kubectl
) -> None:
    document = manifest(namespace, replicas=3, capacity={"spotPercent": 80})
    document["spec"]["hardware"] = {"cpu": "10m", "memory": "16Mi", "instanceTypes": ["g5.xlarge"]}
    kubectl("apply", "-f", "-", stdin=yaml.safe_dump(document))
    kubectl("-n", namespace, "wait", "mt/gold", "--for=condition=Ready", "--timeout=60s")
    kubectl("-n", namespace, "scale", "mt/gold", "--replicas=7")
    scaled = until(
        "seven replicas are ready",
        lambda: found if settled(found := tier(api, namespace)) else None,
        seconds=60,
    )
    assert scaled["status"]["capacity"] == {
        "onDemand": 2,
        "spot": 5,
        "any": 0,
        "lent": 0,
        "headroom": 0,
    }
    assert scaled["status"]["cost"] == {
        "perHour": "4.412",
        "wantedPerHour": "4.412",
        "instanceType": "g5.xlarge",
    }
    replicas = {
        each["metadata"]["name"]: each["spec"]["replicas"]
        for each in api.list("Deployment", namespace)
    }
    assert replicas == {"gold-on-demand": 2, "gold-spot": 5}
    nodes = {each["metadata"]["name"]: each for each in api.list("Node")}
    for pod in api.list("Pod", namespace):
        labels = nodes[pod["spec"]["nodeName"]]["metadata"]["labels"]
        assert (
            labels["karpenter.sh/capacity-type"] == pod["metadata"]["labels"]["gameai.dev/capacity"]
        )
    line = kubectl("-n", namespace, "get", "mt").splitlines()[-1].split()
    assert line[:9] == ["gold", "True", "AllReplicasReady", "False", "Gold", "7", "7", "2", "5"]
    kubectl("-n", namespace, "delete", "mt/gold")
    until(
        "nothing owned is left",
        lambda: left(api, namespace) == {"ServiceAccount default"},
        seconds=120,
    )


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_every_example_becomes_ready(file: Path, api: Api) -> None:
    for document in yaml.safe_load_all(file.read_text()):
        install.namespace(api, document["metadata"]["namespace"])
        applied(api, document)
        metadata = document["metadata"]
        api.delete("ModelTier", metadata["namespace"], metadata["name"])


def test_a_missing_token_secret_stalls_with_its_name_and_heals_when_made(
    api: Api, namespace: str
) -> None:
    hub = {"repository": "a/b", "tokenSecretRef": {"name": "hf", "key": "token"}}
    api.apply(manifest(namespace, model={"source": {"huggingFace": hub}}))
    assert 'Secret "hf" is missing: create it' in stalled(api, namespace, "SecretMissing")
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "hf", "namespace": namespace},
    }
    api.create(secret | {"stringData": {"other": "x"}})
    until(
        "the key is asked for",
        lambda: 'no key "token"' in condition(tier(api, namespace), "Stalled")["message"],
        seconds=30,
    )
    api.apply(secret | {"stringData": {"token": "s3cret"}})
    until("the tier is settled", lambda: settled(tier(api, namespace)), seconds=60)
    assert "s3cret" not in yaml.safe_dump(tier(api, namespace))


def test_a_failing_pull_is_reported_in_the_nodes_words(api: Api, namespace: str) -> None:
    image = "registry.invalid/vllm:v0.32.0"
    api.apply(manifest(namespace, engine={"vllm": {"image": image}}))
    words = ready_reason(api, namespace, "ImagePullFailed")
    assert f'Back-off pulling image "{image}"' in words
    assert condition(tier(api, namespace), "Stalled")["status"] == "False"


def test_missing_capacity_is_reported_in_the_schedulers_words(api: Api, namespace: str) -> None:
    hardware = {"gpus": 1, "instanceTypes": ["p5.48xlarge"]}
    api.apply(manifest(namespace, hardware=hardware))
    assert "nodes are available" in ready_reason(api, namespace, "InsufficientCapacity")


def test_a_missing_volume_claim_stalls_with_its_name(api: Api, namespace: str) -> None:
    cache = {"persistentVolumeClaim": {"claimName": "weights"}}
    source = {"huggingFace": {"repository": "a/b"}}
    api.apply(manifest(namespace, model={"source": source, "cache": cache}))
    assert '"weights" is missing' in stalled(api, namespace, "VolumeClaimMissing")


def test_a_misspelt_argument_stalls_and_heals_and_never_touches_what_runs(
    api: Api, namespace: str
) -> None:
    before = applied(api, manifest(namespace))
    pods = {each["metadata"]["uid"] for each in api.list("Pod", namespace)}
    api.apply(manifest(namespace, engine={"vllm": {"args": ["--max-num-sqs=3"]}}))
    assert "did you mean --max-num-seqs?" in stalled(api, namespace, "ArgumentUnknown")
    broken = tier(api, namespace)
    assert condition(broken, "Ready")["status"] == "True"
    assert broken["status"]["observedGeneration"] == before["metadata"]["generation"] + 1
    assert {each["metadata"]["uid"] for each in api.list("Pod", namespace)} == pods
    applied(api, manifest(namespace, engine={"vllm": {"args": ["--max-num-seqs=3"]}}))


def test_a_name_that_is_taken_stalls_and_heals_when_it_is_free(api: Api, namespace: str) -> None:
    taken = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": "gold", "namespace": namespace},
    }
    api.create(taken)
    api.apply(manifest(namespace))
    words = stalled(api, namespace, "NameConflict")
    assert words.startswith("ServiceAccount gold exists already and belongs to another writer")
    account = api.get("ServiceAccount", namespace, "gold")
    assert "ownerReferences" not in account["metadata"]
    api.delete("ServiceAccount", namespace, "gold")
    api.patch(
        f"/apis/gameai.dev/v1alpha1/namespaces/{namespace}/modeltiers/gold",
        {"metadata": {"annotations": {"look": "again"}}},
    )
    until("the tier is settled", lambda: settled(tier(api, namespace)), seconds=60)


def test_a_service_of_somebody_else_is_not_taken(api: Api, namespace: str) -> None:
    spec = {"selector": {"app": "shop"}, "ports": [{"port": 80}]}
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "gold", "namespace": namespace},
    }
    api.create(service | {"spec": spec})
    api.apply(manifest(namespace))
    assert "Service gold exists already" in stalled(api, namespace, "NameConflict")
    assert api.get("Service", namespace, "gold")["spec"]["selector"] == {"app": "shop"}


def test_an_object_that_the_api_server_refuses_stalls_with_its_words(
    api: Api, namespace: str
) -> None:
    api.apply(manifest(namespace, podLabels={"not a label": "x"}))
    assert "Deployment gold-on-demand" in stalled(api, namespace, "ObjectRefused")


def test_a_tier_that_no_scaler_decides_for_says_so(api: Api, namespace: str) -> None:
    document = manifest(namespace, scaling={"maxReplicas": 3})
    found = applied(api, document)
    assert condition(found, "ScalingActive")["reason"] == "NoDecision"
    assert condition(found, "Ready")["status"] == "True"


def test_a_paused_tier_says_so_once_and_is_left_alone(
    api: Api, namespace: str, audit: AuditLog
) -> None:
    generation = applied(api, manifest(namespace))["status"]["observedGeneration"]
    where = f"/apis/gameai.dev/v1alpha1/namespaces/{namespace}/modeltiers/gold"
    api.patch(where, {"metadata": {"annotations": {"gameai.dev/paused": "true"}}})
    until(
        "Ready says that it is paused",
        lambda: condition(tier(api, namespace), "Ready")["message"].startswith("Paused:"),
        seconds=20,
    )
    audit.wait_rest(namespace)
    api.patch(where, {"spec": {"replicas": 4}})
    api.patch(where, {"spec": {"replicas": 5}})
    time.sleep(2.0)
    found = tier(api, namespace)
    assert found["status"]["observedGeneration"] == generation
    assert [str(each) for each in audit.writes() if each.namespace == namespace] == []
    api.patch(where, {"metadata": {"annotations": {"gameai.dev/paused": None}}})
    until("the tier has five", lambda: settled(tier(api, namespace)), seconds=60)
    assert api.get("Deployment", namespace, "gold-on-demand")["spec"]["replicas"] == 5


def test_a_changed_model_rolls_on_demand_before_spot(api: Api, namespace: str) -> None:
    spot = {"spotPercent": 50}
    hardware = {"cpu": "10m", "memory": "16Mi", "instanceTypes": ["g5.2xlarge"]}
    slow = {"devcluster.gameai.dev/start-delay": "2s"}
    options: dict[str, Any] = {
        "replicas": 2,
        "capacity": spot,
        "hardware": hardware,
        "podAnnotations": slow,
    }
    applied(api, manifest(namespace, **options))
    changed = {"source": {"huggingFace": {"repository": "a/c"}}}
    api.apply(manifest(namespace, **options, model=changed))

    def of_new_model(capacity: str) -> bool:
        found = api.get("Deployment", namespace, f"gold-{capacity}")
        image = found["spec"]["template"]["spec"]["containers"][0]["args"][0]
        return bool(image == "a/c")

    until(
        "both have the new model", lambda: all(map(of_new_model, ("on-demand", "spot"))), seconds=20
    )
    assert condition(tier(api, namespace), "Reconciling")["status"] == "True"
    surged = set()

    def settled_without_both_surging() -> bool:
        # One look at both: between two looks the one may end and the other begin.
        running = Counter(
            each["metadata"]["labels"]["gameai.dev/capacity"]
            for each in api.list("Pod", namespace)
            if "deletionTimestamp" not in each["metadata"]
        )
        surging = {capacity for capacity, count in running.items() if count > 1}
        surged.update(surging)
        assert surging != {"on-demand", "spot"}
        return settled(tier(api, namespace))

    until("it has settled", settled_without_both_surging, seconds=120)
    assert surged


@pytest.mark.timeout(900)
def test_a_roll_out_that_its_controller_has_lost_sight_of_goes_on(
    api: Api, namespace: str, operator: Operator
) -> None:
    """As a scale-in during a roll-out leaves it: the ReplicaSet has the new size, and its note of the wanted one is old."""
    applied(api, manifest(namespace, replicas=1))
    before = nudges(operator)
    (only,) = api.list("ReplicaSet", namespace)
    note = {"deployment.kubernetes.io/desired-replicas": "3"}
    where = path("ReplicaSet", namespace, only["metadata"]["name"])
    api.patch(where, {"metadata": {"annotations": note}})
    changed = {"source": {"huggingFace": {"repository": "a/c"}}}
    applied(api, manifest(namespace, replicas=1, model=changed), seconds=600)
    assert api.get("Deployment", namespace, "gold-on-demand")["spec"]["replicas"] == 1
    (pod,) = (
        each for each in api.list("Pod", namespace) if "deletionTimestamp" not in each["metadata"]
    )
    assert pod["spec"]["containers"][0]["args"][0] == "a/c"
    assert nudges(operator) > before


def test_explain_has_words_for_every_field(kubectl: Kubectl, api: Api) -> None:
    listing = kubectl("explain", "modeltier.spec", "--recursive")
    fields = re.findall(r"^ +(\w+)\t", listing, re.MULTILINE)
    assert len(fields) > 40
    text = kubectl("explain", "modeltier.spec.capacity.spotPercent")
    assert "From 0 to 100. Default: 0." in text
    schema = api.get("CustomResourceDefinition", None, "modeltiers.gameai.dev")["spec"]["versions"][
        0
    ]
    empty = list(_without_words(schema["schema"]["openAPIV3Schema"], ""))
    assert empty == [".metadata"]


def _without_words(schema: Json, where: str) -> list[str]:
    below = [
        found
        for name, each in schema.get("properties", {}).items()
        for found in [
            *([f"{where}.{name}"] if not each.get("description") else []),
            *_without_words(each, f"{where}.{name}"),
        ]
    ]
    items = schema.get("items")
    return below + (_without_words(items, f"{where}[]") if items else [])


def test_events_are_one_per_change_of_state(api: Api, namespace: str, operator: Operator) -> None:
    applied(api, manifest(namespace))

    def reasons() -> list[tuple[str, str]]:
        return [
            (each["type"], each["reason"])
            for each in api.list("Event", namespace)
            if each["involvedObject"]["kind"] == "ModelTier"
        ]

    ready = ("Normal", "AllReplicasReady")
    until("the Event is there", lambda: ready in reasons(), seconds=20)
    # One replica may be Ready a moment before the others.
    assert set(reasons()) <= {("Normal", "MinimumReplicasReady"), ready}
    assert max(Counter(reasons()).values()) == 1
    assert operator.metric("gameai_operator_events_dropped_total") == 0
