"""EDGE: what a user installs: CRDs, the operator's rights, and a kubeconfig with its service account's own token."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import yaml

from gameai_devcluster import charts
from gameai_devcluster.api import Api, ApiError, Json, path
from gameai_devcluster.cluster import kubeconfig_document

ROOT = Path(__file__).resolve().parents[2]
NAMESPACE = "gameai-system"
# The PriorityClass of placeholders, as the chart names it.
HEADROOM_CLASS = f"gameai-operator-{NAMESPACE}-headroom"
ACCOUNT = "gameai-operator"
_APPLIED = frozenset(
    {
        "ServiceAccount",
        "ClusterRole",
        "ClusterRoleBinding",
        "Role",
        "RoleBinding",
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
        "NetworkPolicy",
        "PriorityClass",
    }
)
_TOKEN_SECONDS = 7 * 24 * 3600
_GATEWAY_TOKEN_SECONDS = 3600


def crds(api: Api, folder: Path = ROOT / "crds", pattern: str = "*.yaml") -> None:
    """Apply every CRD and wait until each is served."""
    for file in sorted(folder.glob(pattern)):
        document = yaml.safe_load(file.read_text())
        api.apply(document)
        served = [each["name"] for each in document["spec"]["versions"] if each["served"]]
        _wait_established(api, document["metadata"]["name"], served[0])


def examples() -> list[Json]:
    """Every document of examples/, in the order of applying: what worlds name comes before them."""
    documents: list[Json] = [
        document
        for file in sorted((ROOT / "examples").glob("*.yaml"))
        for document in yaml.safe_load_all(file.read_text())
    ]
    return sorted(documents, key=lambda each: each["kind"] == "GameWorld")


def has_status(document: Json) -> bool:
    """Whether it is of one of our kinds, which say whether they are Ready."""
    return str(document["apiVersion"]).startswith("gameai.dev/")


def namespace(api: Api, name: str) -> None:
    """Make sure that a namespace exists."""
    api.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})


def rights(api: Api, *, namespaces: Sequence[str] = ()) -> None:
    """All of the operator's chart but its pods: account, rights everywhere or in some namespaces, deletion protection."""
    namespace(api, NAMESPACE)
    objects = charts.rendered(
        values={"namespaces": list(namespaces), "bus": {"mode": "Managed"}}, namespace=NAMESPACE
    )
    for document in objects:
        if document["kind"] in _APPLIED:
            api.apply(document)


def operator_kubeconfig(
    api: Api, file: Path, *, server: str | None = None, account: str = ACCOUNT
) -> Path:
    """Write a kubeconfig with a token of the operator's service account, good for a week."""
    own = as_account(api, NAMESPACE, account).credentials
    credentials = replace(own, server=server or own.server)
    file.touch(mode=0o600)
    file.write_text(yaml.safe_dump(kubeconfig_document(credentials)))
    return file


def as_account(api: Api, namespace: str, account: str) -> Api:
    """The same API server, as a ServiceAccount sees it."""
    own = token(api, namespace, account)
    return Api(replace(api.credentials, token=own, certificate_file=None, key_file=None))


def token(api: Api, namespace: str, account: str, *, audience: str = "") -> str:
    """A token of a ServiceAccount for the API server, good for a week; for another audience it is good for an hour."""
    request = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {
            "expirationSeconds": _GATEWAY_TOKEN_SECONDS if audience else _TOKEN_SECONDS,
            **({"audiences": [audience]} if audience else {}),
        },
    }
    where = path("ServiceAccount", namespace, account) + "/token"
    made: str = api.request("POST", where, body=request)["status"]["token"]
    return made


def _wait_established(api: Api, name: str, version: str, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    group = name.partition(".")[2]
    while time.monotonic() < end:
        conditions = (
            api.get("CustomResourceDefinition", None, name)["status"].get("conditions") or []
        )
        if any(c["type"] == "Established" and c["status"] == "True" for c in conditions):
            try:
                api.request("GET", f"/apis/{group}/{version}/{name.partition('.')[0]}?limit=1")
            except ApiError:
                time.sleep(0.05)
                continue
            return
        time.sleep(0.05)
    raise TimeoutError(f"{name} was not served in {seconds:.0f} s")
