"""PURE: whether a node is about to be taken away."""

from collections.abc import Mapping
from typing import Any

# Set by the AWS Node Termination Handler on a spot interruption, and by your own automation.
INTERRUPTION_TAINTS = frozenset(
    {"aws-node-termination-handler/spot-itn", "gameai.dev/interruption"}
)


def interruption(document: Mapping[str, Any]) -> str | None:
    """By which taint a node is known to end soon, in words; None where it has none."""
    taints = document.get("spec", {}).get("taints", ())
    # One that pods are only kept away from if possible would have them come back.
    keys = {each["key"] for each in taints if each["effect"] in ("NoSchedule", "NoExecute")}
    found = sorted(keys & INTERRUPTION_TAINTS)
    return f"taint {found[0]}" if found else None
