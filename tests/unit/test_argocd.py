"""Argo CD judges our kinds as `kubectl wait` does; its own default takes every unknown kind for healthy at once."""

from pathlib import Path
from typing import Any

import lupa  # type: ignore[import-untyped] # it has no stubs
import pytest
import yaml
from gameai_devcluster.testing.rendering import NOW, decided
from gameai_operator.controller import status_report
from gameai_operator.controller.kind import RejectedWrite
from gameai_operator.controller.manifest import Key
from support import tiers, worlds

FOLDER = Path(__file__).resolve().parents[2] / "integrations" / "argocd"
SCRIPT = (FOLDER / "health.lua").read_text()


def health(document: dict[str, Any]) -> tuple[str, str]:
    """Status and message that the script gives an object."""
    lua = lupa.LuaRuntime(unpack_returned_tuples=True)

    def table(value: Any) -> Any:
        if isinstance(value, dict):
            return lua.table_from({key: table(each) for key, each in value.items()})
        if isinstance(value, list | tuple):
            return lua.table_from([table(each) for each in value])
        return value

    lua.globals().obj = table(document)
    found = lua.execute(SCRIPT)
    return found.status, found.message


def with_status(root: dict[str, Any], **seen: Any) -> dict[str, Any]:
    """An object as it is once the operator has decided on it."""
    decision = decided(root, references=seen.pop("references", worlds.READY_TIERS), **seen)
    return {**root, "status": status_report.status_of(root, decision, NOW, claim="a/b")}


REFUSAL = RejectedWrite(key=Key("Service", "n", "gold"), reason="NameConflict", message="taken")
FAILURE = RejectedWrite(
    key=Key("Service", "n", "gold"), reason="ApplyFailing", message="500 webhook"
)


def conditions(*given: tuple[str, str, str]) -> dict[str, Any]:
    entries = [{"type": a, "status": b, "reason": c, "message": f"{c}!"} for a, b, c in given]
    status = {"observedGeneration": 1, "conditions": entries}
    return {**tiers.resource(), "status": status}


@pytest.mark.parametrize(
    ("document", "status"),
    [
        (tiers.resource(), "Progressing"),
        (worlds.resource(), "Progressing"),
        (with_status(tiers.resource()), "Progressing"),
        (with_status(tiers.resource(), rejections=(REFUSAL,)), "Degraded"),
        (with_status(tiers.resource(), failures=(FAILURE,)), "Progressing"),
        (with_status(tiers.resource(engine={"vllm": {"args": ["--uds=x"]}})), "Degraded"),
        (conditions(("Ready", "True", "Hibernated")), "Healthy"),
        (with_status(worlds.resource(services=[{"name": "nobody"}])), "Degraded"),
        (conditions(("Ready", "True", "AllReplicasReady"), ("Stalled", "False", "x")), "Healthy"),
        (conditions(("Ready", "True", "ScaledToZero")), "Healthy"),
        (conditions(("Ready", "False", "InsufficientCapacity")), "Degraded"),
        (conditions(("Ready", "True", "x"), ("Reconciling", "True", "RollingOut")), "Progressing"),
        (conditions(("Ready", "True", "x"), ("Degraded", "True", "TierLost")), "Degraded"),
        (conditions(("Ready", "Unknown", "Paused")), "Suspended"),
    ],
)
def test_every_state_has_its_health(document: dict[str, Any], status: str) -> None:
    assert health(document)[0] == status


def test_a_spec_that_was_not_acted_on_is_in_progress() -> None:
    old = conditions(("Ready", "True", "AllReplicasReady"))
    old["metadata"] = {**old["metadata"], "generation": 2}
    assert health(old) == ("Progressing", "the last change was not acted on yet")


def test_what_must_be_done_is_the_message() -> None:
    assert health(with_status(tiers.resource(), rejections=(REFUSAL,)))[1] == "taken"


def test_the_config_map_carries_the_script_for_each_kind_and_what_others_write() -> None:
    data = yaml.safe_load((FOLDER / "argocd-cm.yaml").read_text())["data"]
    for kind in ("ModelTier", "GameWorld", "KnowledgeBase"):
        assert data[f"resource.customizations.health.gameai.dev_{kind}"] == SCRIPT
    ignored = yaml.safe_load(data["resource.customizations.ignoreDifferences.gameai.dev_ModelTier"])
    assert ignored == {"jsonPointers": ["/spec/replicas"]}
