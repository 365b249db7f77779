"""Worlds: from declared to Ready against the floor; then what a thousand idle ones cost, and how fast one changes."""

import statistics
import threading
import time

import psutil
from gameai_devcluster.api import Api, path
from gameai_devcluster.testing.waiting import until

from benchmarks.ready import BASE_MIB, KIB_EACH, PEAK, Subject, declare, measure, peak_mib
from benchmarks.report import Row, median, write
from benchmarks.stage import Available, Stage, clear, stage, world

WORLDS = Subject(name="worlds", make=world, rounds={100: 5, 300: 3, 1000: 3})
IDLE_WORLDS = 1000
CHANGES = 200
P50_SECONDS, P99_SECONDS = 0.15, 1.0
REST_SECONDS = 60.0
# Long enough for a resync, which comes every 450 s ±20 %.
IDLE_SECONDS = 900.0
IDLE_PERCENT = 2.0
# Seven children, two status writes, at most two Events.
WRITES = 11.0


def main() -> None:
    """Run every size, then the idle thousand, and report."""
    rows: list[Row] = []
    with stage() as played:
        for size in WORLDS.rounds:
            rows += measure(played, WORLDS, size)
            write("worlds", rows)
    # A control plane of its own: what the rounds left behind would be in its way.
    with stage() as played:
        rows += idle(played, IDLE_WORLDS)
    write("worlds", rows)


def idle(played: Stage, size: int) -> list[Row]:
    """Memory, writes, latency of changes and idle CPU of one operator with so many worlds."""
    namespace = "idle"
    declare(played, WORLDS, namespace, size)
    available = Available(played.api, namespace, 2 * size)
    available.start()
    operator = played.operator(namespace)
    available.join(300)
    time.sleep(REST_SECONDS)
    process = psutil.Process(operator.pid)
    resting, peak = process.memory_info().rss / 2**20, peak_mib(operator.pid)
    writes = operator.metric("gameai_operator_writes_total") / size
    seconds = changes(played.api, namespace, size)
    spent = idle_percent(process)
    resyncs = operator.metric("gameai_operator_resync_ghosts_total")
    assert operator.stop() == 0
    assert not resyncs
    clear(played.api, namespace)
    limit = BASE_MIB + KIB_EACH * size / 1024
    what = f"{size} idle worlds"
    p99 = statistics.quantiles(seconds, n=100)[98]
    return [
        median(f"{what}, memory 60 s after", [resting], limit=limit, unit="MiB"),
        median(f"{what}, peak memory", [peak], limit=PEAK * limit, unit="MiB"),
        median(f"{what}, writes for each", [writes], limit=WRITES, unit="writes"),
        median(
            f"{what}, change to child, p50",
            [statistics.median(seconds)],
            limit=P50_SECONDS,
            unit="s",
        ),
        median(f"{what}, change to child, p99", [p99], limit=P99_SECONDS, unit="s"),
        median(f"{what}, CPU of a core over 15 min", [spent], limit=IDLE_PERCENT, unit="%"),
    ]


class Seen(threading.Thread):
    """Watches Deployments and notes when each was first seen with another number of replicas."""

    def __init__(self, api: Api, namespace: str) -> None:
        super().__init__(daemon=True)
        self._api = api
        self._where = path("Deployment", namespace)
        self._version = api.request("GET", self._where, query={"limit": 1})["metadata"][
            "resourceVersion"
        ]
        self.at: dict[str, float] = {}

    def run(self) -> None:
        """Read the watch as long as it lasts."""
        query = {"resourceVersion": self._version}
        for event in self._api.watch(self._where, query=query, seconds=600):
            deployment = event["object"]
            if deployment["spec"]["replicas"] == 0:
                self.at.setdefault(deployment["metadata"]["name"], time.monotonic())


def changes(api: Api, namespace: str, size: int) -> list[float]:
    """Seconds from a change of a world's spec to its child's being written, one after the other."""
    seen = Seen(api, namespace)
    seen.start()
    time.sleep(1.0)
    found = []
    for number in range(min(CHANGES, size)):
        name = f"t{number:04d}"
        services = [{"name": "time-manager", "replicas": 0}, {"name": "weather-manager"}]
        api.patch(path("GameWorld", namespace, name), {"spec": {"services": services}})
        began = time.monotonic()
        child = f"{name}-time-manager"
        until("the child is written", lambda: child in seen.at, seconds=30)  # noqa: B023 - same turn
        found.append(max(0.0, seen.at[child] - began))
    return found


def idle_percent(process: psutil.Process) -> float:
    """Share of a core that the process used over a quarter of an hour, in percent."""
    time.sleep(10.0)
    before = process.cpu_times()
    time.sleep(IDLE_SECONDS)
    after = process.cpu_times()
    spent = after.user + after.system - before.user - before.system
    return 100.0 * spent / IDLE_SECONDS


if __name__ == "__main__":
    main()
