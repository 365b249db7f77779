"""Who else writes: a second operator, another controller, a restore from a backup, a namespace that goes."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from gameai_devcluster import charts, install
from gameai_devcluster.api import Api, Json
from gameai_devcluster.operators import Launch, Operator
from gameai_devcluster.testing.audit import AuditLog
from gameai_devcluster.testing.waiting import condition, settled, until, world_settled
from support.live import manifest, world

LEASE: dict[str, str | float] = {
    "lease_seconds": 3,
    "lease_renew_seconds": 2,
    "lease_retry_seconds": 0.5,
}
# A fight may cost this much once it is damped: a status write now and then on top of a repair.
MOST_WRITES_A_MINUTE = 2
CHILDREN = ("Deployment", "Service", "ConfigMap", "ServiceAccount", "PodDisruptionBudget", "NetworkPolicy")  # fmt: skip


def launch(operator_kubeconfig: Path, folder: Path, name: str, **flags: str | float) -> Operator:
    """An operator of its own release, named by its Lease."""
    given: dict[str, str | float] = {"lease_name": name, **LEASE, **flags}
    return Operator(Launch(kubeconfig=operator_kubeconfig, log=folder / f"{name}.log", flags=given))


def declared(api: Api, namespace: str) -> None:
    api.apply(manifest(namespace), manager="kubectl")
    api.apply(world(namespace), manager="kubectl")
    until("all is ready", lambda: ready(api, namespace), seconds=120)


def ready(api: Api, namespace: str) -> bool:
    return settled(api.get("ModelTier", namespace, "gold")) and world_settled(
        api.get("GameWorld", namespace, "moor")
    )


def stands_down(answer: tuple[int, str], lease: str) -> bool:
    """A process that ignores some of its objects is ready and says so; one that ignores all of them is not."""
    status, text = answer
    return status == 503 and lease in text


def writes(audit: AuditLog, namespace: str) -> list[str]:
    return [str(each) for each in audit.writes() if each.namespace == namespace]


def test_a_second_release_stands_down_and_names_the_first(
    api: Api, namespace: str, operator_kubeconfig: Path, folder: Path, audit: AuditLog
) -> None:
    first = launch(operator_kubeconfig, folder, "blue").wait_ready()
    declared(api, namespace)
    audit.wait_rest(namespace)
    # Another namespace for the gateway and another image: each would undo what the other does.
    other = {"gateway_namespace": "elsewhere", "workloads_image": "gameai-workloads:9"}
    # What earlier tests left elsewhere would be its own to manage, and so it would be ready.
    other["namespaces"] = namespace
    second = launch(operator_kubeconfig, folder, "green", **other)
    try:
        until(
            "it stands down",
            lambda: stands_down(second.get("/readyz"), "Lease gameai-system/blue"),
            seconds=150,
        )
        assert "is managed by another operator" in second.output()
        before = len(writes(audit, namespace))
        time.sleep(15)
        assert len(writes(audit, namespace)) - before <= MOST_WRITES_A_MINUTE
        # It may still wait for the Leases of operators that earlier tests killed.
        until("the first works", lambda: first.get("/readyz")[0] == 200, seconds=100)
        # With the first gone, the second takes over by itself.
        assert first.stop() == 0
        until("it is ready", lambda: second.get("/readyz")[0] == 200, seconds=150)
        until(
            "it manages the tier",
            lambda: (
                api.get("ModelTier", namespace, "gold")["status"]["operator"]
                == "gameai-system/green"
            ),
            seconds=100,
        )
    finally:
        first.kill()
        second.kill()


def test_a_killed_releases_objects_are_taken_over_once_its_lease_has_run_out(
    api: Api, namespace: str, operator_kubeconfig: Path, folder: Path
) -> None:
    first = launch(operator_kubeconfig, folder, "killed").wait_ready()
    declared(api, namespace)
    first.kill()
    second = launch(operator_kubeconfig, folder, "heir")
    try:
        until("it is ready", lambda: second.get("/readyz")[0] == 200, seconds=200)
        api.apply(manifest(namespace, replicas=3), manager="kubectl")
        until("it acts", lambda: ready(api, namespace), seconds=100)
    finally:
        second.kill()


def test_a_controller_that_keeps_changing_a_child_is_named_and_fought_rarely(
    api: Api, namespace: str, operator_kubeconfig: Path, folder: Path
) -> None:
    operator = launch(operator_kubeconfig, folder, "fought").wait_ready()
    try:
        declared(api, namespace)
        busy = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "gold", "namespace": namespace},
            "spec": {"publishNotReadyAddresses": True},
        }
        end = time.monotonic() + 40
        repairs = 0
        while time.monotonic() < end:
            live = api.get("Service", namespace, "gold")
            if live["spec"].get("publishNotReadyAddresses") is not True:
                repairs += 1
                api.apply(busy, manager="busy-controller")
            time.sleep(0.1)
        assert repairs <= 12, "five at once, then after 2, 4, 8 and 16 s"
        stalled = condition(api.get("ModelTier", namespace, "gold"), "Stalled")
        assert (stalled["status"], stalled["reason"]) == ("True", "Contended")
        assert "busy-controller keeps changing" in stalled["message"]
        assert condition(api.get("ModelTier", namespace, "gold"), "Ready")["status"] == "True"
    finally:
        operator.kill()


@pytest.fixture
def webhook(api: Api, namespace: str) -> Iterator[Json]:
    """A webhook for Deployments of the namespace that does not answer."""
    rule = {
        "apiGroups": ["apps"],
        "apiVersions": ["v1"],
        "operations": ["CREATE", "UPDATE"],
        "resources": ["deployments"],
    }
    selector = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
    document = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": f"dead-{namespace}"},
        "webhooks": [
            {
                "name": "dead.hook.example",
                "failurePolicy": "Fail",
                "sideEffects": "None",
                "admissionReviewVersions": ["v1"],
                "timeoutSeconds": 1,
                "clientConfig": {"url": "https://127.0.0.1:9/x"},
                "namespaceSelector": selector,
                "rules": [rule],
            }
        ],
    }
    where = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
    api.request("POST", where, body=document)
    yield document
    api.request("DELETE", f"{where}/dead-{namespace}")


def test_a_webhook_that_fails_is_reported_in_the_api_servers_words(
    api: Api, namespace: str, operator_kubeconfig: Path, folder: Path, webhook: Json
) -> None:
    operator = launch(operator_kubeconfig, folder, "hooked").wait_ready()
    try:
        api.apply(manifest(namespace), manager="kubectl")
        found = until(
            "it is reported",
            lambda: (
                seen
                if (seen := condition(api.get("ModelTier", namespace, "gold"), "Reconciling")).get(
                    "reason"
                )
                == "ApplyFailing"
                else None
            ),
            seconds=100,
        )
        assert "failed calling webhook" in found["message"]
        assert api.find("Service", namespace, "gold"), "what does not fail is made all the same"
        until(
            "its Event, which is posted after the status,",
            lambda: any(each["reason"] == "ApplyFailing" for each in api.list("Event", namespace)),
            seconds=20,
        )
    finally:
        operator.kill()


def test_a_restore_without_owners_and_managed_fields_is_taken_over_and_the_clock_goes_on(
    api: Api, namespace: str, operator_kubeconfig: Path, folder: Path
) -> None:
    operator = launch(operator_kubeconfig, folder, "restored").wait_ready()
    try:
        declared(api, namespace)
        clock = api.get("GameWorld", namespace, "moor")["status"]["clock"]
        backup = [
            api.get(kind, namespace, each["metadata"]["name"])
            for kind in CHILDREN
            for each in api.list(kind, namespace)
        ]
        roots = [
            api.get("ModelTier", namespace, "gold"),
            api.get("GameWorld", namespace, "moor"),
        ]
        for root in roots:
            api.delete(root["kind"], namespace, root["metadata"]["name"])
        until("all is gone", lambda: not api.list("Deployment", namespace), seconds=120)
        until(
            "the configuration is gone",
            lambda: not api.find("ConfigMap", namespace, "moor-world"),
            seconds=120,
        )
        kept = ("name", "namespace", "labels", "annotations")
        for document in [*backup, *roots]:
            if document["metadata"]["name"] in ("default", "kube-root-ca.crt"):
                continue
            document["metadata"] = {k: v for k, v in document["metadata"].items() if k in kept}
            document.pop("status", None)
            api.create(document)
        until("all is ready again", lambda: ready(api, namespace), seconds=120)
        restored = api.get("GameWorld", namespace, "moor")
        assert restored["status"]["clock"] == clock, "its start is not the new object's creation"
        assert condition(restored, "ClockStarted")["reason"] == "Continued"
        (owner,) = api.get("Deployment", namespace, "gold-on-demand")["metadata"]["ownerReferences"]
        assert owner["uid"] == api.get("ModelTier", namespace, "gold")["metadata"]["uid"]
    finally:
        operator.kill()


@pytest.fixture
def listed(api: Api, folder: Path, request: pytest.FixtureRequest) -> Iterator[tuple[str, Path]]:
    """A namespace with the rights of a release that lists it and one that is gone."""
    good = f"listed{request.node.name[-4:].strip('[]').lower()}"
    install.namespace(api, good)
    account = f"limited-{good}"
    api.apply(
        {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": account, "namespace": install.NAMESPACE},
        }
    )
    wanted = ("ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding")
    for document in charts.rendered(values={"namespaces": [good]}, name=account):
        own = "gateway" not in document["metadata"]["name"]
        if document["kind"] in wanted and own:
            api.apply(json.loads(json.dumps(document)))
    kubeconfig = install.operator_kubeconfig(api, folder / f"{good}.kubeconfig", account=account)
    yield good, kubeconfig
    for root in api.list("ModelTier", good):
        api.delete("ModelTier", good, root["metadata"]["name"])


def test_a_listed_namespace_that_is_gone_holds_up_no_other(
    api: Api, folder: Path, listed: tuple[str, Path]
) -> None:
    good, kubeconfig = listed
    began = time.monotonic()
    operator = launch(kubeconfig, folder, "listing", namespaces=f"{good},gone")
    try:
        operator.wait_ready(150)
        print(f"ready {time.monotonic() - began:.1f} s after its start (bar 15 s)")
        api.apply(manifest(good), manager="kubectl")
        until("the tier is ready", lambda: settled(api.get("ModelTier", good, "gold")), seconds=100)
        status, text = operator.get("/readyz")
        assert status == 200
        assert "of namespace gone may not be listed: 403" in text
    finally:
        operator.kill()
