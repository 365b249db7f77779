"""EDGE: the part of a kubelet that a simulated node lacks: a container waits for the Secrets it names.

kwok starts a pod without a look at its Secrets. This loop says what a kubelet says when one is missing, in the
kubelet's words, and lets kwok go on (by an annotation that its stages ask for) when all are there.
"""

import time
from collections.abc import Iterator
from typing import Any

from gameai_devcluster.api import Api, ApiError, Json, path
from gameai_devcluster.node.files import NAME
from gameai_devcluster.stages import SECRETS_ANNOTATION, SECRETS_FOUND

_SECONDS_BETWEEN_LOOKS = 0.5


def serve(api: Api) -> None:
    """Look at waiting pods twice a second, forever; an unreachable API server is waited for."""
    while True:
        try:
            look(api)
        except (ApiError, OSError) as error:
            print(f"secrets: {error}", flush=True)
        time.sleep(_SECONDS_BETWEEN_LOOKS)


def look(api: Api) -> None:
    """One pass over the pods that are bound to a simulated node and have not started."""
    query = {"fieldSelector": f"status.phase=Pending,spec.nodeName!=,spec.nodeName!={NAME}"}
    for pod in api.request("GET", path("Pod"), query=query)["items"]:
        references = list(_references(pod))
        if references and not _released(pod):
            _judge(api, pod, references)


def fault(secret: Json | None, name: str, key: str, namespace: str) -> str | None:
    """What a kubelet says of a missing Secret or key; None where both are there."""
    if secret is None:
        return f'secret "{name}" not found'
    if key not in (secret.get("data") or {}):
        return f"couldn't find key {key} in Secret {namespace}/{name}"
    return None


def _references(pod: Json) -> Iterator[tuple[str, str]]:
    for container in pod["spec"]["containers"]:
        for variable in container.get("env", ()):
            reference = variable.get("valueFrom", {}).get("secretKeyRef")
            if reference and not reference.get("optional"):
                yield reference["name"], reference["key"]


def _released(pod: Json) -> bool:
    metadata = pod["metadata"]
    annotated: Any = metadata.get("annotations", {}).get(SECRETS_ANNOTATION)
    return bool(metadata.get("deletionTimestamp")) or annotated == SECRETS_FOUND


def _judge(api: Api, pod: Json, references: list[tuple[str, str]]) -> None:
    namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
    words = [
        fault(api.find("Secret", namespace, secret), secret, key, namespace)
        for secret, key in references
    ]
    here = path("Pod", namespace, name)
    if said := next(filter(None, words), None):
        _say(api, pod, said)
    else:
        api.patch(here, {"metadata": {"annotations": {SECRETS_ANNOTATION: SECRETS_FOUND}}})


def _say(api: Api, pod: Json, words: str) -> None:
    statuses = pod["status"].get("containerStatuses")
    if not statuses:
        return
    waiting = {"reason": "CreateContainerConfigError", "message": words}
    if statuses[0]["state"].get("waiting") == waiting:
        return
    said = [{**status, "state": {"waiting": waiting}} for status in statuses]
    here = path("Pod", pod["metadata"]["namespace"], pod["metadata"]["name"])
    api.patch(f"{here}/status", {"status": {"containerStatuses": said}}, manager="kubelet")
