"""EDGE: a game service as a process of this machine, over a configuration file."""

import contextlib
import json
import os
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


@dataclass(frozen=True, kw_only=True, slots=True)
class ServiceLaunch:
    """Which service of the catalogue, with which configuration; `environment` is added to this process's own."""

    name: str
    config: Path
    log: Path
    drain_seconds: float = 0.2
    port: int = 0
    environment: Mapping[str, str] = field(default_factory=dict)


class Service:
    """A running game service."""

    def __init__(self, launch: ServiceLaunch) -> None:
        self.launch = launch
        module = CATALOGUE[launch.name].module
        self._start = launch.log.stat().st_size if launch.log.exists() else 0
        command = [sys.executable, "-m", module, f"--config={launch.config}"]
        self._port_file = launch.log.with_suffix(".ports")
        self._port_file.unlink(missing_ok=True)
        flags = ["--address=127.0.0.1", f"--port={launch.port}", "--health-port=0"]
        flags += [f"--port-file={self._port_file}"]
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
        return f"127.0.0.1:{self._port('grpc')}"

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
            "GET", f"http://127.0.0.1:{self._port('health')}{path}", retries=False, timeout=5
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

    def _port(self, name: str) -> int:
        """Raises TimeoutError before it serves."""
        ports = self._ports()
        if not ports:
            raise TimeoutError(f"{self.launch.name} does not serve yet")
        return ports[name]

    def _ports(self) -> dict[str, int]:
        """Its ports by name; none before it serves."""
        with contextlib.suppress(FileNotFoundError):
            ports: dict[str, int] = json.loads(self._port_file.read_text())
            return ports
        return {}
