import datetime
from typing import Any

import pytest
import tiers
from gameai_operator.engine.deployments import (
    STUCK_SECONDS,
    TEMPLATE_HASH,
    TEMPLATE_INPUTS,
    deployment,
    nudged,
    stuck_in,
)

THEN = datetime.datetime(2026, 11, 23, 2, 12, 7, tzinfo=datetime.UTC)


def document(status: dict[str, Any] | None = None, **metadata: Any) -> dict[str, Any]:
    return {"metadata": metadata, "spec": {}, **({"status": status} if status else {})}


def progressing(reason: str, **counts: int) -> dict[str, Any]:
    return {"conditions": [{"type": "Progressing", "status": "True", "reason": reason}], **counts}


@pytest.mark.parametrize(
    ("status", "rolling"),
    [
        (None, True),
        (progressing("ReplicaSetUpdated"), True),
        (progressing("DeploymentPaused"), True),
        (progressing("ProgressDeadlineExceeded"), True),
        (progressing("NewReplicaSetAvailable"), False),
        (progressing("NewReplicaSetAvailable", replicas=2, updatedReplicas=2), False),
        # A word about a former template.
        (progressing("NewReplicaSetAvailable", replicas=2, updatedReplicas=1), True),
        (progressing("NewReplicaSetAvailable", replicas=2), True),
    ],
)
def test_a_deployment_rolls_until_its_new_pods_were_all_there(
    status: dict[str, Any] | None, rolling: bool
) -> None:
    assert deployment(document(status)).rolling is rolling


@pytest.mark.parametrize(
    ("generation", "seen", "observed"), [(2, 1, False), (2, 2, True), (1, 0, False)]
)
def test_a_write_is_observed_once_the_controller_says_so(
    generation: int, seen: int, observed: bool
) -> None:
    found = deployment(document({"observedGeneration": seen}, generation=generation))
    assert found.observed is observed


def test_counts_are_zero_until_they_are_reported() -> None:
    found = deployment(document())
    assert (found.replicas, found.ready, found.paused, found.create_fault) == (0, 0, False, "")


def test_the_api_servers_refusal_of_pods_is_kept() -> None:
    failure = {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota"}
    assert deployment(document({"conditions": [failure]})).create_fault == "exceeded quota"
    healed = {**failure, "status": "False"}
    assert deployment(document({"conditions": [healed]})).create_fault == ""


def test_annotations_are_remembered_only_while_they_are_ours() -> None:
    annotations = {TEMPLATE_HASH: "h", TEMPLATE_INPUTS: "edited", "else": "x"}
    ours: dict[str, Any] = {"f:metadata": {"f:annotations": {f"f:{TEMPLATE_HASH}": {}}}}
    entry = {"manager": "gameai-operator", "operation": "Apply", "fieldsV1": ours}
    found = deployment(document(annotations=annotations, managedFields=[entry]))
    assert found.remembered == {TEMPLATE_HASH: "h"}
    assert deployment(document(annotations=annotations)).remembered == {}


def test_a_deployment_has_changed_when_anybody_last_wrote_a_value() -> None:
    entries = [
        {"manager": "gameai-operator", "time": "2026-11-23T02:12:07Z"},
        {"manager": "kube-controller-manager", "time": "2026-11-23T02:11:47Z"},
        {"manager": "somebody"},
    ]
    assert deployment(document(managedFields=entries)).changed == THEN
    assert deployment(document()).changed is None


# Its pods are of a former template.
STILL: dict[str, Any] = {
    "wanted": 2,
    "replicas": 2,
    "updated": 0,
    "ready": 2,
    "available": 2,
    "rolling": True,
    "changed": THEN,
}
UNTOLD = STILL | {"updated": 2}


def later(seconds: float) -> datetime.datetime:
    return THEN + datetime.timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("facts", "seconds", "expected"),
    [
        (STILL, 0, STUCK_SECONDS),
        (STILL, 4, STUCK_SECONDS - 4),
        (STILL, STUCK_SECONDS, 0.0),
        (STILL, 1000, 0.0),
        (STILL | {"ready": 0, "available": 0}, 1000, 0.0),
        (UNTOLD, 1000, 0.0),
        (UNTOLD | {"rolling": False}, 1000, None),
        # The new pods are loading, or have to be ready for a while.
        (UNTOLD | {"available": 1}, 1000, None),
        (STILL | {"paused": True}, 1000, None),
        (STILL | {"observed": False}, 1000, None),
        (STILL | {"create_fault": "exceeded quota"}, 1000, None),
        (STILL | {"changed": None}, 1000, None),
        # It is amid a roll-out, surges, has yet to make a pod, is about to scale in, or wants none.
        (STILL | {"updated": 1}, 1000, None),
        (STILL | {"replicas": 3}, 1000, None),
        (STILL | {"replicas": 1}, 1000, None),
        (STILL | {"wanted": 1}, 1000, None),
        (STILL | {"wanted": 0, "replicas": 0}, 1000, None),
    ],
)
def test_a_roll_out_that_neither_makes_nor_removes_pods_does_not_go_on_after_a_while(
    facts: dict[str, Any], seconds: float, expected: float | None
) -> None:
    assert stuck_in(tiers.deployment(**facts), later(seconds)) == expected


NUDGED = {"gameai.dev/nudged": "true"}


@pytest.mark.parametrize(
    ("facts", "applied", "notes"),
    [
        ({}, 3, NUDGED),
        # The controller has yet to see it.
        ({"wanted": 3, "observed": False, "remembered": NUDGED}, 3, NUDGED),
        ({"wanted": 3, "remembered": NUDGED}, 2, {}),
        # Somebody wanted three until now.
        ({"wanted": 3, "observed": False}, 2, {}),
        ({"rolling": False}, 2, {}),
        # Another number is another number already.
        ({"wanted": 1, "replicas": 1}, 2, {}),
        ({"wanted": 4, "observed": False, "remembered": NUDGED}, 2, {}),
    ],
)
def test_what_does_not_go_on_gets_a_replica_more_until_that_is_seen(
    facts: dict[str, Any], applied: int, notes: dict[str, str]
) -> None:
    rendered: dict[str, Any] = {
        "metadata": {"name": "gold-spot", "annotations": {"a": "b"}},
        "spec": {"replicas": 2, "paused": False},
    }
    made = nudged(rendered, tiers.deployment(**(STILL | facts)), later(60))
    assert made["spec"] == {"replicas": applied, "paused": False}
    assert made["metadata"] == {"name": "gold-spot", "annotations": {"a": "b", **notes}}
    assert (rendered["spec"]["replicas"], rendered["metadata"]["annotations"]) == (2, {"a": "b"})
