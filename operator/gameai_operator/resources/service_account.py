"""PURE: a ServiceAccount."""

from collections.abc import Iterable

from gameai_operator.controller.manifest import Document


def service_account(metadata: Document, pull_secrets: Iterable[str] = ()) -> Document:
    """An account whose token is mounted only in pods that ask for it."""
    secrets = [{"name": each} for each in pull_secrets]
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": metadata,
        "automountServiceAccountToken": False,
        **({"imagePullSecrets": secrets} if secrets else {}),
    }
