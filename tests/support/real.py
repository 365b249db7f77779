"""What end-to-end tests share: the state of pods and worlds, a client's pod, and the figures that are shown."""

import json
from pathlib import Path
from typing import Any

from gameai.serving.identity import AUDIENCE
from gameai_contract.names import CONFIG_ENVIRONMENT, CONFIG_FOLDER, TOKEN_ENVIRONMENT, TOKEN_FOLDER
from gameai_devcluster import e2e, install
from gameai_devcluster.api import Api, Json, path
from gameai_devcluster.testing.waiting import settled, until, world_settled

SYSTEM = install.NAMESPACE
WEATHER = "gameai.dev/world=moor,gameai.dev/service=weather-manager"

_SCRIPTS = Path(__file__).parents[1] / "e2e"
RESTRICTED: Json = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


def live(api: Api, namespace: str, selector: str = "") -> list[Json]:
    """Pods that are there to stay."""
    found = api.list("Pod", namespace, selector=selector)
    return [each for each in found if "deletionTimestamp" not in each["metadata"]]


def is_ready(pod: Json) -> bool:
    """Whether a pod says so."""
    conditions = pod["status"].get("conditions", ())
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def identities(api: Api, namespace: str) -> dict[str, Any]:
    """Every pod with the number of its restarts, and every Deployment's template, for a comparison."""
    pods = {
        each["metadata"]["uid"]: [s["restartCount"] for s in each["status"]["containerStatuses"]]
        for each in live(api, namespace)
        if each["status"].get("containerStatuses")
    }
    templates = {
        each["metadata"]["name"]: each["metadata"]["annotations"]["gameai.dev/template-hash"]
        for each in api.list("Deployment", namespace)
    }
    return {"pods": pods, "templates": templates}


def operator_pods(api: Api) -> list[Json]:
    found = api.list("Pod", SYSTEM, selector="app.kubernetes.io/name=gameai-operator")
    return [each for each in found if "deletionTimestamp" not in each["metadata"]]


def metrics(api: Api, pod: Json) -> str:
    """What a pod of ours tells of itself."""
    metadata = pod["metadata"]
    at = path("Pod", metadata["namespace"], f"{metadata['name']}:8080")
    return api.text(f"{at}/proxy/metrics")


def rolled(deployment: Json) -> bool:
    """Whether every pod of a Deployment is of the present template, and ready."""
    status, wanted = deployment["status"], deployment["spec"]["replicas"]
    seen = status.get("observedGeneration") == deployment["metadata"]["generation"]
    counts = {status.get(each) for each in ("replicas", "readyReplicas", "updatedReplicas")}
    return seen and counts == {wanted}


def wait_operator(api: Api, seconds: float = 120) -> None:
    """Until the operator's pods are ready, and the scaler's where the installed release has one."""

    def ready() -> bool:
        found = {each["metadata"]["name"]: each for each in api.list("Deployment", SYSTEM)}
        ours = [
            found[each] for each in ("gameai-operator", "gameai-operator-scaler") if each in found
        ]
        return "gameai-operator" in found and all(rolled(each) for each in ours)

    until("all pods of operator and scaler are ready", ready, seconds=seconds)


def wait_ready(api: Api, kind: str, namespace: str, name: str, seconds: float = 180) -> Json:
    """The object, once its present spec is Ready and nothing is in progress."""
    whole = settled if kind == "ModelTier" else world_settled

    def look() -> Json | None:
        found = api.get(kind, namespace, name)
        return found if whole(found) else None

    return until(f"{kind} {namespace}/{name} is Ready", look, seconds=seconds)


def scaled(api: Api, replicas: int) -> None:
    """The example world's weather-managers, so many and settled."""
    where = path("GameWorld", "eldermoor", "moor")
    services = api.request("GET", where)["spec"]["services"]
    for each in services:
        if each["name"] == "weather-manager":
            each["replicas"] = replicas
    api.patch(where, {"spec": {"services": services}})
    until("it is settled", lambda: world_settled(api.request("GET", where)), seconds=120)


class Caller:
    """A client's pod that runs a script of ours until it is asked to stop, and then reports how it went.

    With an `account` it has that account's token for the gateway, with a `world` what a service of it finds in its pod.
    """

    def __init__(
        self,
        api: Api,
        namespace: str,
        image: str,
        target: tuple[str, ...],
        *,
        name: str = "caller",
        labels: Json | None = None,
        account: str = "",
        world: str = "",
    ) -> None:
        self._api, self._namespace = api, namespace
        self.name = name
        script = {f"{name}.py": (_SCRIPTS / f"{name}.py").read_text()}
        metadata = {"name": self.name, "namespace": namespace}
        api.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": script})
        container = {
            "name": name,
            "image": image,
            "command": ["python", f"/caller/{name}.py", *target],
            "securityContext": RESTRICTED,
            # Else what starts beside it takes all of the machine, and it is late by itself.
            "resources": {"requests": {"cpu": "100m"}},
            "volumeMounts": [
                {"name": "caller", "mountPath": "/caller"},
                {"name": "token", "mountPath": TOKEN_FOLDER},
                *([{"name": "world", "mountPath": CONFIG_FOLDER}] if world else []),
            ],
            "env": [
                {
                    "name": CONFIG_ENVIRONMENT,
                    "value": f"{CONFIG_FOLDER}/world.json",
                },
                {"name": TOKEN_ENVIRONMENT, "value": f"{TOKEN_FOLDER}/token"},
            ],
        }
        projected = {"audience": AUDIENCE, "path": "token", "expirationSeconds": 600}
        api.create(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {**metadata, "labels": labels or {}},
                "spec": {
                    "restartPolicy": "Never",
                    **({"serviceAccountName": account} if account else {}),
                    "automountServiceAccountToken": False,
                    "securityContext": {
                        "runAsNonRoot": True,
                        "seccompProfile": {"type": "RuntimeDefault"},
                    },
                    "containers": [container],
                    "volumes": [
                        {"name": "caller", "configMap": {"name": self.name}},
                        {
                            "name": "token",
                            "projected": {"sources": [{"serviceAccountToken": projected}]},
                        },
                        *(
                            [{"name": "world", "configMap": {"name": f"{world}-world"}}]
                            if world
                            else []
                        ),
                    ],
                },
            }
        )

    def log(self) -> str:
        """What it has said."""
        return self._api.text(f"{path('Pod', self._namespace, self.name)}/log")

    def wait_said(self, word: str) -> "Caller":
        """Until it has said this."""
        until(f"it says {word}", lambda: word in self.log(), seconds=120)
        return self

    def result(self, kubectl: Any) -> Json:
        """Stop it; calls that were answered, failures and ends of streams by status."""
        inside = ["python", "-c", "import os, signal; os.kill(1, signal.SIGUSR1)"]
        kubectl("-n", self._namespace, "exec", self.name, "--", *inside)
        until("it has reported", lambda: '"answered"' in self.log(), seconds=60)
        line = next(each for each in self.log().splitlines() if '"answered"' in each)
        self.remove()
        summary: Json = json.loads(line)
        return summary

    def remove(self) -> None:
        """Delete the pod."""
        self._api.delete("Pod", self._namespace, self.name, gracePeriodSeconds=0)
        until(
            "it is gone",
            lambda: self._api.find("Pod", self._namespace, self.name) is None,
            seconds=60,
        )


def provide(api: Api, environment: e2e.Environment, name: str) -> None:
    """What a storage driver would make."""
    if not environment.real_node:
        return
    folder = Path(environment.folder) / f"volume-{name}"
    folder.mkdir(parents=True, exist_ok=True)
    host = {"key": "kubernetes.io/hostname", "operator": "In", "values": ["real-0"]}
    api.apply(
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": name},
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "capacity": {"storage": "2Gi"},
                "local": {"path": str(folder)},
                "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [host]}]}},
            },
        }
    )
