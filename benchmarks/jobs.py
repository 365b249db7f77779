"""Jobs that wait for an engine with sixteen slots: how much of the slots they keep busy, and what accepting them costs.

Gateway, bus, engine and client share the cores of this machine. In turns with the jobs, the same questions asked directly, all
at once, which keeps the slots as busy as the gateway can: without bus and records.
"""

import asyncio
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml
from gameai.client import Gateway, Job
from gameai_devcluster import laptop_bus
from gameai_devcluster.inference import Program

from benchmarks.report import Row, median, write

ROUNDS, JOBS, SLOTS, CALLERS = 5, 320, 16, 16
ANSWER_SECONDS = 0.5


@contextmanager
def engine(folder: Path) -> Iterator[str]:
    flags = ("--served-model-name=bronze", f"--first-token-ms={ANSWER_SECONDS * 1000:.0f}")
    double = Program("gameai_vllm", *flags, "--front-end-ms=0", log=folder / "bronze.log")
    try:
        yield double.address()
    finally:
        double.stop()


@contextmanager
def gateway(folder: Path, bus: str, view: Path) -> Iterator[str]:
    flags = (f"--view={view}", "--address=127.0.0.1", "--health-port=0", f"--bus={bus}")
    made = Program("gameai.gateway", *flags, "--insecure-no-identity", log=folder / "gateway.log")
    try:
        yield made.address()
    finally:
        made.stop()


def show(view: Path, address: str) -> None:
    """What the gateway knows of the tier."""
    tier = {"name": "bronze", "class": "Bronze", "slots": SLOTS, "endpoints": [address]}
    role = {
        "name": "chronicle",
        "tier": "bronze",
        "deadlineMs": 600_000,
        "share": {"maxInFlight": 64},
    }
    document = {"tiers": [tier], "worlds": [{"name": "moor", "roles": [role]}]}
    view.write_text(yaml.safe_dump(document))


def busy(seconds: float) -> float:
    """The part of all slots that was busy, in percent."""
    return 100 * JOBS * ANSWER_SECONDS / (SLOTS * seconds)


async def jobs(ai: Gateway, turn: int) -> tuple[float, float]:
    """Jobs accepted a second, and the busy part of the slots while there is a backlog of them."""
    numbers = iter(range(JOBS))

    async def submit(number: int) -> Job:
        return await ai.jobs.submit(
            role="chronicle", prompt=f"{turn}/{number}", max_tokens=1, keep_seconds=600
        )

    async def caller() -> list[Job]:
        return [await submit(number) for number in numbers]

    began = time.perf_counter()
    parts = await asyncio.gather(*(caller() for _ in range(CALLERS)))
    submitted = [each for part in parts for each in part]
    rate = JOBS / (time.perf_counter() - began)
    ended = [await each.result() for each in submitted]
    assert all(each.text for each in ended)
    found = [await each.status() for each in submitted]
    first = min(each.started for each in found if each.started)
    last = max(each.ended_at for each in found if each.ended_at)
    return rate, busy((last - first).total_seconds())


async def directly(ai: Gateway, turn: int) -> float:
    """The same by questions that all wait in the gateway."""
    began = time.perf_counter()
    await asyncio.gather(
        *(
            ai.ask(role="chronicle", prompt=f"{turn}/{n}", max_tokens=1, deadline_ms=600_000)
            for n in range(JOBS)
        )
    )
    return busy(time.perf_counter() - began)


async def measure(where: str) -> list[Row]:
    rates, ours, alone = [], [], []
    async with Gateway(where, world="default/moor") as ai:
        for turn in range(ROUNDS):
            rate, part = await jobs(ai, turn)
            rates.append(rate)
            ours.append(part)
            alone.append(await directly(ai, turn))
    return [
        median("busy slots under a backlog of jobs", ours, limit=90, unit="%", least=True),
        median("the same questions asked directly", alone, limit=None, unit="%"),
        median("jobs accepted by 16 callers", rates, limit=None, unit="/s"),
    ]


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder, view = Path(name), Path(name) / "view.yaml"
        with laptop_bus.running(folder / "bus") as bus, engine(folder) as address:
            show(view, address)
            with gateway(folder, bus.url, view) as where:
                write("jobs", asyncio.run(measure(where)))
