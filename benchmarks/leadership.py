"""How long there is no leader: a planned handover, and after SIGKILL, with the lease times of production."""

import time

from gameai_devcluster.operators import Operator
from gameai_devcluster.testing.waiting import until

from benchmarks.report import median, write
from benchmarks.stage import Stage, stage

HANDOVER_SECONDS, TAKEOVER_SECONDS = 3.0, 20.0
ROUNDS = 3


def main() -> None:
    """Measure and report."""
    with stage() as played:
        first, second = (candidate(played, name) for name in ("a", "b"))
        handovers = [change(first, second, kill=False) for _ in range(ROUNDS)]
        takeovers = [change(first, second, kill=True) for _ in range(ROUNDS)]
        for each in (first, second):
            each.stop()
    write(
        "leadership",
        [
            median("planned handover", handovers, limit=HANDOVER_SECONDS, unit="s"),
            median("takeover after SIGKILL", takeovers, limit=TAKEOVER_SECONDS, unit="s"),
        ],
    )


def candidate(played: Stage, name: str) -> Operator:
    """An operator that is ready, leading or standing by."""
    return played.operator(name).wait_ready()


def change(first: Operator, second: Operator, *, kill: bool) -> float:
    """Seconds from the leader's end to the other's leading; the one that ended is started again."""
    until("one leads", lambda: leads(first) or leads(second), seconds=60)
    leader, standby = (first, second) if leads(first) else (second, first)
    began = time.monotonic()
    if kill:
        leader.kill()
    else:
        assert leader.stop() == 0
    until("the other leads", lambda: leads(standby), seconds=10 * TAKEOVER_SECONDS)
    seconds = time.monotonic() - began
    leader.start()
    leader.wait_ready()
    return seconds


def leads(operator: Operator) -> bool:
    return operator.alive() and operator.metric("gameai_operator_leader") == 1


if __name__ == "__main__":
    main()
