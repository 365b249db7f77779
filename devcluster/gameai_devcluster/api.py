"""EDGE: a small synchronous Kubernetes client for set-up and tests: dict bodies, one method per verb."""

import base64
import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import urllib3
import yaml

Json = dict[str, Any]
MERGE = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
APPLY = "application/apply-patch+yaml"

# kind → API group and version ("v1" is the core group), plural, namespaced
_KINDS: Mapping[str, tuple[str, str, bool]] = {
    "Node": ("v1", "nodes", False),
    "Namespace": ("v1", "namespaces", False),
    "Pod": ("v1", "pods", True),
    "Event": ("v1", "events", True),
    "Secret": ("v1", "secrets", True),
    "Service": ("v1", "services", True),
    "ConfigMap": ("v1", "configmaps", True),
    "ServiceAccount": ("v1", "serviceaccounts", True),
    "PersistentVolume": ("v1", "persistentvolumes", False),
    "PersistentVolumeClaim": ("v1", "persistentvolumeclaims", True),
    "Deployment": ("apps/v1", "deployments", True),
    "StatefulSet": ("apps/v1", "statefulsets", True),
    "Job": ("batch/v1", "jobs", True),
    "ReplicaSet": ("apps/v1", "replicasets", True),
    "PodDisruptionBudget": ("policy/v1", "poddisruptionbudgets", True),
    "EndpointSlice": ("discovery.k8s.io/v1", "endpointslices", True),
    "NetworkPolicy": ("networking.k8s.io/v1", "networkpolicies", True),
    "Lease": ("coordination.k8s.io/v1", "leases", True),
    "Role": ("rbac.authorization.k8s.io/v1", "roles", True),
    "RoleBinding": ("rbac.authorization.k8s.io/v1", "rolebindings", True),
    "ClusterRole": ("rbac.authorization.k8s.io/v1", "clusterroles", False),
    "ClusterRoleBinding": ("rbac.authorization.k8s.io/v1", "clusterrolebindings", False),
    "ValidatingAdmissionPolicy": (
        "admissionregistration.k8s.io/v1",
        "validatingadmissionpolicies",
        False,
    ),
    "ValidatingAdmissionPolicyBinding": (
        "admissionregistration.k8s.io/v1",
        "validatingadmissionpolicybindings",
        False,
    ),
    "CustomResourceDefinition": ("apiextensions.k8s.io/v1", "customresourcedefinitions", False),
    "PriorityClass": ("scheduling.k8s.io/v1", "priorityclasses", False),
    "APIService": ("apiregistration.k8s.io/v1", "apiservices", False),
    "HorizontalPodAutoscaler": ("autoscaling/v2", "horizontalpodautoscalers", True),
    "NodePool": ("karpenter.sh/v1", "nodepools", False),
    "KWOKNodeClass": ("karpenter.kwok.sh/v1alpha1", "kwoknodeclasses", False),
    "ScaledObject": ("keda.sh/v1alpha1", "scaledobjects", True),
    "KnowledgeBase": ("gameai.dev/v1alpha1", "knowledgebases", True),
    "GameWorld": ("gameai.dev/v1alpha1", "gameworlds", True),
    "ModelTier": ("gameai.dev/v1alpha1", "modeltiers", True),
    "WorldView": ("gameai.dev/v1alpha1", "worldviews", True),
}


class ApiError(Exception):
    """The API server refused; `status` is the HTTP status (0: no answer), the text is its message."""

    def __init__(self, status: int, message: str, reason: str = "") -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status = status
        self.message = message
        self.reason = reason


def path(kind: str, namespace: str | None = None, name: str | None = None) -> str:
    """The URL path of a kind's collection, or of one object; KeyError for a kind not in the table."""
    version, plural, namespaced = _KINDS[kind]
    parts = ["/api/v1" if version == "v1" else f"/apis/{version}"]
    parts += ["namespaces", namespace] if namespaced and namespace else []
    parts += [plural, *([name] if name else [])]
    return "/".join(parts)


def path_of(manifest: Mapping[str, Any]) -> str:
    """The URL path of the object that a manifest describes."""
    metadata = manifest["metadata"]
    return path(manifest["kind"], metadata.get("namespace"), metadata["name"])


@dataclass(frozen=True, kw_only=True, slots=True)
class Credentials:
    """How to reach and convince one API server."""

    server: str
    ca_file: str | None = None
    certificate_file: str | None = None
    key_file: str | None = None
    token: str | None = None


def from_kubeconfig(file: Path) -> Credentials:
    """The current context's credentials; certificates may be files or inline data.

    Raises ValueError for a user with an exec plugin: tests must not depend on it.
    """
    config = yaml.safe_load(file.read_text())
    context = _named(config["contexts"], config["current-context"])["context"]
    cluster = _named(config["clusters"], context["cluster"])["cluster"]
    user = _named(config["users"], context["user"])["user"]
    if "exec" in user:
        raise ValueError(
            f"{file}: its user is given by a program (exec); give one with a token or certificate"
        )
    return Credentials(
        server=cluster["server"],
        ca_file=_as_file(cluster, "certificate-authority"),
        certificate_file=_as_file(user, "client-certificate"),
        key_file=_as_file(user, "client-key"),
        token=user.get("token"),
    )


def _named(entries: list[Json], name: str) -> Json:
    return next(entry for entry in entries if entry["name"] == name)


def _as_file(entry: Json, key: str) -> str | None:
    if inline := entry.get(f"{key}-data"):
        with tempfile.NamedTemporaryFile(prefix="gameai-", delete=False) as file:
            file.write(base64.b64decode(inline))
        return file.name
    value: str | None = entry.get(key)
    return value


class Api:
    """Requests with dict bodies. Every method raises `ApiError` for an answer above 299."""

    def __init__(self, credentials: Credentials, *, timeout_seconds: float = 15.0) -> None:
        self.credentials = credentials
        self._pool = urllib3.PoolManager(
            maxsize=16,
            ca_certs=credentials.ca_file,
            cert_file=credentials.certificate_file,
            key_file=credentials.key_file,
            retries=False,
            timeout=timeout_seconds,
        )

    def request(
        self,
        method: str,
        url_path: str,
        *,
        body: Any = None,
        query: Mapping[str, Any] | None = None,
        content_type: str = "application/json",
    ) -> Any:
        """One request; the decoded JSON answer, or the text where it is not JSON."""
        text = self._text(method, url_path, body=body, query=query, content_type=content_type)
        return json.loads(text) if text.startswith(("{", "[")) else text

    def text(self, url_path: str, query: Mapping[str, Any] | None = None) -> str:
        """GET a text that is not JSON: a log, metrics."""
        return self._text("GET", url_path, body=None, query=query, content_type="text/plain")

    def _text(self, method: str, url_path: str, **options: Any) -> str:
        answer = self._send(method, url_path, **options)
        text = answer.data.decode(errors="replace")
        if answer.status > 299:
            raise _error(answer.status, text)
        return text

    def _send(self, method: str, url_path: str, **options: Any) -> urllib3.BaseHTTPResponse:
        accepted = "*/*" if options["content_type"] == "text/plain" else "application/json"
        headers = {"Content-Type": options["content_type"], "Accept": accepted}
        if self.credentials.token:
            headers["Authorization"] = f"Bearer {self.credentials.token}"
        query = f"?{urlencode(options['query'])}" if options["query"] else ""
        body = None if options["body"] is None else json.dumps(options["body"])
        url = self.credentials.server + url_path + query
        try:
            return self._pool.request(method, url, body=body, headers=headers)
        except urllib3.exceptions.HTTPError as error:
            raise ApiError(0, str(error), "NoAnswer") from error

    def get(self, kind: str, namespace: str | None, name: str) -> Json:
        """One object."""
        answer: Json = self.request("GET", path(kind, namespace, name))
        return answer

    def find(self, kind: str, namespace: str | None, name: str) -> Json | None:
        """One object, or None if absent."""
        try:
            return self.get(kind, namespace, name)
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def list(self, kind: str, namespace: str | None = None, *, selector: str = "") -> list[Json]:
        """All objects of a kind, in a namespace or everywhere."""
        query = {"labelSelector": selector} if selector else None
        items: list[Json] = self.request("GET", path(kind, namespace), query=query)["items"]
        return items

    def create(self, manifest: Json) -> Json:
        """POST; 409 where the object exists."""
        metadata = manifest["metadata"]
        answer: Json = self.request(
            "POST", path(manifest["kind"], metadata.get("namespace")), body=manifest
        )
        return answer

    def apply(self, manifest: Json, *, manager: str = "devcluster", force: bool = True) -> Json:
        """Server-side apply with strict field validation."""
        query = {"fieldManager": manager, "force": str(force).lower(), "fieldValidation": "Strict"}
        answer: Json = self.request(
            "PATCH", path_of(manifest), body=manifest, query=query, content_type=APPLY
        )
        return answer

    def patch(
        self,
        url_path: str,
        body: Any,
        *,
        content_type: str = MERGE,
        manager: str = "kubectl-edit",
    ) -> Json:
        """A merge patch or JSON patch, as a hand with kubectl would send it."""
        answer: Json = self.request(
            "PATCH",
            url_path,
            body=body,
            query={"fieldManager": manager},
            content_type=content_type,
        )
        return answer

    def delete(self, kind: str, namespace: str | None, name: str, **options: Any) -> None:
        """DELETE; `options` become the DeleteOptions. An absent object is not an error."""
        body = {"apiVersion": "v1", "kind": "DeleteOptions"} | options
        try:
            self.request("DELETE", path(kind, namespace, name), body=body)
        except ApiError as error:
            if error.status != 404:
                raise

    def watch(self, url_path: str, *, query: Mapping[str, Any], seconds: int) -> Iterator[Json]:
        """Watch events until the server ends the watch after `seconds`."""
        headers = {"Accept": "application/json"}
        if self.credentials.token:
            headers["Authorization"] = f"Bearer {self.credentials.token}"
        options = urlencode({"watch": "true", "timeoutSeconds": seconds, **query})
        url = f"{self.credentials.server}{url_path}?{options}"
        timeout = urllib3.Timeout(connect=5, read=seconds + 10)
        answer = self._pool.request(
            "GET", url, headers=headers, preload_content=False, timeout=timeout
        )
        buffer = b""
        for piece in answer.stream():
            *lines, buffer = (buffer + piece).split(b"\n")
            yield from (json.loads(line) for line in lines if line)


def _error(status: int, text: str) -> ApiError:
    try:
        detail = json.loads(text)
    except ValueError:
        return ApiError(status, text[:500])
    return ApiError(status, detail.get("message", ""), detail.get("reason", ""))
