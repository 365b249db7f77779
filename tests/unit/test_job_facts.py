"""What is read of Jobs, StatefulSets, and pods of knowledge bases."""

from typing import Any

import pytest
from gameai_operator.kinds import kinds
from gameai_operator.resources.job import Job, job
from gameai_operator.resources.quantity import number
from gameai_operator.resources.stateful_set import stateful_set
from gameai_operator.settings import Settings


def ended(kind: str, **more: str) -> dict[str, Any]:
    return {"status": {"conditions": [{"type": kind, "status": "True", **more}]}}


@pytest.mark.parametrize(
    ("document", "facts"),
    [
        ({}, Job(complete=False)),
        (ended("Complete"), Job(complete=True)),
        (ended("Suspended"), Job(complete=False)),
        (
            ended("Failed", reason="DeadlineExceeded", message="too slow"),
            Job(complete=False, failed="DeadlineExceeded: too slow"),
        ),
    ],
)
def test_a_job_has_ended_or_not(document: dict[str, Any], facts: Job) -> None:
    assert job({"metadata": {}, **document}) == facts


@pytest.mark.parametrize(
    ("status", "rolling"),
    [
        ({}, True),
        ({"observedGeneration": 2, "readyReplicas": 1}, False),
        ({"observedGeneration": 1, "readyReplicas": 1}, True),
        ({"observedGeneration": 2, "readyReplicas": 0}, True),
        (
            {
                "observedGeneration": 2,
                "readyReplicas": 1,
                "currentRevision": "a",
                "updateRevision": "b",
            },
            True,
        ),
    ],
)
def test_a_stateful_set_rolls_until_its_pod_is_ready_and_of_its_template(
    status: dict[str, Any], rolling: bool
) -> None:
    assert stateful_set({"metadata": {"generation": 2}, "status": status}).rolling is rolling


@pytest.mark.parametrize(
    ("part", "container", "code", "said"),
    [
        ("database", "postgres", 0, "bye"),
        ("lore-ingest-0123456789", "gameai-memory", 0, "bye"),
        ("lore-ingest-0123456789", "gameai-memory", 1, ""),
        ("lore-ingest-0123456789", "injected", 0, ""),
    ],
)
def test_a_pod_says_with_what_its_main_container_ended_in_success(
    part: str, container: str, code: int, said: str
) -> None:
    state = {"terminated": {"exitCode": code, "message": "bye"}}
    document = {
        "metadata": {
            "name": "p",
            "namespace": "n",
            "uid": "u",
            "labels": {"gameai.dev/part": part},
        },
        "spec": {},
        "status": {"containerStatuses": [{"name": container, "state": state}]},
    }
    found = kinds(Settings())["KnowledgeBase"].read_pod(document)
    assert (found.group, found.said, found.force_delete) == (part, said, False)


@pytest.mark.parametrize(
    ("text", "value"),
    [("2", 2.0), ("500m", 0.5), ("1k", 1000.0), ("1.5Gi", 1.5 * 2**30), ("2T", 2e12)],
)
def test_a_quantity_is_a_number(text: str, value: float) -> None:
    assert number(text) == value
