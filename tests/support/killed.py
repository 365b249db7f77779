"""Replicas of a service with state as processes, which are killed again and again."""

import asyncio
import contextlib
import json
import os
import random
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import jwt
from gameai.bus.admin import NatsAdmin
from gameai.bus.group import WorldGroup
from gameai.bus.login import Password
from gameai_devcluster.broker import SMALL, Broker, broker
from gameai_devcluster.processes import free_port

from support.bus import MOOR
from support.managed_bus import certificates

# What a replica that is killed says, or one that starts.
AGAIN = (grpc.StatusCode.ABORTED, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
# Encrypted as in a cluster; anyone may connect.
_OPEN = """\
port: 4222
http_port: 8222
jetstream { store_dir: /data, max_file: 4G, max_mem: 1G }
tls { cert_file: "/tls/tls.crt", key_file: "/tls/tls.key", timeout: 5, handshake_first: true }
"""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Two replicas of a service on ports of their own, and what they stand on. `environment` is what the service needs."""

    module: str
    service: Mapping[str, Any]
    group: WorldGroup
    environment: Mapping[str, str]
    folder: Path
    server: Broker
    ports: tuple[int, int] = field(default_factory=lambda: (free_port(), free_port()))

    def write(self) -> None:
        """What the operator gives a pod."""
        clock = {"effectiveAt": "2026-11-22T09:00:00Z", "worldSeconds": "0", "speed": "1"}
        config = {
            "namespace": MOOR.namespace,
            "world": MOOR.name,
            "seed": 7,
            "clock": {"anchors": [{**clock, "dayLengthMinutes": 48}]},
            "services": {self.group.consumer: dict(self.service)},
            "bus": {
                "endpoint": f"127.0.0.1:{self.server.port}",
                "world": "uid-of-aldermoor",
                "knowledgeBase": "",
            },
        }
        (self.folder / "world.json").write_text(json.dumps(config))
        claims = {"sub": f"system:serviceaccount:{MOOR.namespace}:{self.group.consumer}"}
        (self.folder / "bus-ca.crt").write_bytes((self.folder / "tls" / "ca.crt").read_bytes())
        (self.folder / "token").write_text(jwt.encode(claims, "k" * 32, "HS256"))

    async def replica(self, port: int) -> asyncio.subprocess.Process:
        environment = {
            **os.environ,
            **self.environment,
            "GAMEAI_CONFIG": str(self.folder / "world.json"),
            "GAMEAI_SERVICE": self.group.consumer,
            "GAMEAI_BUS_TOKEN": str(self.folder / "token"),
        }
        with (self.folder / "replicas.log").open("ab") as log:
            return await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", self.module, "--address", "127.0.0.1"),
                *("--port", str(port), "--health-port", "0"),
                env=environment,
                stdout=log,
                stderr=log,
            )


@contextlib.asynccontextmanager
async def killed_often(stage: Stage, chance: random.Random) -> AsyncIterator[None]:
    """Both replicas run; each is killed some seconds after it has begun to answer, and started again.

    A start takes long on a busy machine: killed by the time since the start, no replica would do any work.
    """

    async def one(port: int) -> None:
        while True:
            process = await stage.replica(port)
            try:
                await _answers(port)
                await asyncio.wait_for(process.wait(), chance.uniform(0.3, 2.5))
            except TimeoutError:
                pass
            finally:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()

    tasks = [asyncio.create_task(one(each)) for each in stage.ports]
    try:
        yield
    finally:
        for each in tasks:
            each.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _answers(port: int) -> None:
    """Until a replica takes connections. Raises TimeoutError where it does not start."""
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                return
            await asyncio.sleep(0.1)


@contextlib.asynccontextmanager
async def open_bus(folder: Path) -> AsyncIterator[tuple[Broker, NatsAdmin]]:
    """A server that is encrypted as in a cluster, with its streams."""
    tls = certificates(folder)
    login = Password(user="test", password="", ca_file=tls / "ca.crt")
    with broker(folder, _OPEN, certificates=tls) as server:
        await asyncio.wait_for(server.answers(), 10)
        async with NatsAdmin(server.url, login=login) as nats:
            await nats.declare(SMALL)
            yield server, nats


async def consumed(nats: NatsAdmin, group: WorldGroup) -> None:
    """Declare the consumers of a service, as the bus's controller does."""
    for durable in (group.durable(3.0), group.redrives(3.0)):
        assert await nats.declare_consumer(durable, new=True)
