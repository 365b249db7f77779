"""A knowledge base of real pods: its own database, the sample lore, and what stays when something goes."""

import base64
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from gameai.knowledge.v1 import knowledge_pb2 as pb
from gameai.knowledge.v1 import knowledge_pb2_grpc
from gameai_contract.knowledge import MEMORY_AUDIENCE
from gameai_devcluster import e2e, install
from gameai_devcluster.api import Api, ApiError, Json, path
from gameai_devcluster.testing.waiting import condition, knowledge_settled, until
from support import real
from support.live import manifest, world
from support.pod_programs import ASK, LOOK, SAVE, TELL, TURN

Kubectl = Callable[..., str]
NAMESPACE, NAME = "e2e", "lore"
ARCHIVES = "lore-archives"
REPOSITORY = {"persistentVolumeClaim": {"claimName": ARCHIVES}}
LORE = install.ROOT / "examples/lore"
DOCUMENTS = 13
QUESTION = "What does a cart pay at Tamrel bridge?"


@pytest.fixture(scope="module")
def volume(api: Api, environment: e2e.Environment, release: dict[str, float]) -> None:
    real.provide(api, environment, "lore")


def knowledge_base(*sources: str) -> Json:
    """As a user with a small cluster would write it."""
    return {
        "apiVersion": "gameai.dev/v1alpha1",
        "kind": "KnowledgeBase",
        "metadata": {"name": NAME, "namespace": NAMESPACE},
        "spec": {
            "database": {"managed": {"storage": "1Gi", "memory": "512Mi", "cpu": "100m"}},
            "sources": [{"name": each, "configMap": {"name": f"lore-{each}"}} for each in sources],
            "service": {"replicas": 1, "cpu": "100m"},
        },
    }


def ready(api: Api, *, seconds: float = 300) -> Json:
    def look() -> Json | None:
        found = api.get("KnowledgeBase", NAMESPACE, NAME)
        return found if knowledge_settled(found) else None

    try:
        return until("the knowledge base is Ready", look, seconds=seconds)
    except AssertionError as error:
        found = api.get("KnowledgeBase", NAMESPACE, NAME)
        raise AssertionError(f"{error}\n{json.dumps(found['status'], indent=1)}") from None


@pytest.fixture(scope="module")
def lore(api: Api, kubectl: Kubectl, volume: None) -> Json:
    for name, folder in (("shared", LORE / "shared"), ("songs", LORE / "worlds/frost")):
        kubectl("-n", NAMESPACE, "create", "configmap", f"lore-{name}", f"--from-file={folder}")
        label = "app.kubernetes.io/part-of=gameai"
        kubectl("-n", NAMESPACE, "label", "configmap", f"lore-{name}", label)
    api.apply(knowledge_base("shared"), manager="kubectl")
    return ready(api)


@contextmanager
def memory(environment: e2e.Environment) -> Iterator[knowledge_pb2_grpc.KnowledgeServiceStub]:
    """The memory's stub, by way of kubectl port-forward as the documentation says."""
    command = [
        str(Path(sys.executable).parent / "kubectl"),
        f"--kubeconfig={environment.kubeconfig}",
        *("-n", NAMESPACE, "port-forward", f"service/{NAME}-memory", ":50051"),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as forward:
        try:
            assert forward.stdout is not None
            line = forward.stdout.readline()
            address = line.removeprefix("Forwarding from ").partition(" ")[0]
            with grpc.insecure_channel(address) as channel:
                yield knowledge_pb2_grpc.KnowledgeServiceStub(channel)
        finally:
            forward.terminate()


def answers(environment: e2e.Environment, api: Api) -> bool:
    own = install.token(api, NAMESPACE, "default", audience=MEMORY_AUDIENCE)
    metadata = (("authorization", f"Bearer {own}"),)
    request = pb.SearchRequest(text=QUESTION, count=3)
    with memory(environment) as stub:
        try:
            hits = stub.Search(request, timeout=20, metadata=metadata).hits
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise
            return False
    return any("09-guide-trade.md" in each.provenance.document for each in hits)


def test_the_sample_lore_is_ready_with_counts_and_answers(
    lore: Json, environment: e2e.Environment, api: Api, kubectl: Kubectl
) -> None:
    assert lore["status"]["documents"] == DOCUMENTS
    assert lore["status"]["chunks"] > 100
    [source] = lore["status"]["sources"]
    assert (source["state"], source["quarantined"]) == ("Ingested", 0)
    shown = kubectl("-n", NAMESPACE, "get", "kb", NAME)
    assert str(lore["status"]["chunks"]) in shown
    assert answers(environment, api)


def test_a_caller_without_a_token_and_one_of_another_namespace_are_refused(
    lore: Json, environment: e2e.Environment, api: Api
) -> None:
    foreign = install.token(api, "shared", "default", audience=MEMORY_AUDIENCE)
    request = pb.SearchRequest(text=QUESTION)
    with memory(environment) as stub:
        with pytest.raises(grpc.RpcError, match="send `authorization"):
            stub.Search(request, timeout=20)
        with pytest.raises(grpc.RpcError, match="account shared/default may not call"):
            stub.Search(request, timeout=20, metadata=(("authorization", f"Bearer {foreign}"),))


def test_a_service_of_a_world_asks_its_memory(lore: Json, api: Api, kubectl: Kubectl) -> None:
    reader = world(NAMESPACE, name="reader", services=[{"name": "time-manager"}])
    reader["spec"]["knowledgeBaseRef"] = {"name": NAME}
    api.apply(reader, manager="kubectl")
    real.wait_ready(api, "GameWorld", NAMESPACE, "reader")
    inside = ("exec", "deployment/reader-time-manager", "--", "python", "-c", ASK, QUESTION)
    said = kubectl("-n", NAMESPACE, *inside)
    assert "09-guide-trade.md" in said
    assert "event 1" in said
    assert "event 1" in kubectl("-n", NAMESPACE, *inside), "once, however often it is asked"
    api.delete("GameWorld", NAMESPACE, "reader")


def test_a_storyteller_answers_through_a_tier_from_the_memory(
    lore: Json, environment: e2e.Environment, api: Api, kubectl: Kubectl
) -> None:
    tier = manifest(
        NAMESPACE,
        name="scribe",
        latency={"targetMs": 3000},
        hardware={"gpus": 0, "cpu": "10m", "memory": "128Mi"},
        engine={"vllm": {"image": environment.double_image}},
        replicas=1,
    )
    roles = [{"name": "story", "tierRef": {"name": "scribe"}, "deadlineMs": 20_000}]
    told = world(NAMESPACE, name="told", services=[{"name": "storyteller"}], roles=roles)
    told["spec"]["knowledgeBaseRef"] = {"name": NAME}
    api.apply(tier, manager="kubectl")
    api.apply(told, manager="kubectl")
    real.wait_ready(api, "ModelTier", NAMESPACE, "scribe")
    real.wait_ready(api, "GameWorld", NAMESPACE, "told")
    inside = ("exec", "deployment/told-storyteller", "--", "python", "-c", TELL, QUESTION)
    said: list[str] = []

    def answered() -> bool:
        said.append(kubectl("-n", NAMESPACE, *inside))
        return said[-1].startswith("reason 0")

    until("the tier answers", answered, seconds=60)
    assert "09-guide-trade.md" in said[-1]
    # A first call whose answer was lost is repeated by its client.
    assert "beat 1" in said[0]
    assert "beat 1 True" in kubectl("-n", NAMESPACE, *inside), "the same request"
    api.delete("GameWorld", NAMESPACE, "told")
    api.delete("ModelTier", NAMESPACE, "scribe")


def test_state_settings_and_facts_are_kept_in_a_database_of_their_world(
    lore: Json, api: Api, kubectl: Kubectl
) -> None:
    password = base64.b64decode(api.get("Secret", NAMESPACE, f"{NAME}-db")["data"]["password"])
    kubectl(
        *("-n", NAMESPACE, "create", "secret", "generic", "games-app"),
        *("--from-literal=username=gameai", f"--from-literal=password={password.decode()}"),
    )
    # The memory's own database admits its pods alone.
    selected = api.get("NetworkPolicy", NAMESPACE, f"{NAME}-db")["spec"]["podSelector"][
        "matchLabels"
    ]
    saver = {"podSelector": {"matchLabels": {"gameai.dev/world": "saver"}}}
    policy = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "saver", "namespace": NAMESPACE},
        "spec": {
            "podSelector": {"matchLabels": selected},
            "policyTypes": ["Ingress"],
            "ingress": [{"from": [saver]}],
        },
    }
    api.apply(policy, manager="kubectl")
    services = [{"name": "state-manager"}, {"name": "settings"}]
    watching = {"name": "world-state", "consumes": ["settings"]}
    saved = world(NAMESPACE, name="saver", services=[*services, watching])
    saved["spec"]["database"] = {
        "external": {
            "host": f"{NAME}-db.{NAMESPACE}.svc",
            "database": "memory",
            "secretRef": {"name": "games-app"},
            "tls": {"mode": "Disable"},
        }
    }
    api.apply(saved, manager="kubectl")
    real.wait_ready(api, "GameWorld", NAMESPACE, "saver")
    inside = ("exec", "deployment/saver-state-manager", "--", "python", "-c", SAVE)
    first = kubectl("-n", NAMESPACE, *inside)
    assert first.startswith("gold ")
    looked = ("exec", "deployment/saver-world-state", "--", "python", "-c", LOOK)
    assert kubectl("-n", NAMESPACE, *looked).split() == ["0"]
    turned = ("exec", "deployment/saver-settings", "--", "python", "-c", TURN)
    assert kubectl("-n", NAMESPACE, *turned).split() == ["5", "2"]

    def counted() -> bool:
        return kubectl("-n", NAMESPACE, *looked).split() == ["2", "SettingChanged"]

    until("events have changed the fact", counted, seconds=60)
    selector = "gameai.dev/world=saver"
    uids = {each["metadata"]["uid"] for each in real.live(api, NAMESPACE, selector)}
    kubectl("-n", NAMESPACE, "delete", "pod", "-l", selector)

    def replaced() -> bool:
        pods = real.live(api, NAMESPACE, selector)
        return len(pods) == len(uids) and all(
            real.is_ready(each) and each["metadata"]["uid"] not in uids for each in pods
        )

    until("other pods serve", replaced, seconds=120)
    assert kubectl("-n", NAMESPACE, *inside) == first, "the same version: it was written once"
    assert kubectl("-n", NAMESPACE, *turned).split() == ["5", "2"]
    assert counted(), "each event once"
    api.delete("GameWorld", NAMESPACE, "saver")


def test_a_password_is_in_a_secret_and_nowhere_else(lore: Json, api: Api, kubectl: Kubectl) -> None:
    secret = api.get("Secret", NAMESPACE, f"{NAME}-db")
    assert "ownerReferences" not in secret["metadata"]
    password = kubectl(
        *("-n", NAMESPACE, "get", "secret", f"{NAME}-db"),
        "-o=go-template={{.data.password | base64decode}}",
    )
    assert len(password) == 48
    for pod in real.live(api, NAMESPACE, f"gameai.dev/knowledge-base={NAME}"):
        name = pod["metadata"]["name"]
        assert password not in kubectl("-n", NAMESPACE, "logs", name)
        assert password not in json.dumps(pod)


def test_a_changed_source_is_ingested_again_and_a_removed_one_is_removed(
    lore: Json, api: Api, kubectl: Kubectl
) -> None:
    api.apply(knowledge_base("shared", "songs"), manager="kubectl")
    until(
        "the second source is ingested",
        lambda: ready(api)["status"]["documents"] > DOCUMENTS,
        seconds=300,
    )
    map_path = path("ConfigMap", NAMESPACE, "lore-songs")
    api.patch(map_path, {"data": {"new.md": "# New\n\nThe ferry of Tam sank."}})
    before = api.get("KnowledgeBase", NAMESPACE, NAME)["status"]["documents"]
    until(
        "the new document is ingested",
        lambda: ready(api)["status"]["documents"] == before + 1,
        seconds=300,
    )
    api.apply(knowledge_base("shared"), manager="kubectl")
    until(
        "the documents are removed",
        lambda: ready(api)["status"]["documents"] == DOCUMENTS,
        seconds=300,
    )


def test_a_database_that_is_killed_loses_nothing(
    lore: Json, api: Api, environment: e2e.Environment
) -> None:
    uid = api.get("Pod", NAMESPACE, f"{NAME}-db-0")["metadata"]["uid"]
    api.delete("Pod", NAMESPACE, f"{NAME}-db-0", gracePeriodSeconds=0)

    def replaced() -> bool:
        pod = api.find("Pod", NAMESPACE, f"{NAME}-db-0")
        return pod is not None and pod["metadata"]["uid"] != uid and real.is_ready(pod)

    until("another pod serves the volume", replaced, seconds=300)
    found = until("it is Ready again", lambda: ready(api), seconds=300)
    assert found["status"]["documents"] == DOCUMENTS
    until("it answers", lambda: answers(environment, api), seconds=60)


def test_a_knowledge_base_that_is_deleted_and_made_again_remembers(
    lore: Json, api: Api, environment: e2e.Environment, kubectl: Kubectl
) -> None:
    secret = api.get("Secret", NAMESPACE, f"{NAME}-db")["metadata"]["uid"]
    api.delete("KnowledgeBase", NAMESPACE, NAME)
    until(
        "its pods are gone",
        lambda: not api.list("Pod", NAMESPACE, selector=f"gameai.dev/knowledge-base={NAME}"),
        seconds=300,
    )
    assert api.get("PersistentVolumeClaim", NAMESPACE, f"data-{NAME}-db-0")
    with pytest.raises(ApiError):
        api.get("StatefulSet", NAMESPACE, f"{NAME}-db")
    api.apply(knowledge_base("shared"), manager="kubectl")
    found = ready(api)
    assert api.get("Secret", NAMESPACE, f"{NAME}-db")["metadata"]["uid"] == secret
    program = ("exec", "-i", f"deployment/{NAME}-memory", "--", "python", "-m", "gameai.knowledge")
    archive = kubectl("-n", NAMESPACE, *program, "export")
    assert "Riders burned Tamrel bridge." in archive, "events outlive the knowledge base"
    kubectl("-n", NAMESPACE, *program, "import", stdin=archive)
    job = found["status"]["sources"][0]["job"]
    assert "(unchanged)" in kubectl("-n", NAMESPACE, "logs", f"job/{job}")
    assert answers(environment, api)


def test_a_backup_on_a_volume_is_made_at_once(
    lore: Json, environment: e2e.Environment, api: Api
) -> None:
    real.provide(api, environment, ARCHIVES)
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    metadata = {"name": ARCHIVES, "namespace": NAMESPACE}
    api.apply({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": claim})  # fmt: skip
    kept = knowledge_base("shared")
    kept["spec"]["backup"] = {"schedule": "0 3 * * *", "repository": REPOSITORY}
    api.apply(kept, manager="kubectl")

    def made() -> Json | None:
        found = api.get("KnowledgeBase", NAMESPACE, NAME)
        done = condition(found, "BackedUp").get("reason") == "BackedUp"
        return found["status"]["lastBackup"] if done else None

    archive = until("an archive is made", made, seconds=120)
    assert min(archive["worlds"], archive["events"]) > 0
    assert archive["bytes"] > 0


def test_the_conditions_name_a_missing_config_map(lore: Json, api: Api) -> None:
    api.apply(knowledge_base("shared", "none"), manager="kubectl")

    def stalled() -> bool:
        found = api.get("KnowledgeBase", NAMESPACE, NAME)
        return condition(found, "Stalled").get("reason") == "SourceMissing"

    until("it says so", stalled, seconds=60)
    api.delete("KnowledgeBase", NAMESPACE, NAME)
    for kind, name in (("PersistentVolumeClaim", f"data-{NAME}-db-0"), ("Secret", f"{NAME}-db")):
        api.delete(kind, NAMESPACE, name)


def test_another_memory_begins_with_the_archive(
    lore: Json, environment: e2e.Environment, api: Api, kubectl: Kubectl
) -> None:
    """Of the first one everything is gone."""
    real.provide(api, environment, "heir")
    heir = knowledge_base()
    heir["metadata"]["name"] = "heir"
    heir["spec"]["restoreFrom"] = {"knowledgeBase": f"{NAMESPACE}/{NAME}", "repository": REPOSITORY}
    api.apply(heir, manager="kubectl")

    def restored() -> Json | None:
        found = api.get("KnowledgeBase", NAMESPACE, "heir")
        return found if knowledge_settled(found) else None

    try:
        found = until("it is Ready", restored, seconds=300)
    finally:
        status = api.get("KnowledgeBase", NAMESPACE, "heir").get("status")
        print(json.dumps(status, indent=1))
    assert found["status"]["restore"]["archive"]["events"] > 0
    program = ("exec", "deployment/heir-memory", "--", "python", "-m", "gameai.knowledge")
    assert "Riders burned Tamrel bridge." in kubectl("-n", NAMESPACE, *program, "export")
    api.delete("KnowledgeBase", NAMESPACE, "heir")
    for name in ("data-heir-db-0", ARCHIVES):
        api.delete("PersistentVolumeClaim", NAMESPACE, name)
    api.delete("Secret", NAMESPACE, "heir-db")
