"""A real NATS server with JetStream, for tests and benchmarks."""

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from gameai.bus.streams import STREAMS

from gameai_devcluster.processes import free_port

SERVER = Path(sys.executable).parent / "nats-server"
# The reserved sizes of production do not fit a laptop.
SMALL = tuple(replace(each, most_bytes=256 << 20) for each in STREAMS)

_OPEN = """\
port: 4222
http_port: 8222
jetstream { store_dir: /data, max_file: 4G, max_mem: 1G }
"""


class Broker:
    """A server that can be killed and started again on its files.

    `configuration` stands for its own one, which has no users: it names `port`, `http_port` and `store_dir` as the chart's does,
    and of a cluster its `port`; `certificates` is the folder of those that it names below /tls.
    """

    def __init__(
        self,
        folder: Path,
        configuration: str = "",
        environment: Mapping[str, str] | None = None,
        *,
        port: int = 0,
        certificates: Path | None = None,
    ) -> None:
        self.folder = folder
        self.port = port or free_port()
        self.status_port = free_port()
        self.cluster_port = free_port()
        self.url = f"nats://127.0.0.1:{self.port}"
        self._certificates = certificates
        self._environment = {**os.environ, **(environment or {})}
        self._configuration = configuration or _OPEN
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, on the files that it has."""
        config = self.folder / "nats.conf"
        own = {
            "port: 4222": f"listen: 127.0.0.1:{self.port}",
            "http_port: 8222": f"http: 127.0.0.1:{self.status_port}",
            "port: 6222": f"listen: 127.0.0.1:{self.cluster_port}",
            "store_dir: /data": f"store_dir: {json.dumps(str(self.folder / 'data'))}",
        }
        if self._certificates is not None:
            own['"/tls/'] = f'"{self._certificates}/'
        text = self._configuration
        for given, replaced in own.items():
            text = text.replace(given, replaced)
        config.write_text(text)
        with (self.folder / "nats.log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(SERVER), "-c", str(config)], stdout=log, stderr=log, env=self._environment
            )

    def kill(self) -> None:
        """End it at once, as kill -9 does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def signal(self, number: int) -> None:
        """Send a signal to its process."""
        if self._process is not None:
            self._process.send_signal(number)

    def connections(self) -> list[int]:
        """The subscriptions of each client that is connected."""
        url = f"http://127.0.0.1:{self.status_port}/connz"
        with urllib.request.urlopen(url, timeout=10) as answer:
            found = json.load(answer)
        return [each["subscriptions"] for each in found["connections"]]

    async def answers(self) -> None:
        """Wait until it takes connections."""
        while True:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                writer.close()
                return
            await asyncio.sleep(0.02)


@contextlib.contextmanager
def broker(
    folder: Path,
    configuration: str = "",
    environment: Mapping[str, str] | None = None,
    certificates: Path | None = None,
) -> Iterator[Broker]:
    """A server that runs until the end of the block; its files go then."""
    found = Broker(folder, configuration, environment, certificates=certificates)
    found.start()
    try:
        yield found
    finally:
        found.kill()
        shutil.rmtree(folder / "data", ignore_errors=True)
