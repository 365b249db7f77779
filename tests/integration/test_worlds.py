"""A game team's day with worlds: apply, wait, scale, edit, hibernate, wake, break, fix, delete."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from gameai_contract.world_time import parse_time
from gameai_devcluster import install
from gameai_devcluster.api import Api, Json
from gameai_devcluster.testing.waiting import (
    condition,
    knowledge_settled,
    settled,
    until,
    world_settled,
)
from gameai_operator.world.clock import LEAD_SECONDS
from support import crashing
from support.live import knowledge_base, manifest, world

pytestmark = pytest.mark.usefixtures("operator")
Kubectl = Callable[..., str]
OWNED = (*crashing.CHILDREN, "ReplicaSet", "Pod")
SYSTEM = {"default", "kube-root-ca.crt"}


def get(api: Api, namespace: str, name: str = "moor") -> Json:
    return api.get("GameWorld", namespace, name)


def applied(api: Api, document: Json, *, seconds: float = 60) -> Json:
    """Apply a world and wait until it is settled."""
    api.apply(document, manager="kubectl")
    namespace, name = document["metadata"]["namespace"], document["metadata"]["name"]
    return until(
        f"{name} is settled",
        lambda: found if world_settled(found := get(api, namespace, name)) else None,
        seconds=seconds,
    )


def says(api: Api, namespace: str, kind: str, reason: str) -> str:
    """Wait until a condition has a reason; what it says."""

    def look() -> Json | None:
        found = condition(get(api, namespace), kind)
        return found if found.get("reason") == reason else None

    return str(until(f"{kind}, {reason}", look, seconds=60)["message"])


def names(api: Api, kind: str, namespace: str) -> set[str]:
    return {each["metadata"]["name"] for each in api.list(kind, namespace)} - SYSTEM


def pods(api: Api, namespace: str) -> set[str]:
    """Pods that are there to stay."""
    metadata = [each["metadata"] for each in api.list("Pod", namespace)]
    return {each["uid"] for each in metadata if "deletionTimestamp" not in each}


def config(api: Api, namespace: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        api.get("ConfigMap", namespace, "moor-world")["data"]["world.json"]
    )
    return found


def configured(api: Api, namespace: str, expected: Callable[[Json], bool]) -> None:
    """Wait until world.json is as expected: it is written after the status that a change leads to."""
    until("world.json is as expected", lambda: expected(config(api, namespace)), seconds=30)


def edit_service(document: Json, name: str, **fields: Any) -> Json:
    services = [
        each | fields if each["name"] == name else each for each in document["spec"]["services"]
    ]
    return document | {"spec": document["spec"] | {"services": services}}


def test_apply_scale_edit_hibernate_wake_and_delete_as_a_user_would(
    api: Api, namespace: str, kubectl: Kubectl
) -> None:
    document = world(namespace)
    kubectl("apply", "-f", "-", stdin=yaml.safe_dump(document))
    kubectl("-n", namespace, "wait", "gworld/moor", "--for=condition=Ready", "--timeout=60s")
    first = applied(api, document)
    assert first["status"]["readyServices"] == "2/2"
    assert names(api, "Deployment", namespace) == {"moor-time-manager", "moor-weather-manager"}
    assert names(api, "PodDisruptionBudget", namespace) == set()

    document = edit_service(document, "weather-manager", replicas=3)
    applied(api, document)
    assert len(api.list("Pod", namespace)) == 4
    assert names(api, "PodDisruptionBudget", namespace) == {"moor-weather-manager"}

    before = pods(api, namespace)
    document = edit_service(document, "weather-manager", settings={"climate": "Maritime"})
    applied(api, document)
    services = config(api, namespace)["services"]
    assert services["weather-manager"]["settings"]["climate"] == "Maritime"
    assert len(before & pods(api, namespace)) == 1, "only the edited service's pods are replaced"

    document["spec"] |= {"state": "Hibernated"}
    asleep = applied(api, document)
    assert condition(asleep, "Ready")["reason"] == "Hibernated"
    assert asleep["status"]["clock"]["speed"] == "0"
    until("no pod is left", lambda: not api.list("Pod", namespace), seconds=60)
    assert names(api, "ConfigMap", namespace) == {"moor-world"}
    assert names(api, "Service", namespace) == {"moor-time-manager", "moor-weather-manager"}

    document["spec"] |= {"state": "Running"}
    awake = applied(api, document)
    assert awake["status"]["clock"]["speed"] == "1"

    kubectl("-n", namespace, "delete", "gworld/moor", "--timeout=60s")
    until(
        "nothing owned stays",
        lambda: not any(names(api, kind, namespace) for kind in OWNED),
        seconds=60,
    )


def test_the_list_of_worlds_reads_well(api: Api, namespace: str, kubectl: Kubectl) -> None:
    ready_tier(api, namespace)
    roles = [{"name": "dialogue", "tierRef": {"name": "gold"}}]
    applied(api, world(namespace, roles=roles))
    head, row = kubectl("-n", namespace, "get", "gworld").splitlines()
    columns = {
        "NAME": "moor",
        "READY": "True",
        "REASON": "WorldReady",
        "STALLED": "False",
        "STATE": "Running",
        "SERVICES": "2/2",
        "TIERS": "AllTiersReady",
        "ARCHETYPES": "NoArchetypes",
        "SPEED": "1",
    }
    assert head.split() == [*columns, "AGE"]
    assert row.split()[:-1] == list(columns.values())
    wide = kubectl("-n", namespace, "get", "gworld", "-o", "wide")
    assert "gameai-workloads:0.1.0" in wide
    assert "all services and tiers are ready" in wide


def ready_tier(api: Api, namespace: str) -> None:
    """Apply a tier and wait until it is Ready."""
    api.apply(manifest(namespace, replicas=1), manager="kubectl")
    until("the tier is Ready", lambda: settled(api.get("ModelTier", namespace, "gold")), seconds=60)


def test_a_world_whose_tier_appears_later_heals(api: Api, namespace: str) -> None:
    roles = [{"name": "dialogue", "tierRef": {"name": "gold"}}]
    api.apply(world(namespace, roles=roles), manager="kubectl")
    message = says(api, namespace, "TiersReady", "TierMissing")
    assert (
        message
        == f"role dialogue: tier {namespace}/gold does not exist: create it, or change tierRef"
    )
    until(
        "its services run meanwhile",
        lambda: condition(get(api, namespace), "ServicesReady").get("status") == "True",
        seconds=60,
    )
    assert config(api, namespace)["roles"]["dialogue"]["endpoint"] == ""
    before = pods(api, namespace)
    ready_tier(api, namespace)
    until("the world is Ready", lambda: world_settled(get(api, namespace)), seconds=60)
    address = f"http://gold.{namespace}.svc:8000"
    configured(api, namespace, lambda found: found["roles"]["dialogue"]["endpoint"] == address)
    assert before <= pods(api, namespace), "no pod of the world restarted for it"


def test_a_foreign_tier_needs_access(api: Api, namespace: str, kubectl: Kubectl) -> None:
    shared = f"{namespace}-shared"
    kubectl("create", "namespace", shared)
    ready_tier(api, shared)
    roles = [{"name": "dialogue", "tierRef": {"name": "gold", "namespace": shared}}]
    api.apply(world(namespace, roles=roles), manager="kubectl")
    refused = says(api, namespace, "TiersReady", "RefNotPermitted")

    chosen = {"from": "Selector", "namespaceSelector": {"matchLabels": {"studio": "games"}}}
    api.apply(manifest(shared, replicas=1, access=chosen), manager="kubectl")
    kubectl("label", "namespace", namespace, "studio=games")
    until("the label opens it", lambda: world_settled(get(api, namespace)), seconds=60)

    kubectl("label", "namespace", namespace, "studio-")
    assert says(api, namespace, "TiersReady", "RefNotPermitted") == refused
    degraded = get(api, namespace)
    assert condition(degraded, "Degraded")["reason"] == "TierLost"
    assert condition(degraded, "Ready")["status"] == "True", "for two minutes a lost tier is borne"

    api.apply(manifest(shared, replicas=1, access={"from": "All"}), manager="kubectl")
    says(api, namespace, "TiersReady", "AllTiersReady")
    assert condition(get(api, namespace), "Degraded")["status"] == "False"
    api.delete("ModelTier", shared, "gold")
    says(api, namespace, "TiersReady", "RefNotPermitted")


def test_a_service_that_is_unknown_is_named_and_what_runs_goes_on(api: Api, namespace: str) -> None:
    applied(api, world(namespace))
    before = pods(api, namespace)
    api.apply(world(namespace, services=[{"name": "wether-manager"}]), manager="kubectl")
    message = says(api, namespace, "Stalled", "UnknownService")
    assert message == (
        "spec.services: wether-manager is not in the catalogue (settings, state-manager, storyteller, time-manager, weather-manager, world-state); "
        "did you mean weather-manager?: choose one of these, or set image"
    )
    wrong = [{"name": "weather-manager", "settings": {"climat": "Arid"}}]
    api.apply(world(namespace, services=wrong), manager="kubectl")
    assert "did you mean climate?" in says(api, namespace, "Stalled", "UnknownSetting")
    ready = condition(get(api, namespace), "Ready")
    assert ready["status"] == "True", "what was asked for before still answers"
    assert "UnknownSetting" in ready["message"]
    lacking = [{"name": "time-manager"}, {"name": "storyteller"}]
    api.apply(world(namespace, services=lacking), manager="kubectl")
    message = says(api, namespace, "Stalled", "MemoryMissing")
    assert "set spec.knowledgeBaseRef" in message
    assert "'story' is not in spec.roles (none)" in message
    applied(api, world(namespace))
    applied(api, world(namespace))
    assert pods(api, namespace) == before


def test_a_changed_clock_turns_later_and_restarts_nothing(api: Api, namespace: str) -> None:
    first = applied(api, world(namespace))
    before = pods(api, namespace)
    changed = applied(api, world(namespace, clock={"speed": "3"}))
    anchors = until(
        "the new anchor is published",
        lambda: found if len(found := config(api, namespace)["clock"]["anchors"]) == 2 else None,
        seconds=30,
    )
    assert anchors[0]["effectiveAt"] == first["metadata"]["creationTimestamp"]
    assert anchors[1]["speed"] == changed["status"]["clock"]["speed"] == "3"
    lead = parse_time(anchors[1]["effectiveAt"]) - time.time_ns() // 1000
    assert (LEAD_SECONDS - 60) * 1_000_000 < lead <= (LEAD_SECONDS + 1) * 1_000_000
    assert pods(api, namespace) == before


def test_an_own_image_gets_all_its_fields(api: Api, namespace: str) -> None:
    own = {
        "name": "duel-judge",
        "image": "registry.example/duel:1.2",
        "port": 7000,
        "probe": "TCP",
        "env": [{"name": "MODE", "value": "fast"}],
        "writablePaths": ["/var/cache/duel"],
    }
    applied(api, world(namespace, services=[own]))
    spec = api.get("Deployment", namespace, "moor-duel-judge")["spec"]["template"]["spec"]
    container = spec["containers"][0]
    assert container["image"] == own["image"]
    assert container["readinessProbe"]["tcpSocket"] == {"port": "grpc"}
    assert {"name": "MODE", "value": "fast"} in container["env"]
    assert "/var/cache/duel" in {each["mountPath"] for each in container["volumeMounts"]}
    service = api.get("Service", namespace, "moor-duel-judge")
    assert service["spec"]["ports"][0]["port"] == 7000


def test_every_example_becomes_ready(api: Api) -> None:
    """Worlds and the tiers they name; tiers alone have their own test."""
    applied_here = []
    for document in install.examples():
        install.namespace(api, document["metadata"]["namespace"])
        api.apply(document, manager="kubectl")
        applied_here.append(document)
    worlds = [each for each in applied_here if each["kind"] == "GameWorld"]
    assert {each["metadata"]["name"] for each in worlds} == {"moor", "frost"}
    for document in worlds:
        applied(api, document)
    assert condition(get(api, "eldermoor", "frost"), "Ready")["reason"] == "Hibernated"
    read = condition(get(api, "eldermoor", "moor"), "ArchetypesValid")
    assert (read["status"], read["reason"]) == ("True", "ArchetypesRead")
    for document in applied_here:
        metadata = document["metadata"]
        api.delete(document["kind"], metadata["namespace"], metadata["name"])


def test_explain_answers_every_question_about_a_world(kubectl: Kubectl) -> None:
    text = kubectl("explain", "gameworld", "--recursive=false")
    assert "A game world: its services" in text
    assert "DESCRIPTION:\n    <empty>" not in kubectl("explain", "gameworld.spec.services")


def test_a_world_is_isolated_until_it_is_opened_and_no_pod_restarts_for_it(
    api: Api, namespace: str
) -> None:
    applied(api, world(namespace))
    before = pods(api, namespace)
    assert names(api, "NetworkPolicy", namespace) == {"moor-world"}
    opened = world(namespace)
    opened["spec"]["network"] = {"mode": "Open"}
    applied(api, opened)
    until("the policy is gone", lambda: not api.list("NetworkPolicy", namespace), seconds=30)
    assert pods(api, namespace) == before


def test_a_world_finds_the_memory_of_its_knowledge_base(
    api: Api, namespace: str, kubectl: Kubectl
) -> None:
    shared = f"{namespace}-lore"
    kubectl("create", "namespace", shared)
    login = {"username": "app", "password": "hunter2"}
    metadata = {"name": "lore-app", "namespace": shared}
    api.apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": login})
    reference = {"name": "lore", "namespace": shared}
    applied(api, world(namespace))
    before = pods(api, namespace)
    api.apply(world(namespace, knowledgeBaseRef=reference), manager="kubectl")
    refused = says(api, namespace, "KnowledgeReady", "RefNotPermitted")
    caller = {
        "namespace": namespace,
        "serviceAccount": "moor-world",
        "worlds": [f"{namespace}/moor"],
    }
    assert "serviceAccount: moor-world" in refused
    assert condition(get(api, namespace), "Ready")["reason"] == "RefNotPermitted"

    api.apply(knowledge_base(shared), manager="kubectl")
    until(
        "it is Ready",
        lambda: knowledge_settled(api.get("KnowledgeBase", shared, "lore")),
        seconds=60,
    )
    assert says(api, namespace, "KnowledgeReady", "RefNotPermitted") == refused
    api.apply(knowledge_base(shared, callers=[caller]), manager="kubectl")
    until("the world is Ready", lambda: world_settled(get(api, namespace)), seconds=60)
    address = f"lore-memory.{shared}.svc:50051"
    configured(api, namespace, lambda found: found["memory"] == {"endpoint": address})

    api.delete("KnowledgeBase", shared, "lore")
    assert says(api, namespace, "KnowledgeReady", "RefNotPermitted") == refused
    lost = get(api, namespace)
    assert condition(lost, "Degraded")["reason"] == "MemoryLost"
    assert condition(lost, "Ready")["status"] == "True", "a lost memory is borne for two minutes"
    assert pods(api, namespace) == before, "no pod of the world restarted for it"
