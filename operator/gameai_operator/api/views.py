"""PURE: what one of our objects shows to others that refer to it."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gameai_contract import archetypes
from pydantic import ValidationError

from gameai_operator.api.access import Access

_UNREAD = "ArchetypesUnread"
# The reason of a knowledge base whose memory has no pods.
SCALED_TO_ZERO = "ScaledToZero"
# Of all ConfigMaps of archetypes that the worlds of a namespace name.
ARCHETYPES_BUDGET_BYTES = 1 << 20


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


@dataclass(frozen=True, kw_only=True, slots=True)
class KnowledgeView:
    """A knowledge base as a world sees it: whether its memory answers, else the `reason`, and who may read which world.

    `readers` are pairs of an account, `namespace/name`, and a world.
    """

    endpoint: str
    answers: bool
    reason: str
    readers: frozenset[tuple[str, str]]


def knowledge_view(root: Mapping[str, Any]) -> KnowledgeView | None:
    """What a KnowledgeBase shows; None once it is being deleted.

    A memory that answers does so while a source is ingested, or is broken. Without pods it does not.
    """
    if "deletionTimestamp" in root["metadata"]:
        return None
    status = root.get("status", {})
    entries = {entry["type"]: entry for entry in status.get("conditions", ())}
    service, ready = entries.get("ServiceReady", {}), entries.get("Ready", {})
    answers = service.get("status") == "True" and service.get("reason") != SCALED_TO_ZERO
    return KnowledgeView(
        endpoint=status.get("endpoint", ""),
        answers=answers,
        reason="" if answers else ready.get("reason", "Unseen"),
        readers=frozenset(
            (f"{each['namespace']}/{each['serviceAccount']}", world)
            for each in root["spec"].get("callers", ())
            for world in each.get("worlds", ())
        ),
    )


def _access(document: Mapping[str, Any]) -> Access:
    """Access of a tier. Values that this operator does not know grant access to no namespace."""
    try:
        return Access.model_validate(document)
    except ValidationError:
        return Access()


@dataclass(frozen=True, kw_only=True, slots=True)
class ConfigMapView:
    """A user's ConfigMap as those see it that name it: a world its archetypes, a knowledge base whether its texts have changed.

    `document` is one of all archetypes, or `fault` what is wrong with them, with the `reason` of the condition. `digest`
    is that of the content, empty where it could not be read.
    """

    document: str = ""
    reason: str = ""
    fault: str = ""
    digest: str = ""

    @property
    def unread(self) -> bool:
        """Whether the API server did not return it, so that no user has to change anything."""
        return self.reason == _UNREAD


def config_map_view(config: Mapping[str, Any]) -> ConfigMapView:
    """What a ConfigMap shows; archetypes take a second for each 100 KiB, of which there is at most 128 KiB."""
    data = config.get("data") or {}
    text = json.dumps([data, config.get("binaryData") or {}], sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    try:
        found = archetypes.parse(data)
    except archetypes.ArchetypeError as error:
        return ConfigMapView(reason="ArchetypesInvalid", fault=str(error), digest=digest)
    return ConfigMapView(document=archetypes.document(found), digest=digest)


def config_map_refused(message: str) -> ConfigMapView:
    """What a ConfigMap shows whose archetypes do not fit its namespace's budget."""
    return ConfigMapView(reason="ArchetypesBudget", fault=message)


def config_map_unread(message: str) -> ConfigMapView:
    """What a ConfigMap shows that the API server does not give."""
    return ConfigMapView(reason=_UNREAD, fault=message)


def archetypes_bytes(view: ConfigMapView) -> int:
    """What of its namespace's budget is taken."""
    return len(view.document.encode()) + len(view.fault.encode())


def namespace_labels(document: Mapping[str, Any]) -> dict[str, str]:
    """What matters of a namespace."""
    return dict(document["metadata"].get("labels", {}))
