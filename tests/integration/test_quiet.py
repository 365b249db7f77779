"""A restart and resyncs of a quiet cluster write nothing."""

import time
from pathlib import Path

from gameai_devcluster.api import Api
from gameai_devcluster.operators import Launch, Operator
from gameai_devcluster.testing.audit import AuditLog
from gameai_devcluster.testing.waiting import settled, until
from live import manifest

TIERS = 200
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
        api.create(manifest(namespace, name=f"t{number:03d}", replicas=1))
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
    assert operator.stop() == 0
    assert audit.writes()
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
