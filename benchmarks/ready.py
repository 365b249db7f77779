"""From declared to Ready: the operator against the floor, its CPU and its memory."""

import datetime
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil
from gameai_devcluster import install
from gameai_devcluster.api import Json
from gameai_devcluster.operators import Operator

from benchmarks import floor
from benchmarks.report import Row, median, write
from benchmarks.stage import KINDS, Available, Stage, clear, stage, tier

RATIO = 1.25
REST_SECONDS = 60.0
# The design's target: 100 MiB and 30 KiB for each object with its children; 1.5 × that at the peak.
BASE_MIB, KIB_EACH, PEAK = 100.0, 30.0, 1.5


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """What is made ready: how one is declared, and how many rounds are run of each size."""

    name: str
    make: Callable[[str, str], Json]
    rounds: Mapping[int, int]


TIERS = Subject(name="tiers", make=tier, rounds={100: 5, 300: 5})


def main() -> None:
    """Run every size and report."""
    with stage() as played:
        rows = [row for size in TIERS.rounds for row in measure(played, TIERS, size)]
    write("ready", rows)


def measure(played: Stage, subject: Subject, size: int) -> list[Row]:
    """Rounds of one size, floor and operator in turn, the first of each pair alternated."""
    ratios, floors, own, cpu = [], [], [], []
    resting, peak = 0.0, 0.0
    rounds, what = subject.rounds[size], f"{size} {subject.name}"
    for number in range(rounds):
        rest = number == rounds - 1
        order = (False, True) if number % 2 else (True, False)
        seconds: dict[bool, float] = {}
        for by_operator in order:
            namespace = f"r{size}-{number}-{'operator' if by_operator else 'floor'}"
            declare(played, subject, namespace, size)
            if by_operator:
                seconds[True], spent, memory = by_the_operator(played, namespace, size, rest=rest)
                cpu.append(spent * 1000 / size)
                resting, peak = memory
            else:
                seconds[False] = by_the_floor(played, namespace, size)
            clear(played.api, namespace)
        ratios.append(seconds[True] / seconds[False])
        floors.append(seconds[False])
        own.append(seconds[True])
        print(f"  {what}, round {number + 1}: {seconds[True]:.1f} s, floor {seconds[False]:.1f} s")
    limit = BASE_MIB + KIB_EACH * size / 1024
    return [
        median(f"{what} to Ready, operator / floor", ratios, limit=RATIO, unit="ratio"),
        median(f"{what} to Ready, operator", own, limit=None, unit="s"),
        median(f"{what} to Ready, floor", floors, limit=None, unit="s"),
        median(f"{what}, operator CPU for each", cpu, limit=None, unit="ms"),
        median(f"{what}, memory 60 s after", [resting], limit=limit, unit="MiB"),
        median(f"{what}, peak memory", [peak], limit=PEAK * limit, unit="MiB"),
    ]


def declare(played: Stage, subject: Subject, namespace: str, size: int) -> None:
    """Create them before the operator runs."""
    install.namespace(played.api, namespace)
    api = played.api
    for number in range(size):
        api.create(subject.make(namespace, f"t{number:04d}"))


def by_the_floor(played: Stage, namespace: str, size: int) -> float:
    """Seconds from the first write to the last Deployment's being Available."""
    roots = [each for kind in KINDS for each in played.api.list(kind, namespace)]
    available = Available(played.api, namespace, 2 * size)
    available.start()
    began = floor.write_all(played.api, roots)
    available.join(300)
    return available.at - began


def by_the_operator(
    played: Stage, namespace: str, size: int, *, rest: bool
) -> tuple[float, float, tuple[float, float]]:
    """Seconds from the opening of the queue to the same end; CPU seconds; MiB at rest and at the peak."""
    available = Available(played.api, namespace, 2 * size)
    available.start()
    operator = played.operator(namespace)
    available.join(300)
    time.sleep(REST_SECONDS if rest else 3.0)
    process = psutil.Process(operator.pid)
    times = process.cpu_times()
    memory = (process.memory_info().rss / 2**20, peak_mib(operator.pid))
    seconds = available.at - opened(operator)
    assert operator.stop() == 0
    return seconds, times.user + times.system, memory


def opened(operator: Operator) -> float:
    """When the queue was opened, by the operator's own log."""
    for line in operator.output().splitlines():
        entry = json.loads(line)
        if entry["message"].startswith("the initial list is complete"):
            return datetime.datetime.fromisoformat(entry["time"]).timestamp()
    raise AssertionError("the operator never completed its initial list")


def peak_mib(pid: int) -> float:
    """The most memory a process ever had resident (Linux)."""
    text = Path(f"/proc/{pid}/status").read_text()
    line = next(each for each in text.splitlines() if each.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    main()
