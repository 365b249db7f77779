"""Knowledge bases on a real API server: simulated pods, and an operator that is killed at any write."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from gameai_devcluster import install
from gameai_devcluster.api import Api, ApiError, Json, path
from gameai_devcluster.operators import Launch, Operator
from gameai_devcluster.testing.waiting import condition, knowledge_settled, until
from support import crashing
from support.crashing import Stage, Workload
from support.live import knowledge_base, texts

SAMPLE = 5
AUTOSCALED = install.ROOT / "examples/features/knowledge-autoscaled.yaml"
NAME = "lore"
# The Job of the first text of a source, by namespace.
_FIRST_JOBS: dict[str, str] = {}


def make(api: Api, namespace: str) -> None:
    prepare(api, namespace)
    api.apply(knowledge_base(namespace, "histories"), manager="kubectl")


def prepare(api: Api, namespace: str) -> None:
    login = {"username": "app", "password": "hunter2"}
    metadata = {"name": "lore-app", "namespace": namespace}
    api.apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": login})
    api.apply(texts(namespace, "histories", founding="In the year one."))
    api.apply(texts(namespace, "songs", ferry="The ferry of Tam."))


def add_a_source(api: Api, namespace: str) -> None:
    api.apply(knowledge_base(namespace, "histories", "songs"), manager="kubectl")


def change_a_source(api: Api, namespace: str) -> None:
    api.apply(texts(namespace, "histories", founding="In the year two."))


def drop_the_source(api: Api, namespace: str) -> None:
    api.apply(knowledge_base(namespace), manager="kubectl")


BUCKET = {"s3": {"bucket": "archives", "region": "eu-central-1"}}


def add_a_backup(api: Api, namespace: str) -> None:
    backup = {"schedule": "0 3 1 1 *", "repository": BUCKET}
    api.apply(knowledge_base(namespace, "histories", backup=backup), manager="kubectl")


def make_from_an_archive(api: Api, namespace: str) -> None:
    login = {"username": "app", "password": "hunter2"}
    metadata = {"name": "lore-app", "namespace": namespace}
    api.apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": login})
    api.apply(knowledge_base(namespace, restoreFrom={"repository": BUCKET}), manager="kubectl")


def jobs(api: Api, namespace: str, verb: str) -> list[Json]:
    """Those that have ended, where no other is there."""
    every = [e for e in api.list("Job", namespace) if f"-{verb}-" in e["metadata"]["name"]]
    done = [each for each in every if each.get("status", {}).get("succeeded")]
    return done if done == every else []


def backed_up(api: Api, namespace: str) -> bool:
    found = root(api, namespace)
    made = [each["metadata"]["name"] for each in jobs(api, namespace, "backup")]
    ended_job = found["status"].get("lastBackup", {}).get("job")
    return knowledge_settled(found) and made == [ended_job]


def restored(api: Api, namespace: str) -> bool:
    found = root(api, namespace)
    done = condition(found, "Restored").get("reason") == "Restored"
    return knowledge_settled(found) and done and len(jobs(api, namespace, "restore")) == 1


def delete(api: Api, namespace: str) -> None:
    api.delete("KnowledgeBase", namespace, NAME)


def root(api: Api, namespace: str) -> Json:
    return api.get("KnowledgeBase", namespace, NAME)


def sources(api: Api, namespace: str) -> dict[str, Json]:
    return {each["name"]: each for each in root(api, namespace)["status"].get("sources", ())}


def ended(api: Api, namespace: str) -> bool:
    """Settled, with a Job that ended for each source of the spec, of the text that is there now."""
    found = root(api, namespace)
    if not knowledge_settled(found):
        return False
    known = sources(api, namespace)
    jobs = {each["metadata"]["name"]: each for each in api.list("Job", namespace)}
    complete = all(each.get("status", {}).get("succeeded") for each in jobs.values())
    wanted = {each["name"] for each in found["spec"].get("sources", ())}
    return set(known) == wanted and complete and all(e["job"] in jobs for e in known.values())


def changed(api: Api, namespace: str) -> bool:
    """The second ingestion of the source has ended; the Job of the first is gone."""
    names = [each["metadata"]["name"] for each in api.list("Job", namespace)]
    job = sources(api, namespace)["histories"]["job"]
    first = _FIRST_JOBS.get(namespace, "")
    return ended(api, namespace) and job != first and first not in names


def remember(api: Api, namespace: str) -> None:
    """Change the source, and note the Job of its first text."""
    _FIRST_JOBS[namespace] = sources(api, namespace)["histories"]["job"]
    change_a_source(api, namespace)


def gone(api: Api, namespace: str) -> bool:
    kinds = ("Job", "Deployment", "Service", "NetworkPolicy", "ServiceAccount", "Pod")
    left = [each for kind in kinds for each in api.list(kind, namespace)]
    return all(each["metadata"]["name"] in crashing.SYSTEM for each in left)


WORKLOADS = {
    "create": Workload(prepare=None, act=make, ended=ended),
    "add a source": Workload(prepare=make, act=add_a_source, ended=ended),
    "change a source": Workload(prepare=make, act=remember, ended=changed),
    "drop the source": Workload(prepare=make, act=drop_the_source, ended=ended),
    "add a backup": Workload(prepare=make, act=add_a_backup, ended=backed_up),
    "begin with an archive": Workload(prepare=None, act=make_from_an_archive, ended=restored),
    "delete": Workload(prepare=make, act=delete, ended=gone),
}


@pytest.fixture(scope="module")
def stage(api: Api, folder: Path) -> Iterator[Stage]:
    yield from crashing.begin(api, folder, "knowledge", WORKLOADS, ended)


def test_a_seeded_sample_of_crashes_ends_as_an_undisturbed_run(stage: Stage, seed: int) -> None:
    every = stage.points()
    assert len([each for _, each, _ in every if not each.path.endswith("/status")]) >= 20
    stage.sample(seed, SAMPLE)


@pytest.mark.soak
def test_a_crash_at_every_write_ends_as_an_undisturbed_run(stage: Stage) -> None:
    stage.sweep()


def test_a_restart_writes_nothing(stage: Stage, api: Api, namespace: str) -> None:
    make(api, namespace)
    stage.wait("it is settled", lambda: ended(api, namespace))
    kinds = ("KnowledgeBase", "Job", "Deployment", "Service", "NetworkPolicy", "ServiceAccount")

    def versions() -> dict[str, str]:
        return {
            f"{kind}/{each['metadata']['name']}": each["metadata"]["resourceVersion"]
            for kind in kinds
            for each in api.list(kind, namespace)
        }

    crashing.at_rest(api, namespace)
    before = versions()
    stage.operator.kill()
    stage.proxy.reset()
    stage.operator.start()
    stage.operator.wait_ready()
    crashing.at_rest(api, namespace)
    assert versions() == before
    assert [each for each in stage.proxy.seen if namespace in each.path] == []


@pytest.fixture
def operator(operator_kubeconfig: Path, folder: Path) -> Iterator[Operator]:
    made = Operator(Launch(kubeconfig=operator_kubeconfig, log=folder / "knowledge-own.log"))
    yield made.wait_ready()
    assert made.stop() == 0


def test_a_managed_database_gets_a_secret_that_the_operator_cannot_read(
    api: Api, namespace: str, operator: Operator, operator_kubeconfig: Path
) -> None:
    managed = {"managed": {"storage": "1Gi", "storageClassName": "none"}}
    api.apply(knowledge_base(namespace, database=managed), manager="kubectl")
    until("a claim", lambda: api.list("PersistentVolumeClaim", namespace), seconds=60)
    secret = api.get("Secret", namespace, "lore-db")
    assert "ownerReferences" not in secret["metadata"]
    own = install.as_account(api, install.NAMESPACE, install.ACCOUNT)
    with pytest.raises(ApiError):
        own.get("Secret", namespace, "lore-db")
    uid = secret["metadata"]["uid"]
    api.delete("StatefulSet", namespace, "lore-db")
    until("another one", lambda: api.find("StatefulSet", namespace, "lore-db"), seconds=60)
    assert api.get("Secret", namespace, "lore-db")["metadata"]["uid"] == uid
    log = operator.launch.log.read_text()
    assert "this is a bug" not in log
    api.delete("KnowledgeBase", namespace, NAME)
    until(
        "its children are gone",
        lambda: api.find("StatefulSet", namespace, "lore-db") is None,
        seconds=60,
    )
    assert api.get("Secret", namespace, "lore-db")["metadata"]["uid"] == uid


@pytest.mark.parametrize(("policy", "left"), [("Retain", 1), ("Delete", 0)])
def test_the_volume_of_a_managed_database_goes_with_it_where_that_is_asked_for(
    api: Api, namespace: str, operator: Operator, policy: str, left: int
) -> None:
    """Changed after the volume was made: the policy of the moment counts."""
    for each in ("Delete" if policy == "Retain" else "Retain", policy):
        managed = {"storage": "1Gi", "storageClassName": "none", "deletionPolicy": each}
        api.apply(knowledge_base(namespace, database={"managed": managed}), manager="kubectl")
        until("a claim", lambda: api.list("PersistentVolumeClaim", namespace), seconds=60)
        until("the policy", lambda: when_deleted(api, namespace) == each, seconds=60)  # noqa: B023 - ends before the next one

    def owned() -> bool:
        [claim] = api.list("PersistentVolumeClaim", namespace)
        return bool(claim["metadata"].get("ownerReferences"))

    until("the claim's owner follows", lambda: owned() is (policy == "Delete"), seconds=60)
    api.delete("KnowledgeBase", namespace, NAME)
    until(
        "its children are gone",
        lambda: api.find("StatefulSet", namespace, "lore-db") is None,
        seconds=60,
    )
    until(
        "the claim is as asked for",
        lambda: len(api.list("PersistentVolumeClaim", namespace)) == left,
        seconds=60,
    )


def when_deleted(api: Api, namespace: str) -> str:
    found = api.get("StatefulSet", namespace, "lore-db")
    return str(found["spec"]["persistentVolumeClaimRetentionPolicy"]["whenDeleted"])


def scalable(namespace: str, *sources: str) -> Json:
    """A manifest that leaves the number of replicas to others."""
    return knowledge_base(namespace, *sources, service={"cpu": "10m", "memory": "32Mi"})


def replicas(api: Api, namespace: str) -> int:
    found: int = api.get("Deployment", namespace, "lore-memory")["spec"]["replicas"]
    return found


def test_the_memory_is_scaled_by_its_subresource_within_its_limits(
    api: Api, namespace: str, operator: Operator
) -> None:
    prepare(api, namespace)
    where = f"{path('KnowledgeBase', namespace, NAME)}/scale"
    api.apply(scalable(namespace, "histories"), manager="kubectl")
    until("it has its default", lambda: ended(api, namespace), seconds=120)
    assert replicas(api, namespace) == 2
    api.patch(where, {"spec": {"replicas": 3}})
    until("it has three", lambda: replicas(api, namespace) == 3, seconds=50)
    until(
        "they are counted",
        lambda: api.request("GET", where)["status"]["replicas"] == 3,
        seconds=50,
    )
    selector = api.request("GET", where)["status"]["selector"]
    labels = dict(each.split("=") for each in selector.split(","))
    pods = [
        pod
        for pod in api.list("Pod", namespace)
        if labels.items() <= pod["metadata"]["labels"].items()
    ]
    assert {pod["metadata"]["generateName"].rsplit("-", 2)[0] for pod in pods} == {"lore-memory"}
    api.apply(scalable(namespace, "histories", "songs"), manager="kubectl")
    until("its manifest is followed", lambda: ended(api, namespace), seconds=120)
    assert replicas(api, namespace) == 3
    with pytest.raises(ApiError, match="less than or equal to 50"):
        api.patch(where, {"spec": {"replicas": 51}})


def test_a_managed_database_bounds_the_scale_of_its_memory(api: Api, namespace: str) -> None:
    api.apply(knowledge_base(namespace, database={"managed": {}}), manager="kubectl")
    where = f"{path('KnowledgeBase', namespace, NAME)}/scale"
    api.patch(where, {"spec": {"replicas": 20}})
    with pytest.raises(ApiError, match="a managed database takes 100 connections"):
        api.patch(where, {"spec": {"replicas": 21}})


def test_a_horizontal_pod_autoscaler_scales_the_memory(
    api: Api, namespace: str, operator: Operator
) -> None:
    make(api, namespace)
    until("it is ready", lambda: ended(api, namespace), seconds=120)
    [_, example] = yaml.safe_load_all(AUTOSCALED.read_text())
    example["metadata"]["namespace"] = namespace
    # Without metrics it acts on its bounds alone.
    example["spec"]["minReplicas"] = 3
    example["spec"]["scaleTargetRef"]["name"] = NAME
    api.apply(example)
    until("it acts on its minimum", lambda: replicas(api, namespace) == 3, seconds=120)
    found = api.get("HorizontalPodAutoscaler", namespace, example["metadata"]["name"])
    assert condition(found, "AbleToScale")["status"] == "True"


def test_a_missing_secret_and_a_missing_config_map_are_reported_and_heal(
    api: Api, namespace: str, operator: Operator
) -> None:
    api.apply(knowledge_base(namespace, "histories"), manager="kubectl")

    def reason(kind: str) -> str:
        return str(condition(root(api, namespace), kind).get("reason"))

    until("both are said", lambda: reason("SourcesIngested") == "SourceMissing", seconds=60)
    until("SchemaReady says why", lambda: reason("SchemaReady") == "SecretMissing", seconds=60)
    assert condition(root(api, namespace), "Stalled")["status"] == "True"
    make(api, namespace)
    until("it heals", lambda: ended(api, namespace), seconds=120)
    assert condition(root(api, namespace), "Stalled")["status"] == "False"
