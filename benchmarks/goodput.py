"""How many NPCs get an engine's answer in time when there is too little of it, beside the engine alone on the same trace.

Engines are doubles whose time is sleep, ten times slower than a GPU, so that the two cores are never the bottleneck: CPU
stands in the table. Traces are drawn once for a round; what is compared plays the same one, one after another.
"""

import asyncio
import itertools
import json
import re
import statistics
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import aiohttp
import psutil
from gameai.client import AskError, Gateway
from gameai_devcluster.processes import free_port

from benchmarks import report
from benchmarks.inference import running, wait_listening
from benchmarks.traces import SECONDS, Asked, Outcome, trace, with_echoes

ROUNDS = 3
# Of the deadlines below the gateway leaves so much for the way back.
MARGIN_SECONDS = 0.010
NPCS = """\
version: 1
archetypes:
  guard: {actions: [patrol, challenge, attack, flee], defaults: [patrol]}
  bard: {defaults: ["Hm?"]}
"""


@dataclass(frozen=True)
class Shape:
    """An engine and what is asked of it: slots, ms to the first token and from token to token, tokens, deadline."""

    name: str
    role: str
    archetype: str
    slots: int
    first_ms: float
    token_ms: float
    tokens: int
    deadline_ms: int

    @property
    def capacity(self) -> float:
        """Answers a second, were no slot ever empty."""
        return self.slots / (self.first_ms + (self.tokens - 1) * self.token_ms) * 1000


GOLD = Shape("Gold", "reaction", "guard", 4, 40.0, 0.0, 1, 160)
SILVER = Shape("Silver", "dialogue", "bard", 8, 10.0, 5.0, 20, 250)


async def play(asked: Sequence[Asked], ask: Callable[[Asked], Awaitable[str]]) -> Outcome:
    """Ask each at its time; `ask` says the source of an answer in time, or another word."""
    worlds = {each.world for each in asked}
    outcome = Outcome(
        Counter(dict.fromkeys(worlds, 0)), Counter(dict.fromkeys(worlds, 0)), Counter()
    )
    began = time.monotonic()

    async def one(each: Asked) -> None:
        said = await ask(each)
        outcome.sources[said] += 1
        if not each.echo:
            outcome.asked[each.world] += 1
            outcome.good[each.world] += said == "ENGINE"

    async with asyncio.TaskGroup() as group:
        for each in asked:
            await asyncio.sleep(max(0.0, each.at - (time.monotonic() - began)))
            group.create_task(one(each))
    return outcome


async def through(addresses: Sequence[str], asked: Sequence[Asked], shape: Shape) -> Outcome:
    """By our own client; each game server has one."""
    servers = sorted({(each.world, each.server) for each in asked})
    together = ",".join(addresses)
    clients = {key: Gateway(together, world=f"default/w{key[0]}") for key in servers}
    for client in clients.values():
        await client.__aenter__()
    # Until all are connected; what is asked meanwhile would wait.
    await asyncio.sleep(1.0)

    async def ask(each: Asked) -> str:
        began, limit = time.monotonic(), each.deadline_ms / 1000
        try:
            reply = await clients[each.world, each.server].ask(
                role="nobody" if each.echo else shape.role,
                archetype=shape.archetype,
                npc=each.npc,
                prompt="A wolf!",
                max_tokens=shape.tokens if shape.archetype == "bard" else 0,
                deadline_ms=each.deadline_ms,
            )
        except AskError:
            if not each.echo:
                return "late"
            # What the gateway leaves for the way back is what an echo has for all of its way.
            return "echo" if time.monotonic() - began <= MARGIN_SECONDS else "late echo"
        return reply.source.name if reply.seconds <= limit else "late"

    try:
        return await play(asked, ask)
    finally:
        for client in clients.values():
            await client.__aexit__(None, None, None)


def body(shape: Shape) -> dict[str, Any]:
    """What the gateway sends for a question of this shape."""
    asked: dict[str, Any] = {
        "model": "tier",
        "messages": [{"role": "user", "content": "A wolf!"}],
        "max_tokens": shape.tokens,
    }
    choice = {"structured_outputs": {"choice": list("ABCD")}} if shape.tokens == 1 else {}
    return asked | choice


async def call(session: aiohttp.ClientSession, url: str, shape: Shape, seconds: float) -> bool:
    """Whether the engine answered in time; else the connection is closed, which frees its slot."""
    timeout = aiohttp.ClientTimeout(total=seconds)
    try:
        async with session.post(url, json=body(shape), timeout=timeout) as response:
            await response.read()
            return response.status == 200
    except (TimeoutError, aiohttp.ClientError):
        return False


async def alone(address: str, asked: Sequence[Asked], shape: Shape) -> Outcome:
    """Straight to the engine, without a gateway."""
    url = f"http://{address}/v1/chat/completions"
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def ask(each: Asked) -> str:
            return "ENGINE" if await call(session, url, shape, each.deadline_ms / 1000) else "late"

        return await play(asked, ask)


async def saturated(address: str, shape: Shape) -> float:
    """Answers a second of the engine alone, one asker for each slot."""
    url = f"http://{address}/v1/chat/completions"
    end = time.monotonic() + SECONDS / 3
    count = 0

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def asker() -> None:
            nonlocal count
            while time.monotonic() < end:
                done = await call(session, url, shape, 10.0)
                count += done

        await asyncio.gather(*(asker() for _ in range(shape.slots)))
    return count / (SECONDS / 3)


class Stand:
    """Engines of one shape, and gateways in front of them, for the time of a measurement."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self._stack, self._folder = stack, folder
        self._numbers = itertools.count()

    def engines(self, shape: Shape, replicas: int = 1) -> list[str]:
        """Doubles, by address."""
        flags = [
            f"--max-num-seqs={shape.slots}",
            "--front-end-ms=0",
            f"--first-token-ms={shape.first_ms}",
            f"--token-ms={shape.token_ms}",
            "--served-model-name=tier",
        ]
        return [f"127.0.0.1:{self._start('gameai_vllm', flags)[1]}" for _ in range(replicas)]

    def gateways(
        self, shape: Shape, engines: Sequence[str], worlds: int, count: int = 1
    ) -> tuple[list[str], list[psutil.Process]]:
        """Gateways that share these engines, by address, and their processes."""
        number = next(self._numbers)
        (self._folder / "npcs.yaml").write_text(NPCS)
        view = {
            "tiers": [
                {
                    "name": "tier",
                    "class": shape.name,
                    "slots": shape.slots,
                    "endpoints": list(engines),
                }
            ],
            "worlds": [
                {
                    "name": f"w{each}",
                    "archetypes": "npcs.yaml",
                    "roles": [{"name": shape.role, "tier": "tier", "share": {"maxInFlight": 512}}],
                }
                for each in range(worlds)
            ],
            "gateways": count,
        }
        file = self._folder / f"view-{number}.yaml"
        file.write_text(json.dumps(view))
        flags = [f"--view={file}", "--health-port=0", "--insecure-no-identity"]
        made = [
            self._start("gameai.gateway", [*flags, "--address=127.0.0.1", "--log-level=WARNING"])
            for _ in range(count)
        ]
        return [f"127.0.0.1:{port}" for _, port in made], [process for process, _ in made]

    def _start(self, module: str, flags: Sequence[str]) -> tuple[psutil.Process, int]:
        port = free_port()
        log = self._folder / f"{module}-{next(self._numbers)}.log"
        command = [sys.executable, "-m", module, f"--port={port}", *flags]
        core = 0 if module == "gameai.gateway" else 1
        process = self._stack.enter_context(running(command, core, log))
        wait_listening(port, log, process)
        return process, port


def gold(stand: Stand, rows: list[report.Row]) -> None:
    """Twice what the engine can do, in frames' time."""
    [engine] = stand.engines(GOLD)
    addresses, [process] = stand.gateways(GOLD, [engine], 1)
    ratios, late, shares, cpu = [], [], [], []
    for turn in range(ROUNDS):
        asked = trace([2 * GOLD.capacity], [GOLD.deadline_ms], [2], turn)
        before = asyncio.run(alone(engine, asked, GOLD))
        used, began = _cpu(process), time.monotonic()
        ours = asyncio.run(through(addresses, with_echoes(asked, turn), GOLD))
        cpu.append((_cpu(process) - used) / (time.monotonic() - began) * 100)
        ratios.append(ours.share([0]) / max(before.share([0]), 1e-9))
        shares.append(sum(ours.good.values()) / SECONDS / GOLD.capacity)
        late.append(ours.late)
        print(
            f"  Gold: alone {before.share([0]):.3f}, ours {ours.share([0]):.3f} {dict(ours.sources)}",
            flush=True,
        )
    rows += [
        report.median(
            "Gold, 2x overload: in time / engine alone", ratios, limit=0.9, unit="×", least=True
        ),
        # The engine alone answers hardly anything in time: this row can fail.
        report.median(
            "Gold, 2x overload: in time, of capacity", shares, limit=0.8, unit="×", least=True
        ),
        report.median("Gold, late beyond an echo, seen by clients", late, limit=0.1, unit="%"),
        report.median("Gold: CPU of the gateway", cpu, limit=30, unit="%"),
    ]


def silver(stand: Stand, rows: list[report.Row]) -> None:
    """Twice what the engine can do, in conversations' time."""
    [engine] = stand.engines(SILVER)
    addresses, _ = stand.gateways(SILVER, [engine], 1)
    shares = []
    for turn in range(ROUNDS):
        capacity = asyncio.run(saturated(engine, SILVER))
        asked = trace([2 * SILVER.capacity], [SILVER.deadline_ms], [2], turn)
        ours = asyncio.run(through(addresses, asked, SILVER))
        shares.append(sum(ours.good.values()) / SECONDS / capacity)
        print(f"  Silver: capacity {capacity:.1f}/s, ours {dict(ours.sources)}", flush=True)
    rows.append(
        report.median(
            "Silver, 2x overload: in time, of capacity", shares, limit=0.9, unit="×", least=True
        )
    )


def flood(stand: Stand, rows: list[report.Row]) -> None:
    """Ten worlds at 80 % of capacity; then one of them asks ten times as much, with no time at all."""
    [engine] = stand.engines(GOLD)
    addresses, _ = stand.gateways(GOLD, [engine], 10)
    rate, calm = 0.08 * GOLD.capacity, range(1, 10)
    losses = []
    for turn in range(ROUNDS):
        quiet = trace([rate] * 10, [GOLD.deadline_ms] * 10, [1] * 10, turn)
        flooded = trace([10 * rate, *[rate] * 9], [1, *[GOLD.deadline_ms] * 9], [1] * 10, turn)
        before = asyncio.run(through(addresses, quiet, GOLD))
        during = asyncio.run(through(addresses, flooded, GOLD))
        losses.append((1 - during.share(calm) / before.share(calm)) * 100)
        print(
            f"  flood: others {before.share(calm):.3f}, then {during.share(calm):.3f}", flush=True
        )
    rows.append(report.median("one world floods: the others lose", losses, limit=5, unit="%"))


def several(stand: Stand, rows: list[report.Row]) -> None:
    """One, two and six gateways before two replicas at 80 % of what they can do; one world has 60 % of the load."""
    # Eight times as slow as above: client, engines and six gateways have two cores together, and an engine has more
    # than a few slots.
    shape = replace(GOLD, slots=24, first_ms=320.0, deadline_ms=1280)
    engines = stand.engines(shape, 2)
    gateways = {count: stand.gateways(shape, engines, 4, count)[0] for count in (1, 2, 6)}
    good: dict[int, list[float]] = {count: [] for count in gateways}
    waiting: dict[int, list[float]] = {count: [] for count in gateways}
    load = 0.8 * 2 * shape.capacity
    for turn in range(ROUNDS):
        parts = [0.6, 0.2, 0.1, 0.1]
        asked = trace([load * part for part in parts], [shape.deadline_ms] * 4, [6, 2, 1, 1], turn)
        for count, addresses in gateways.items():
            with Sampled(engines) as sampled:
                outcome = asyncio.run(through(addresses, asked, shape))
            good[count].append(outcome.share(range(4)))
            waiting[count].append(sampled.p99())
            print(
                f"  {count} gateways: {dict(outcome.sources)}, waiting p99 {sampled.p99():.0f}",
                flush=True,
            )
    for count in (2, 6):
        ratios = [ours / one for ours, one in zip(good[count], good[1], strict=True)]
        rows.append(
            report.median(
                f"{count} gateways: in time / one gateway", ratios, limit=0.9, unit="×", least=True
            )
        )
    rows += [
        report.median(f"{count} gateways: vLLM waiting, p99 of a replica", found, limit=2, unit="")
        for count, found in waiting.items()
    ]


class Sampled:
    """How many requests wait inside engines, looked at ten times a second."""

    def __init__(self, engines: Sequence[str]) -> None:
        self._engines = engines
        self._seen: list[float] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def p99(self) -> float:
        """Of all looks at all replicas."""
        return statistics.quantiles(self._seen, n=100)[98]

    def _look(self) -> None:
        while not self._stop.wait(0.1):
            for address in self._engines:
                with urllib.request.urlopen(f"http://{address}/metrics") as answer:
                    text = answer.read().decode()
                found = re.search(r"^vllm:num_requests_waiting\{[^}]*\} ([\d.e+]+)", text, re.MULTILINE)  # fmt: skip
                if found:
                    self._seen.append(float(found[1]))


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def main() -> None:
    """Measure all and write the table."""
    rows: list[report.Row] = []
    for part in (gold, silver, flood, several):
        with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
            part(Stand(stack, Path(name)), rows)
    report.write("goodput", rows)


if __name__ == "__main__":
    main()
