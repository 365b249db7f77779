"""PURE: a Secret with a password of our own making."""

from collections.abc import Callable

from gameai_operator.controller.manifest import Document, Key, Manifest, Resource
from gameai_operator.controller.plan import Creation

RESOURCE = Resource(group="", version="v1", kind="Secret", plural="secrets")
PASSWORD_KEY = "password"  # noqa: S105 - a key's name


def password(metadata: Document) -> Creation:
    """A Secret with one random password, created once."""

    def render(random: Callable[[], str]) -> Manifest:
        return {
            "apiVersion": RESOURCE.api_version,
            "kind": RESOURCE.kind,
            "metadata": metadata,
            "type": "Opaque",
            "stringData": {PASSWORD_KEY: random()},
        }

    key = Key(RESOURCE.kind, metadata["namespace"], metadata["name"])
    return Creation(resource=RESOURCE, key=key, render=render)
