"""PURE: a PodDisruptionBudget."""

from collections.abc import Mapping

from gameai_operator.controller.manifest import Document


def disruption_budget(
    metadata: Document, selector: Mapping[str, str], max_unavailable: int | str
) -> Document:
    """A budget for voluntary evictions; `max_unavailable` is a number of pods, or a percentage such as `75%`."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata,
        "spec": {
            "maxUnavailable": max_unavailable,
            "selector": {"matchLabels": dict(selector)},
            # A pod that never became ready must not block a node's drain.
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        },
    }
