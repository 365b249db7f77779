"""CPU of the gateway for each NPC, beside two peers that are written in Rust, over the same backend and load.

The server under measurement has core 0, backend and load generator core 1; contenders take turns, and medians of rounds
are compared. Ours decodes and validates questions, queues, hashes, breaks, counts and responds; its view is a file, and callers are
not asked who they are.
"""

import json
import os
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from gameai.inference.v1 import inference_pb2 as pb
from gameai_devcluster.binary import Program, built, cache
from gameai_devcluster.processes import free_port

from benchmarks import report

ROUNDS, SECONDS = 5, 3.0
PEERS = ("vllm-router==0.1.17", "smg==1.13.0")
PROMPT = "A wolf howls near the gate, the sun is down and two guards are asleep. What do you do?"
ACTIONS = ("patrol", "challenge", "attack", "flee")
NPCS = """\
version: 1
archetypes:
  guard: {actions: [patrol, challenge, attack, flee]}
  cached: {actions: [patrol, challenge, attack, flee], cache: {ttlSeconds: 3600}}
"""


@dataclass(frozen=True)
class Load:
    """One contender's way to be asked."""

    name: str
    server: str
    kind: str
    messages: str
    window: int
    interactive: bool = False


LOADS = (
    Load("vllm-router, request", "vllm-router", "http", "body", 32),
    Load("smg, request", "smg", "http", "body", 32),
    Load("ours, stream, 1 a message, miss", "ours", "stream", "miss-1", 256),
    Load(
        "ours, stream, 1 a message, miss, interactive",
        "ours",
        "stream",
        "miss-1",
        32,
        interactive=True,
    ),
    Load("ours, stream, frames of 32, miss", "ours", "stream", "miss-32", 8),
    Load("ours, stream, frames of 32, hit", "ours", "stream", "hit-32", 8),
    Load("ours, unary, miss", "ours", "unary", "unary", 32),
)
BARS = (
    ("stream, 1 a message, miss / vllm-router", LOADS[2], LOADS[0], 2.0),
    ("stream, 1 a message, miss, interactive / vllm-router", LOADS[3], LOADS[0], 2.0),
    ("stream, frames of 32, miss / vllm-router", LOADS[4], LOADS[0], 0.6),
    ("stream, frames of 32, hit / vllm-router", LOADS[5], LOADS[0], 0.3),
    ("unary, miss / smg", LOADS[6], LOADS[1], 2.6),
)


def question(number: int, archetype: str) -> pb.Question:
    return pb.Question(
        id=number,
        role="reaction",
        archetype=archetype,
        npc=f"npc-{number}",
        prompt=pb.Prompt(parts=[PROMPT]),
        deadline_ms=30_000,
    )


def messages(folder: Path) -> None:
    """Files of prepared messages; ids return long after they were answered."""

    def frames(archetype: str, size: int) -> list[bytes]:
        numbers = range(1, 8193)
        groups = (numbers[start : start + size] for start in range(0, len(numbers), size))
        return [
            pb.StreamAnswersRequest(
                questions=[question(n, archetype) for n in group]
            ).SerializeToString()
            for group in groups
        ]

    kinds = {
        "miss-1": frames("guard", 1),
        "miss-32": frames("guard", 32),
        "hit-32": frames("cached", 32),
        "unary": [pb.GenerateAnswerRequest(question=question(1, "guard")).SerializeToString()],
    }
    for name, held in kinds.items():
        (folder / name).write_bytes(b"".join(struct.pack(">I", len(each)) + each for each in held))
    body = {"model": "gold", "messages": [{"role": "user", "content": PROMPT}], "max_tokens": 1}
    (folder / "body").write_text(
        json.dumps(body | {"structured_outputs": {"choice": list("ABCD")}})
    )


def peers() -> Path:
    """A virtual environment with the peers, kept in the cache."""
    folder = cache() / "peers" / "-".join(PEERS).replace("==", "-")
    python = folder / "bin" / "python"
    if not (folder / "done").exists():
        print(f"  installing {', '.join(PEERS)} from PyPI", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        install = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        subprocess.run([*install, *PEERS], check=True)
        (folder / "done").touch()
    return folder / "bin"


@contextmanager
def running(command: list[str], core: int, log: Path) -> Iterator[psutil.Process]:
    """A process on one core, killed with its children in the end."""
    with log.open("wb") as out:
        made = subprocess.Popen(command, stdout=out, stderr=out)
    process = psutil.Process(made.pid)
    process.cpu_affinity([core % (os.cpu_count() or 1)])
    try:
        yield process
    finally:
        for each in [*process.children(recursive=True), process]:
            each.kill()
        made.wait()


def wait_listening(port: int, log: Path, process: psutil.Process) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end and process.is_running():
        with socket.socket() as probe:
            probe.settimeout(1)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise RuntimeError(f"nothing listens on {port}:\n{log.read_text()[-3000:]}")


def cpu_seconds(process: psutil.Process) -> float:
    times = [each.cpu_times() for each in [process, *process.children(recursive=True)]]
    return sum(each.user + each.system for each in times)


def commands(folder: Path, backend: int) -> dict[str, Callable[[int], list[str]]]:
    """How each server is started on a port."""
    programs, url = peers(), f"http://127.0.0.1:{backend}"
    view = {
        "tiers": [
            {"name": "gold", "class": "Gold", "slots": 512, "endpoints": [f"127.0.0.1:{backend}"]}
        ],
        "worlds": [
            {
                "name": "moor",
                "roles": [{"name": "reaction", "tier": "gold", "share": {"maxInFlight": 512}}],
                "archetypes": "npcs.yaml",
            }
        ],
    }
    (folder / "view.yaml").write_text(json.dumps(view))
    (folder / "npcs.yaml").write_text(NPCS)
    ours = [sys.executable, "-m", "gameai.gateway", f"--view={folder / 'view.yaml'}"]
    flags = [
        "--address=127.0.0.1",
        "--health-port=0",
        "--insecure-no-identity",
        "--log-level=WARNING",
    ]
    router = [str(programs / "vllm-router"), f"--worker-urls={url}", "--policy=round_robin"]
    smg = [
        str(programs / "smg"),
        "launch",
        f"--worker-urls={url}",
        "--policy=round_robin",
        "--host=127.0.0.1",
    ]
    return {
        "ours": lambda port: [*ours, *flags, f"--port={port}"],
        "vllm-router": lambda port: [
            *router,
            "--host=127.0.0.1",
            f"--port={port}",
            f"--prometheus-port={free_port()}",
            "--log-level=warning",
        ],
        "smg": lambda port: [
            *smg,
            f"--port={port}",
            f"--prometheus-port={free_port()}",
            "--log-level=warn",
        ],
    }


def main() -> None:
    """Run all rounds and write the table."""
    programs = {
        name: built(
            Program(name=name, package=f"./{name}", about=f"the benchmark's {name}: seconds"), print
        )
        for name in ("backend", "load")
    }
    costs: dict[str, list[float]] = {load.name: [] for load in LOADS}
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        messages(folder)
        found = backend(programs["backend"], folder, stack)
        servers = {}
        for server, command in commands(folder, found).items():
            port, log = free_port(), folder / f"{server}.log"
            process = stack.enter_context(running(command(port), 0, log))
            wait_listening(port, log, process)
            servers[server] = (process, port)
        time.sleep(3)
        for turn in range(ROUNDS + 1):
            for load in LOADS:
                process, port = servers[load.server]
                cost, figures = _measure(
                    programs["load"], load, process, folder / load.messages, port
                )
                # The first round warms up.
                if turn:
                    costs[load.name].append(cost)
                    print(f"  {load.name:45} {cost:7.1f} µs  {figures}", flush=True)
    report.write("inference", _rows(costs))


def backend(program: Path, folder: Path, stack: ExitStack) -> int:
    log = folder / "backend.log"
    stack.enter_context(running([str(program)], 1, log))
    end = time.monotonic() + 10
    while time.monotonic() < end and not log.read_text().startswith("listening on"):
        time.sleep(0.05)
    return int(log.read_text().split()[2])


def _measure(
    program: Path, load: Load, process: psutil.Process, file: Path, port: int
) -> tuple[float, str]:
    """µs of CPU for each answer, and what the load generator says."""
    command = [
        str(program),
        f"--kind={load.kind}",
        f"--address=127.0.0.1:{port}",
        f"--messages={file}",
    ]
    command += [f"--window={load.window}", f"--seconds={SECONDS}"]
    if load.interactive:
        command.append("--interactive")
    before = cpu_seconds(process)
    made = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    psutil.Process(made.pid).cpu_affinity([1 % (os.cpu_count() or 1)])
    said, _ = made.communicate()
    spent = cpu_seconds(process) - before
    result = json.loads(said)
    rate = result["answers"] / result["seconds"]
    words = f"{rate:8.0f}/s, p50 {result['p50_ms']:.2f} ms, p99 {result['p99_ms']:.2f} ms"
    return spent / result["answers"] * 1e6, words


def _rows(costs: dict[str, list[float]]) -> list[report.Row]:
    rows = [
        report.median(f"CPU, {name}", rounds, limit=None, unit="µs")
        for name, rounds in costs.items()
    ]
    bars = []
    for name, ours, theirs, limit in BARS:
        base = statistics.median(costs[theirs.name])
        ratios = [each / base for each in costs[ours.name]]
        bars.append(report.median(name, ratios, limit=limit, unit="×"))
    return [*rows, *bars]


if __name__ == "__main__":
    main()
