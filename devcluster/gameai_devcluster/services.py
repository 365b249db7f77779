"""EDGE: a game service as a process of this machine, over a configuration file."""

import json
import os
import re
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import urllib3
from gameai.client import channel
from gameai.time.v1 import time_pb2
from gameai.weather.v1 import weather_pb2
from gameai_contract.catalogue import CATALOGUE

from gameai_devcluster.processes import start_in_background

_SERVING = re.compile(r"serving \S+ on port (\d+), health on \[\('127\.0\.0\.1', (\d+)\)\]")


@dataclass(frozen=True, kw_only=True, slots=True)
class ServiceLaunch:
    """Which service of the catalogue, with which configuration; `environment` is added to this process's own."""

    name: str
    config: Path
    log: Path
    drain_seconds: float = 0.2
    environment: Mapping[str, str] = field(default_factory=dict)


class Service:
    """A running game service."""

    def __init__(self, launch: ServiceLaunch) -> None:
        self.launch = launch
        module = CATALOGUE[launch.name].module
        self._start = launch.log.stat().st_size if launch.log.exists() else 0
        command = [sys.executable, "-m", module, f"--config={launch.config}"]
        flags = ["--address=127.0.0.1", "--port=0", "--health-port=0"]
        kept = {k: v for k, v in os.environ.items() if not k.startswith("GAMEAI_")}
        self.process = start_in_background(
            [*command, *flags, f"--drain-seconds={launch.drain_seconds}"],
            launch.log,
            die_with_parent=True,
            environment={**kept, **launch.environment},
        )
        self._channel: grpc.Channel | None = None

    def output(self) -> str:
        """What it has logged since its start."""
        with self.launch.log.open("rb") as log:
            log.seek(self._start)
            return log.read().decode(errors="replace")

    def wait_serving(self, seconds: float = 30.0) -> "Service":
        """Wait until it serves; TimeoutError with the end of its log."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.process.poll() is None:
            if self._ports():
                return self
            time.sleep(0.05)
        raise TimeoutError(f"{self.launch.name} does not serve:\n{self.output()[-3000:]}")

    @property
    def endpoint(self) -> str:
        """Where it answers gRPC."""
        return f"127.0.0.1:{self._port(0)}"

    def channel(self) -> grpc.Channel:
        """The channel to it, until `close`."""
        if self._channel is None:
            self._channel = grpc.insecure_channel(
                self.endpoint, options=channel.options(weather_pb2.DESCRIPTOR, time_pb2.DESCRIPTOR)
            )
        return self._channel

    def get(self, path: str) -> tuple[int, str]:
        """Status and text of one of its HTTP endpoints."""
        answer = urllib3.request(
            "GET", f"http://127.0.0.1:{self._port(1)}{path}", retries=False, timeout=5
        )
        return answer.status, answer.data.decode()

    def terminate(self) -> None:
        """SIGTERM: it begins to drain."""
        self.process.send_signal(signal.SIGTERM)

    def close(self) -> None:
        """Kill it if it still runs, and close the channel to it."""
        if self._channel is not None:
            self._channel.close()
        if self.process.poll() is None:
            self.process.kill()

    def stop(self, seconds: float = 30.0) -> int:
        """SIGTERM, then wait; the exit code."""
        self.terminate()
        return self.process.wait(seconds)

    def _port(self, which: int) -> int:
        ports = self._ports()
        if ports is None:
            raise TimeoutError(f"{self.launch.name} does not serve yet")
        return ports[which]

    def _ports(self) -> tuple[int, int] | None:
        for line in self.output().splitlines():
            if line.startswith("{") and (match := _SERVING.search(json.loads(line)["message"])):
                return int(match[1]), int(match[2])
        return None
