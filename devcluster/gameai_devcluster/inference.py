"""EDGE: the inference path on this machine: a double of vLLM for each tier, a gateway in front of them, and programs that ask."""

import contextlib
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from gameai_devcluster.install import ROOT
from gameai_devcluster.processes import free_port, start_in_background

_EXAMPLE = ROOT / "examples" / "laptop"
_LISTENING = re.compile(r"^listening on (\d+)", re.MULTILINE)
_START_SECONDS = 30.0
# What a small model on a GPU of our examples may take; the double has neither.
_LATENCIES = {
    "gold": ("--front-end-ms=1", "--first-token-ms=4"),
    "silver": ("--front-end-ms=2", "--first-token-ms=20", "--token-ms=5"),
    "bronze": ("--front-end-ms=2", "--first-token-ms=200", "--token-ms=20"),
}


class Program:
    """A module as a process; its port is what it says on its first line."""

    def __init__(self, module: str, *arguments: str, log: Path) -> None:
        log.unlink(missing_ok=True)
        self._log = log
        command = [sys.executable, "-m", module, "--port=0", *arguments]
        self._process = start_in_background(command, log, die_with_parent=True)

    def address(self) -> str:
        """Where it listens. Raises `TimeoutError` with its log."""
        end = time.monotonic() + _START_SECONDS
        while time.monotonic() < end and self._process.poll() is None:
            if found := _LISTENING.search(self._log.read_text()):
                return f"127.0.0.1:{found[1]}"
            time.sleep(0.05)
        raise TimeoutError(f"{self._log.stem} does not listen:\n{self._log.read_text()[-2000:]}")

    def stop(self) -> None:
        """SIGTERM, and wait."""
        self._process.terminate()
        try:
            self._process.wait(40)
        except subprocess.TimeoutExpired:
            self._process.kill()


@dataclass(frozen=True, kw_only=True, slots=True)
class Laptop:
    """A gateway on this machine: where it answers, and where its metrics are."""

    gateway: str
    metrics: str

    def play(self) -> None:
        """Let the example's game loop ask and print. Raises CalledProcessError."""
        self._run("game_loop.py")

    def write(self) -> None:
        """Let the example submit jobs, and print their answers. Raises CalledProcessError."""
        self._run("chronicle.py")

    def _run(self, name: str) -> None:
        subprocess.run([sys.executable, str(_EXAMPLE / name), self.gateway], check=True)


@contextlib.contextmanager
def laptop(folder: Path, bus: str = "") -> Iterator[Laptop]:
    """Doubles of vLLM and a gateway in front of them, which keeps jobs on the bus at this address, if one is given; stopped at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    programs: list[Program] = []
    try:
        view = yaml.safe_load((_EXAMPLE / "gateway.yaml").read_text())
        for tier in view["tiers"]:
            flags = (f"--served-model-name={tier['name']}", *_LATENCIES[tier["name"]])
            double = Program("gameai_vllm", *flags, log=folder / f"{tier['name']}.log")
            programs.append(double)
            tier["endpoints"] = [double.address()]
        file = folder / "gateway.yaml"
        file.write_text(yaml.safe_dump(view))
        (folder / "npcs.yaml").write_text((_EXAMPLE / "npcs.yaml").read_text())
        port = free_port()
        flags = (f"--view={file}", "--address=127.0.0.1", f"--health-port={port}", f"--bus={bus}")
        log = folder / "gateway.log"
        gateway = Program("gameai.gateway", *flags, "--insecure-no-identity", log=log)
        programs.append(gateway)
        yield Laptop(gateway=gateway.address(), metrics=f"127.0.0.1:{port}")
    finally:
        for program in reversed(programs):
            program.stop()
