"""A loading vLLM swallows SIGTERM; its pod is deleted a second time. One that was ready keeps its grace."""

from typing import Any

import pytest
from gameai_devcluster.api import Api, path
from gameai_devcluster.testing.audit import AuditLog, Write
from gameai_devcluster.testing.waiting import settled, until
from support.live import manifest

pytestmark = pytest.mark.usefixtures("operator")
LOADING = {"devcluster.gameai.dev/start-delay": "600s"}


def pods(api: Api, namespace: str) -> list[dict[str, Any]]:
    return api.list("Pod", namespace)


def started(api: Api, namespace: str, count: int) -> list[dict[str, Any]]:
    """Wait until so many containers run; their pods."""
    return until(
        f"{count} containers run",
        lambda: (
            found
            if len(found := pods(api, namespace)) == count
            and all(
                "running" in p["status"].get("containerStatuses", [{"state": {}}])[0]["state"]
                for p in found
            )
            else []
        ),
        seconds=30,
    )


def pod_deletes(audit: AuditLog, namespace: str) -> list[Write]:
    return [w for w in audit.writes() if w.resource == "pods" and w.namespace == namespace]


def scale(api: Api, namespace: str, replicas: int) -> None:
    where = path("ModelTier", namespace, "gold") + "/scale"
    api.patch(where, {"spec": {"replicas": replicas}})


def test_a_pod_that_never_was_ready_is_gone_at_once(
    api: Api, namespace: str, audit: AuditLog
) -> None:
    api.apply(manifest(namespace, podAnnotations=LOADING))
    loading = started(api, namespace, 2)
    scale(api, namespace, 0)
    until("both pods are gone", lambda: not pods(api, namespace), seconds=25)
    deletes = pod_deletes(audit, namespace)
    assert {each.name for each in deletes} == {each["metadata"]["name"] for each in loading}
    uids = {each["metadata"]["name"]: each["metadata"]["uid"] for each in loading}
    for each in deletes:
        assert each.body["gracePeriodSeconds"] == 1
        assert each.body["preconditions"] == {"uid": uids[each.name]}
    assert len(deletes) == 2


def test_loading_pods_of_a_deleted_tier_are_gone_at_once(
    api: Api, namespace: str, audit: AuditLog
) -> None:
    api.apply(manifest(namespace, podAnnotations=LOADING))
    started(api, namespace, 2)
    api.delete("ModelTier", namespace, "gold")
    until("both pods are gone", lambda: not pods(api, namespace), seconds=25)
    assert len(pod_deletes(audit, namespace)) == 2


def test_a_pod_that_was_ready_keeps_its_full_grace(
    api: Api, namespace: str, audit: AuditLog
) -> None:
    api.apply(manifest(namespace))
    until(
        "the tier is settled",
        lambda: settled(api.get("ModelTier", namespace, "gold")),
        seconds=30,
    )
    scale(api, namespace, 1)
    going = until(
        "a pod is going",
        lambda: [p for p in pods(api, namespace) if "deletionTimestamp" in p["metadata"]],
        seconds=15,
    )
    until(
        "the status tells one", lambda: settled(api.get("ModelTier", namespace, "gold")), seconds=30
    )
    still = [p for p in pods(api, namespace) if "deletionTimestamp" in p["metadata"]]
    assert [p["metadata"]["uid"] for p in still] == [p["metadata"]["uid"] for p in going]
    assert still[0]["metadata"]["deletionGracePeriodSeconds"] == 30
    assert pod_deletes(audit, namespace) == []
