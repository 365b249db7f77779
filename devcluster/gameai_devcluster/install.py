"""EDGE: what a user installs: CRDs, the operator's rights, and a kubeconfig with its service account's own token."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import yaml

from gameai_devcluster import charts
from gameai_devcluster.api import Api, ApiError, path
from gameai_devcluster.cluster import kubeconfig_document

ROOT = Path(__file__).resolve().parents[2]
NAMESPACE = "gameai-system"
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
    }
)
_TOKEN_SECONDS = 7 * 24 * 3600


def crds(api: Api, folder: Path = ROOT / "crds") -> None:
    """Apply every CRD and wait until each is served."""
    for file in sorted(folder.glob("*.yaml")):
        document = yaml.safe_load(file.read_text())
        api.apply(document)
        _wait_established(api, document["metadata"]["name"])


def namespace(api: Api, name: str) -> None:
    """Make sure that a namespace exists."""
    api.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})


def rights(api: Api, *, namespaces: Sequence[str] = ()) -> None:
    """All of the operator's chart but its pods: account, rights everywhere or in some namespaces, deletion protection."""
    namespace(api, NAMESPACE)
    objects = charts.rendered(values={"namespaces": list(namespaces)}, namespace=NAMESPACE)
    for document in objects:
        if document["kind"] in _APPLIED:
            api.apply(document)


def operator_kubeconfig(api: Api, file: Path, *, server: str | None = None) -> Path:
    """Write a kubeconfig with a token of the operator's service account, good for a week."""
    where = path("ServiceAccount", NAMESPACE, ACCOUNT) + "/token"
    request = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"expirationSeconds": _TOKEN_SECONDS},
    }
    token = api.request("POST", where, body=request)["status"]["token"]
    credentials = replace(
        api.credentials,
        server=server or api.credentials.server,
        certificate_file=None,
        key_file=None,
        token=token,
    )
    file.touch(mode=0o600)
    file.write_text(yaml.safe_dump(kubeconfig_document(credentials)))
    return file


def _wait_established(api: Api, name: str, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    group, version = name.partition(".")[2], "v1alpha1"
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
