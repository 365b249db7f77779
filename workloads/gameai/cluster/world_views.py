"""PURE: whether a WorldView is valid."""

from collections.abc import Mapping
from typing import Any

from gameai_contract.names import GROUP_PREFIX


def is_current(document: Mapping[str, Any]) -> bool:
    """Whether a WorldView is not being deleted, and owned by the GameWorld of its name that is there now.

    Raises `KeyError`, `TypeError` or `AttributeError` where it cannot be read.
    """
    metadata = document["metadata"]
    owners = metadata.get("ownerReferences") or ()
    return not metadata.get("deletionTimestamp") and any(_owns(each, document) for each in owners)


def _owns(owner: Mapping[str, Any], document: Mapping[str, Any]) -> bool:
    ours = owner["kind"] == "GameWorld" and owner["apiVersion"].startswith(GROUP_PREFIX)
    same = owner["name"] == document["metadata"]["name"]
    return bool(ours and same and owner["uid"] == document["spec"]["world"])
