"""A restart and resyncs of a quiet cluster write nothing."""

import time
from pathlib import Path

from gameai_devcluster.api import Api
from gameai_devcluster.operators import Launch, Operator
from gameai_devcluster.testing.audit import AuditLog
from gameai_devcluster.testing.waiting import settled, until
from support.live import manifest

TIERS = 200
WITH_PODS = 50
RESYNC_SECONDS = 3


def test_a_restart_and_two_resyncs_of_200_ready_tiers_write_nothing(
    api: Api, namespace: str, operator_kubeconfig: Path, folder: Path, audit: AuditLog
) -> None:
    launch = Launch(
        kubeconfig=operator_kubeconfig,
        log=folder / "quiet.log",
        flags={"resync_seconds": RESYNC_SECONDS},
    )
    operator = Operator(launch).wait_ready()
    for number in range(TIERS):
        replicas = int(number < WITH_PODS)
        api.create(manifest(namespace, name=f"t{number:03d}", replicas=replicas))
    until(
        "every tier is settled",
        lambda: all(settled(tier) for tier in api.list("ModelTier", namespace)),
        seconds=300,
    )
    until(
        "no Event waits any more",
        lambda: (
            len(
                [
                    e
                    for e in api.list("Event", namespace)
                    if e["involvedObject"]["kind"] == "ModelTier"
                ]
            )
            >= TIERS
        ),
        seconds=120,
    )
    # What modules before left behind is still ending, which tells the operator of changes.
    until(
        "no pod is ending",
        lambda: not any("deletionTimestamp" in each["metadata"] for each in api.list("Pod")),
        seconds=120,
    )
    assert audit.writes()
    audit.wait_rest(namespace)
    assert operator.stop() == 0
    quiet = AuditLog(audit._file)
    operator.start()
    operator.wait_ready()
    until(
        "the first pass is over",
        lambda: operator.metric("controller_runtime_reconcile_total") >= TIERS,
        seconds=60,
    )
    time.sleep(2.5 * RESYNC_SECONDS)
    assert [str(write) for write in quiet.writes()] == []
    assert operator.metric("gameai_operator_resync_ghosts_total") == 0
    assert operator.metric("gameai_operator_resync_unseen_total") == 0
    assert operator.stop() == 0
    assert [
        write.resource for write in quiet.writes(leases=True) if write.resource != "leases"
    ] == []
