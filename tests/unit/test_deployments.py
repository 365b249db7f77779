from typing import Any

import pytest
from gameai_operator.engine.deployments import TEMPLATE_HASH, TEMPLATE_INPUTS, deployment


def document(status: dict[str, Any] | None = None, **metadata: Any) -> dict[str, Any]:
    return {"metadata": metadata, "spec": {}, **({"status": status} if status else {})}


def progressing(reason: str) -> dict[str, Any]:
    return {"conditions": [{"type": "Progressing", "status": "True", "reason": reason}]}


@pytest.mark.parametrize(
    ("status", "rolling"),
    [
        (None, True),
        (progressing("ReplicaSetUpdated"), True),
        (progressing("DeploymentPaused"), True),
        (progressing("ProgressDeadlineExceeded"), True),
        (progressing("NewReplicaSetAvailable"), False),
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
