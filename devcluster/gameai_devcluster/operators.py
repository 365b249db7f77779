"""EDGE: the operator as a process of this machine, with its log and its port."""

import contextlib
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path

import psutil
import urllib3

from gameai_devcluster.processes import alive, start_in_background
from gameai_devcluster.testing.metrics import total


@dataclass(frozen=True, kw_only=True, slots=True)
class Launch:
    """How an operator is started. `flags` are flags of `run` without the dashes, underscores for dashes.

    `command` is `run` or `scaler`; `python_path` holds the packages of another release, in place of those that are installed
    (give `health_port` then: a release may not know the flag that reports it).
    """

    kubeconfig: Path
    log: Path
    flags: Mapping[str, str | float] = field(default_factory=dict)
    die_with_parent: bool = True
    command: str = "run"
    python_path: str = ""


class Operator:
    """A running operator."""

    def __init__(self, launch: Launch) -> None:
        self.launch = launch
        self.start()

    def start(self) -> None:
        """Start it, again if it has ended."""
        launch = self.launch
        self._log_start = launch.log.stat().st_size if launch.log.exists() else 0
        given: dict[str, str | float] = {
            "kubeconfig": str(launch.kubeconfig),
            "health_address": "127.0.0.1",
            "health_port": 0,
            "lease_namespace": "gameai-system",
            # Simulated pods have no agents, and addresses that lead nowhere.
            **({"keda_port": 0, "agent_port": 0} if launch.command == "scaler" else {}),
            **launch.flags,
        }
        self._port_file = launch.log.with_suffix(".ports")
        self._port_file.unlink(missing_ok=True)
        if given["health_port"] == 0:
            given["port_file"] = str(self._port_file)
        self._port = int(given["health_port"])
        flags = [f"--{name.replace('_', '-')}={value}" for name, value in given.items()]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("GAMEAI_")}
        if launch.python_path:
            environment["PYTHONPATH"] = launch.python_path
        self.process = start_in_background(
            [sys.executable, "-m", "gameai_operator", launch.command, *flags],
            launch.log,
            die_with_parent=launch.die_with_parent,
            environment=environment,
        )

    @property
    def pid(self) -> int:
        """Process id."""
        return self.process.pid

    def output(self) -> str:
        """What it has logged since this start."""
        with self.launch.log.open("rb") as log:
            log.seek(self._log_start)
            return log.read().decode(errors="replace")

    def alive(self) -> bool:
        """Whether it still runs."""
        return self.process.poll() is None

    def get(self, endpoint: str) -> tuple[int, str]:
        """Status and text of one of its HTTP endpoints; (0, "") while it does not listen."""
        with contextlib.suppress(FileNotFoundError):
            self._port = json.loads(self._port_file.read_text())["health"]
        with contextlib.suppress(urllib3.exceptions.HTTPError):
            answer = urllib3.request(
                "GET", f"http://127.0.0.1:{self._port}{endpoint}", retries=False, timeout=5
            )
            return answer.status, answer.data.decode()
        return 0, ""

    def metric(self, name: str) -> float:
        """The sum of a metric over its labels: 0 without a sample, NaN while the operator has no metrics."""
        status, text = self.get("/metrics")
        if status != HTTPStatus.OK:
            return math.nan
        return total(text, name)

    def wait_ready(self, seconds: float = 60.0) -> "Operator":
        """Wait until `/readyz` says ok; TimeoutError with the end of the log."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.alive():
            if self.get("/readyz")[0] == 200:
                return self
            time.sleep(0.05)
        raise TimeoutError(f"the operator is not ready:\n{self.output()[-3000:]}")

    def stop(self, seconds: float = 60.0) -> int:
        """SIGTERM, then wait; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return self.kill()

    def kill(self) -> int:
        """SIGKILL, as a crash would; the exit code."""
        self.process.kill()
        return self.process.wait(10)


def remember(operator: Operator, file: Path) -> None:
    """Write down who runs, so that a later command can stop it."""
    started = psutil.Process(operator.pid).create_time()
    file.write_text(json.dumps({"pid": operator.pid, "started": started}))


def stop_remembered(file: Path) -> bool:
    """Stop the operator that was written down; True if it ran."""
    try:
        saved = json.loads(file.read_text())
        if not alive(saved["pid"], saved["started"]):
            return False
        process = psutil.Process(saved["pid"])
        process.terminate()
        process.wait(15)
    except (FileNotFoundError, ValueError, psutil.NoSuchProcess):
        return False
    except psutil.TimeoutExpired:
        process.kill()
    return True
