"""PURE: what one of our objects shows to others that refer to it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from gameai import archetypes
from pydantic import ValidationError

from gameai_operator.api.access import Access


@dataclass(frozen=True, kw_only=True, slots=True)
class TierView:
    """A tier as a world sees it. `reason` says why it is not ready; `endpoint` is where its pods answer.

    `cost_per_hour` is in USD and changes with every pod, so that it makes no difference to who sees the tier.
    """

    access: Access
    ready: bool
    reason: str
    endpoint: str
    cost_per_hour: str = field(default="", compare=False)


def tier_view(root: Mapping[str, Any]) -> TierView | None:
    """What a ModelTier shows; None once it is being deleted."""
    if "deletionTimestamp" in root["metadata"]:
        return None
    status = root.get("status", {})
    entries = {entry["type"]: entry for entry in status.get("conditions", ())}
    ready = entries.get("Ready", {})
    is_ready = ready.get("status") == "True"
    return TierView(
        access=_access(root["spec"].get("access", {})),
        ready=is_ready,
        reason="" if is_ready else ready.get("reason", "Unseen"),
        endpoint=status.get("endpoint", ""),
        cost_per_hour=status.get("cost", {}).get("perHour", ""),
    )


def _access(document: Mapping[str, Any]) -> Access:
    """Access as it is given; what only a newer operator understands lets nobody in."""
    try:
        return Access.model_validate(document)
    except ValidationError:
        return Access()


@dataclass(frozen=True, kw_only=True, slots=True)
class ArchetypesView:
    """A user's archetypes as a world sees them: files by name. They are read where a world names them, and not before."""

    files: tuple[tuple[str, str], ...] = ()

    def read(self) -> tuple[str, str]:
        """One document of all files, and what is wrong with them; one of the two is empty."""
        return _read(self.files)


def archetypes_view(config: Mapping[str, Any]) -> ArchetypesView:
    """What a ConfigMap with archetypes shows."""
    return ArchetypesView(files=archetypes.documents(config.get("data") or {}))


# Reading takes a second for each 100 KiB, so it is done once for a content.
@lru_cache(maxsize=4096)
def _read(files: tuple[tuple[str, str], ...]) -> tuple[str, str]:
    try:
        return archetypes.document(archetypes.parse(dict(files))), ""
    except archetypes.ArchetypeError as error:
        return "", str(error)


def namespace_labels(document: Mapping[str, Any]) -> dict[str, str]:
    """What matters of a namespace."""
    return dict(document["metadata"].get("labels", {}))
