from typing import Any

import pytest
from gameai_operator.resources.deployment import (
    STUCK_SECONDS,
    TEMPLATE_HASH,
    TEMPLATE_INPUTS,
    deployment,
    stuck,
)
from support import tiers


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


STILL: dict[str, Any] = {
    "wanted": 2,
    "replicas": 2,
    "updated": 0,
    "ready": 2,
    "available": 2,
    "rolling": True,
}
UNREPORTED = STILL | {"updated": 2}


@pytest.mark.parametrize(
    ("facts", "seconds", "expected"),
    [
        (STILL, 0, STUCK_SECONDS),
        (STILL, 4, STUCK_SECONDS - 4),
        (STILL, STUCK_SECONDS, 0.0),
        (STILL, 1000, 0.0),
        (STILL | {"ready": 0, "available": 0}, 1000, 0.0),
        (UNREPORTED, 1000, 0.0),
        (UNREPORTED | {"rolling": False}, 1000, None),
        # The new pods are loading, or have to be ready for a while.
        (UNREPORTED | {"available": 1}, 1000, None),
        (STILL | {"paused": True}, 1000, None),
        (STILL | {"observed": False}, 1000, None),
        (STILL | {"create_fault": "exceeded quota"}, 1000, None),
        # It is in a roll-out, surges, has yet to make a pod, is about to scale in, or wants none.
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
    assert stuck(tiers.deployment(**facts), seconds) == expected


def managed(annotations: dict[str, str], *owners: str) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "f:metadata": {"f:annotations": {"f:gameai.dev/replicas": {}}},
        "f:spec": {"f:replicas": {}},
    }
    entries = [{"manager": each, "operation": "Apply", "fieldsV1": fields} for each in owners]
    return {"annotations": annotations, "managedFields": entries}


@pytest.mark.parametrize(
    ("owner", "asked", "apart"),
    [
        ("gameai-operator", 7, False),  # as it was created
        ("gameai-operator-replicas", 7, True),
        ("kubectl", None, False),
    ],
)
def test_the_number_of_replicas_is_ours_while_no_other_manager_took_it(
    owner: str, asked: int | None, apart: bool
) -> None:
    metadata = managed({"gameai.dev/replicas": "7"}, owner)
    found = deployment({"metadata": metadata, "spec": {"replicas": 7}})
    assert (found.asked, found.apart, found.overridden) == (asked, apart, False)


def test_a_number_that_a_hand_raised_is_not_what_is_meant() -> None:
    """Else a hand's number would stay for as long as a roll-out lasts."""
    note: dict[str, Any] = {"f:metadata": {"f:annotations": {"f:gameai.dev/replicas": {}}}}
    entry = {"manager": "gameai-operator-replicas", "operation": "Apply", "fieldsV1": note}
    metadata = {"annotations": {"gameai.dev/replicas": "3"}, "managedFields": [entry]}
    found = deployment({"metadata": metadata, "spec": {"replicas": 4}})
    assert (found.asked, found.size) == (None, 3)
    lower = deployment({"metadata": metadata, "spec": {"replicas": 1}})
    assert lower.size == 1


def test_a_number_that_a_policy_overrides_is_noticed() -> None:
    metadata = managed({"gameai.dev/replicas": "7"}, "gameai-operator-replicas")
    assert deployment({"metadata": metadata, "spec": {"replicas": 1}}).overridden


@pytest.mark.parametrize(
    ("facts", "replacing"),
    [
        ({}, False),
        ({"updated": 0}, True),
        ({"updated": 0, "exceeded": True}, False),
        # All pods are of the present template, and some still start: there is one ReplicaSet.
        ({"rolling": True}, False),
        ({"rolling": True, "observed": False}, True),
    ],
)
def test_a_deployment_replaces_pods_while_those_of_two_templates_are_there(
    facts: dict[str, Any], replacing: bool
) -> None:
    assert tiers.deployment(**facts).replacing is replacing


def test_a_deadline_that_a_former_template_missed_says_nothing_of_the_present_one() -> None:
    late = progressing("ProgressDeadlineExceeded")
    assert deployment(document({**late, "observedGeneration": 2}, generation=2)).exceeded
    assert not deployment(document({**late, "observedGeneration": 2}, generation=3)).exceeded


@pytest.mark.parametrize("text", ["9" * 5000, "٣", "-1", "", "1e9"])
def test_a_note_of_replicas_that_is_no_number_is_none(text: str) -> None:
    metadata = managed({"gameai.dev/replicas": text}, "gameai-operator-replicas")
    assert deployment({"metadata": metadata, "spec": {"replicas": 2}}).noted is None
