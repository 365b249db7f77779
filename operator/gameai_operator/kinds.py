"""The table of kinds: one row per custom resource, one per kind of child."""

import functools
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from gameai import contract

from gameai_operator.api import crd
from gameai_operator.api.base import GROUP, VERSION
from gameai_operator.engine.deployments import deployment
from gameai_operator.engine.kind import Kind, Watched
from gameai_operator.engine.manifest import Resource
from gameai_operator.engine.pods import Pod, pod
from gameai_operator.settings import CapacityLabels
from gameai_operator.tier import status as tier_status
from gameai_operator.tier.decide import decide as decide_tier
from gameai_operator.tier.revisions import NEWEST, Inputs

MANAGED_SELECTOR = ",".join(f"{key}={value}" for key, value in contract.MANAGED_BY.items())


def kinds(capacity: CapacityLabels) -> Mapping[str, Kind]:
    """Our own kinds by name."""
    current = Inputs(revision=NEWEST, capacity=capacity)
    return MappingProxyType(
        {
            "ModelTier": Kind(
                definition=crd.MODEL_TIER,
                resource=Resource(
                    group=GROUP,
                    version=VERSION,
                    kind=crd.MODEL_TIER.kind,
                    plural=crd.MODEL_TIER.plural,
                    root=True,
                ),
                label=contract.TIER_LABEL,
                status_fields=tier_status.FIELDS,
                condition_types=tier_status.CONDITIONS,
                decide=functools.partial(decide_tier, current=current),
            ),
        }
    )


def _pod(document: Mapping[str, Any]) -> Pod:
    return pod(document, contract.CAPACITY_LABEL, contract.VLLM_CONTAINER)


def _nothing(_: Mapping[str, Any]) -> None:
    """No decision asks how it is doing, only whether it is there and ours."""


def _row(group: str, version: str, kind: str, plural: str) -> Resource:
    return Resource(group=group, version=version, kind=kind, plural=plural)


WATCHED: Mapping[str, Watched] = MappingProxyType(
    {
        each.resource.kind: each
        for each in (
            Watched(resource=_row("apps", "v1", "Deployment", "deployments"), project=deployment),
            Watched(resource=_row("", "v1", "Service", "services"), project=_nothing),
            Watched(
                resource=_row("", "v1", "ServiceAccount", "serviceaccounts"),
                project=_nothing,
                look_first=True,
            ),
            Watched(
                resource=_row("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets"),
                project=_nothing,
            ),
            Watched(resource=_row("", "v1", "Pod", "pods"), project=_pod),
        )
    }
)
