"""PURE: what every pod of a knowledge base has in common."""

from collections.abc import Mapping

from gameai_operator.controller.manifest import Document
from gameai_operator.resources.pod_template import RESTRICTED
from gameai_operator.resources.template_inputs import Inputs

GRACE_SECONDS = 45


def template(
    labels: Mapping[str, str],
    container: Document,
    volumes: list[Document],
    inputs: Inputs,
    *,
    account: str,
    user: int,
    grace_seconds: int = GRACE_SECONDS,
) -> Document:
    """A pod template with one container and no way to the Kubernetes API; `user` runs it where ids are ours to choose."""
    ids = {"runAsUser": user, "runAsGroup": user, "fsGroup": user} if inputs.pods.fixed_ids else {}
    return {
        "metadata": {"labels": {**inputs.pods.labels, **labels}},
        "spec": {
            "serviceAccountName": account,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "imagePullSecrets": [{"name": each} for each in inputs.pods.pull_secrets],
            "terminationGracePeriodSeconds": grace_seconds,
            "securityContext": {
                "runAsNonRoot": True,
                **ids,
                # All at each start would open the files of a database to its group, which it refuses.
                "fsGroupChangePolicy": "OnRootMismatch",
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    **container,
                    "terminationMessagePolicy": "FallbackToLogsOnError",
                    "securityContext": dict(RESTRICTED),
                }
            ],
            "volumes": volumes,
        },
    }


def resources(cpu: str, memory: str) -> Document:
    """Requests, and a limit of memory alone."""
    return {"requests": {"cpu": cpu, "memory": memory}, "limits": {"memory": memory}}


def scratch(name: str, path: str, limit: str) -> tuple[Document, Document]:
    """A writable folder: the volume and its mount."""
    return {"name": name, "emptyDir": {"sizeLimit": limit}}, {"name": name, "mountPath": path}
