"""What the accounts of a release may do, asked of the API server, and what the operator's own token is refused."""

from typing import Any

import pytest
from gameai_devcluster import install
from gameai_devcluster.api import Api, ApiError, Json, path
from gameai_devcluster.testing.waiting import until
from support.live import manifest

OPERATOR = f"system:serviceaccount:{install.NAMESPACE}:gameai-operator"
GATEWAY = f"system:serviceaccount:{install.NAMESPACE}:gameai-operator-gateway"
SYSTEM = "the operator writes no objects in the namespaces of the system"
NOT_OURS = "the operator writes only objects that it manages"
LABEL = {"app.kubernetes.io/managed-by": "gameai-operator"}


def may(api: Api, user: str, verb: str, group: str, resource: str, namespace: str) -> bool:
    """`kubectl auth can-i`, for somebody else."""
    resource, _, subresource = resource.partition("/")
    attributes = {
        "verb": verb,
        "group": group,
        "resource": resource,
        "subresource": subresource,
        "namespace": namespace,
    }
    groups = ["system:serviceaccounts", "system:authenticated"]
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": user, "groups": groups, "resourceAttributes": attributes},
    }
    answer = api.request("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", body=review)
    return bool(answer["status"]["allowed"])


# Account, verb, group, resource, own namespace or a tenant's; whether it may.
TABLE: list[tuple[str, str, str, str, str, bool]] = [
    (OPERATOR, "patch", "gameai.dev", "modeltiers/status", "tenant", True),
    (OPERATOR, "delete", "gameai.dev", "gameworlds", "tenant", False),
    (OPERATOR, "create", "gameai.dev", "modeltiers", "tenant", False),
    (OPERATOR, "patch", "apps", "deployments", "tenant", True),
    (OPERATOR, "create", "", "pods", "tenant", False),
    (OPERATOR, "create", "", "pods/exec", "tenant", False),
    (OPERATOR, "get", "", "pods/log", "tenant", False),
    (OPERATOR, "get", "", "secrets", "tenant", False),
    (OPERATOR, "list", "", "secrets", "own", False),
    (OPERATOR, "create", "", "secrets", "tenant", True),
    (OPERATOR, "patch", "", "secrets", "tenant", False),
    (OPERATOR, "delete", "", "secrets", "tenant", False),
    (OPERATOR, "patch", "apps", "statefulsets", "tenant", True),
    (OPERATOR, "create", "batch", "jobs", "tenant", True),
    (OPERATOR, "create", "batch", "cronjobs", "tenant", False),
    (OPERATOR, "delete", "", "persistentvolumeclaims", "tenant", False),
    (OPERATOR, "create", "", "serviceaccounts/token", "tenant", False),
    (OPERATOR, "impersonate", "", "serviceaccounts", "tenant", False),
    (OPERATOR, "create", "rbac.authorization.k8s.io", "roles", "tenant", False),
    (OPERATOR, "create", "rbac.authorization.k8s.io", "clusterrolebindings", "tenant", False),
    (OPERATOR, "update", "coordination.k8s.io", "leases", "own", True),
    (OPERATOR, "update", "coordination.k8s.io", "leases", "tenant", False),
    (OPERATOR, "watch", "", "nodes", "tenant", True),
    (OPERATOR, "patch", "", "nodes", "tenant", False),
    (GATEWAY, "watch", "gameai.dev", "modeltiers", "tenant", True),
    (GATEWAY, "watch", "gameai.dev", "worldviews", "tenant", True),
    (GATEWAY, "patch", "gameai.dev", "worldviews", "tenant", False),
    (GATEWAY, "watch", "discovery.k8s.io", "endpointslices", "tenant", True),
    (GATEWAY, "get", "gameai.dev", "gameworlds", "tenant", False),
    (GATEWAY, "get", "", "configmaps", "tenant", False),
    (GATEWAY, "get", "", "configmaps", "own", False),
    (GATEWAY, "list", "", "pods", "tenant", False),
    (GATEWAY, "patch", "gameai.dev", "modeltiers/status", "tenant", False),
    (GATEWAY, "get", "", "secrets", "tenant", False),
    (GATEWAY, "get", "", "secrets", "own", False),
    (GATEWAY, "create", "", "configmaps", "own", False),
    (GATEWAY, "patch", "apps", "deployments", "own", False),
]


@pytest.mark.parametrize(("user", "verb", "group", "resource", "where", "allowed"), TABLE)
def test_an_account_may_what_it_needs_and_no_more(
    user: str, verb: str, group: str, resource: str, where: str, allowed: bool, api: Api
) -> None:
    namespace = install.NAMESPACE if where == "own" else "default"
    assert may(api, user, verb, group, resource, namespace) is allowed


@pytest.fixture
def stolen(api: Api) -> Api:
    """The API as whoever holds the operator's token sees it."""
    return install.as_account(api, install.NAMESPACE, install.ACCOUNT)


def configmap(namespace: str, labels: dict[str, str]) -> Json:
    metadata = {"name": "x", "namespace": namespace, "labels": labels}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {}}


def deployment(namespace: str, container: Json | None = None, **pod: Any) -> Json:
    labels = {"app": "x"}
    containers = [{"name": "x", "image": "x", **(container or {})}]
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "x", "namespace": namespace, "labels": LABEL},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": containers, **pod}},
        },
    }


def refusal(api: Api, document: Json) -> str:
    try:
        where = path(document["kind"], document["metadata"]["namespace"])
        api.request("POST", where, body=document, query={"dryRun": "All"})
    except ApiError as error:
        return error.message
    return ""


HOST_PATH: Json = {"volumes": [{"name": "v", "hostPath": {"path": "/etc"}}]}
BOUNDS: list[tuple[str, Any, str]] = [
    ("its own kind of object", lambda where: configmap(where, LABEL), ""),
    ("kube-system", lambda _: configmap("kube-system", LABEL), SYSTEM),
    ("its own namespace", lambda _: configmap(install.NAMESPACE, LABEL), SYSTEM),
    ("without its label", lambda where: configmap(where, {}), NOT_OURS),
    ("a plain Deployment", deployment, ""),
    ("the host's network", lambda where: deployment(where, hostNetwork=True), "of the host"),
    ("the host's processes", lambda where: deployment(where, hostPID=True), "of the host"),
    (
        "a privileged container",
        lambda where: deployment(where, {"securityContext": {"privileged": True}}),
        "no privileged containers",
    ),
    (
        "a capability",
        lambda where: deployment(
            where, {"securityContext": {"capabilities": {"add": ["SYS_ADMIN"]}}}
        ),
        "no capability but CHOWN",
    ),
    (
        "an init container that is privileged",
        lambda where: deployment(
            where,
            initContainers=[{"name": "i", "image": "i", "securityContext": {"privileged": True}}],
        ),
        "no privileged containers",
    ),
    ("a folder of the node", lambda where: deployment(where, **HOST_PATH), "allowedHostPaths"),
]


@pytest.mark.parametrize(("what", "document", "words"), BOUNDS, ids=[each[0] for each in BOUNDS])
def test_the_operators_token_is_refused_what_the_operator_never_does(
    what: str, document: Any, words: str, stolen: Api, namespace: str
) -> None:
    made = document(namespace)
    if not words:
        assert refusal(stolen, made) == "", what
        return
    until(f"{what} is refused", lambda: words in refusal(stolen, made), seconds=30)


def test_an_object_that_is_not_the_operators_is_neither_taken_nor_deleted(
    api: Api, stolen: Api, namespace: str
) -> None:
    api.create(configmap(namespace, {}))

    def refused(act: Any) -> str:
        try:
            act()
        except ApiError as error:
            return error.message
        return ""

    taken = configmap(namespace, LABEL)
    until(
        "taking it is refused",
        lambda: NOT_OURS in refused(lambda: stolen.apply(taken, manager="x")),
        seconds=30,
    )
    assert NOT_OURS in refused(lambda: stolen.delete("ConfigMap", namespace, "x"))
    assert api.get("ConfigMap", namespace, "x")


def test_others_are_not_bounded(api: Api, namespace: str) -> None:
    api.create(configmap(namespace, {}))
    api.create(manifest(namespace))


def test_what_gateways_get_is_written_by_the_operator_alone(
    api: Api, stolen: Api, namespace: str
) -> None:
    """Not by whoever has every right in the namespace, not even by the cluster's administrator."""
    view: Json = {
        "apiVersion": "gameai.dev/v1alpha1",
        "kind": "WorldView",
        "metadata": {"name": "moor", "namespace": namespace, "labels": LABEL},
        "spec": {"world": "u", "callers": [f"{namespace}/thief"]},
    }
    words = "a WorldView is written by the operator alone: change the GameWorld of its name"
    until("it is refused", lambda: words in refusal(api, view), seconds=30)
    assert refusal(stolen, view) == ""
    stolen.create(view)
    spec = {"world": "u", "callers": [f"{namespace}/other"]}
    held = {**view["metadata"], "finalizers": ["example.com/held"]}
    for change in ({"spec": spec}, {"metadata": held}):
        with pytest.raises(ApiError, match="written by the operator alone"):
            api.apply({**view, **change})
    api.delete("WorldView", namespace, "moor")


def test_a_child_whose_label_was_taken_is_still_scaled(
    api: Api, stolen: Api, namespace: str
) -> None:
    tier = api.create(manifest(namespace, replicas=0))
    owner: Json = {"apiVersion": "gameai.dev/v1alpha1", "kind": "ModelTier", "name": "gold"}
    owner |= {"uid": tier["metadata"]["uid"], "controller": True}
    made = deployment(namespace, {"securityContext": {"privileged": True}})
    made["metadata"] |= {"labels": {}, "ownerReferences": [owner]}
    api.create(made)
    scaled = {**made, "metadata": {"name": "x", "namespace": namespace}, "spec": {"replicas": 2}}
    # Nor is what a hand made of its pods a reason.
    stolen.apply(scaled, manager="gameai-operator-replicas")
    assert api.get("Deployment", namespace, "x")["spec"]["replicas"] == 2
    api.delete("Deployment", namespace, "x")
