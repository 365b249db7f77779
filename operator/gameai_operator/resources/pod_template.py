"""PURE: parts that the pod templates of every kind share."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from gameai_operator.controller.manifest import Document

_KEYS = ("topology.kubernetes.io/zone", "kubernetes.io/hostname")
# As the strictest of Pod Security asks of a container.
RESTRICTED: Mapping[str, Any] = MappingProxyType(
    {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
)


def spread(labels: Mapping[str, str]) -> list[Document]:
    """Pods with these labels go to several zones and nodes where that is possible."""
    return [
        {
            "maxSkew": 1,
            "topologyKey": key,
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": dict(labels)},
        }
        for key in _KEYS
    ]
