"""A server with the chart's configuration, its controller under the chart's rights, and worlds whose services use it."""

import asyncio
import base64
import contextlib
import itertools
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from gameai.bus import subjects
from gameai.bus.admin import NatsAdmin
from gameai.bus.group import WorldGroup
from gameai.bus.log import BusError
from gameai.bus.login import Password, TokenFile
from gameai.bus.nats import NatsLog
from gameai.bus.queue import NatsQueue
from gameai.bus.streams import Stream
from gameai.bus.subjects import World
from gameai_contract.names import BUS_AUDIENCE
from gameai_devcluster import certificates as pki
from gameai_devcluster import charts, install
from gameai_devcluster.api import Api, Json
from gameai_devcluster.broker import Broker
from gameai_devcluster.testing.waiting import until

from support.inference import program
from support.live import world

CONTROLLER, SECRET = "gameai-operator-bus-controller", "gameai-operator-bus"
GATEWAYS = "gameai-operator-gateway"
SERVER = {"name": "game-server", "image": "registry.example/server:1", "port": 9000}
SERVICES = [SERVER]
QUESTS = {
    "name": "quests",
    "image": "registry.example/quests:1",
    "serviceAccountName": "quests",
    "consumes": ["game-server"],
}


@dataclass
class Bus:
    """Servers of the chart, their controller, and two worlds of a namespace."""

    api: Api
    url: str
    namespace: str
    folder: Path
    health: str
    servers: Sequence[Broker]

    @property
    def server(self) -> Broker:
        return self.servers[0]

    async def until_ready(self) -> None:
        async with asyncio.timeout(60):
            while await self.ready() != "ok":
                await asyncio.sleep(0.1)

    def world(self, name: str = "moor") -> World:
        uid = self.api.get("GameWorld", self.namespace, name)["metadata"]["uid"]
        return subjects.world(self.namespace, name, uid)

    def login(self, account: str, audience: str = BUS_AUDIENCE) -> TokenFile:
        file = self.folder / f"{account}.token"
        file.write_text(install.token(self.api, self.namespace, account, audience=audience))
        return TokenFile(file=file, ca_file=self.ca_file)

    @property
    def ca_file(self) -> Path:
        """The certificate of the servers' authority."""
        return self.folder / "tls" / "ca.crt"

    def connection(self, account: str = "moor-world") -> NatsLog:
        return NatsLog(self.url, login=self.login(account))

    @contextlib.asynccontextmanager
    async def later_connection(self, account: str) -> AsyncIterator[NatsLog]:
        """The same while a server is away: the controller decides on no connection until it has another server."""
        async with contextlib.AsyncExitStack() as stack, asyncio.timeout(120) as limit:
            log = await self._tried(stack, account)
            limit.reschedule(None)
            yield log

    async def _tried(self, stack: contextlib.AsyncExitStack, account: str) -> NatsLog:
        while True:
            try:
                return await stack.enter_async_context(self.connection(account))
            except BusError:
                await asyncio.sleep(0.5)

    def gateways(self) -> NatsQueue:
        """A connection as a gateway has it."""
        file = self.folder / "gateway.token"
        file.write_text(install.token(self.api, install.NAMESPACE, GATEWAYS, audience=BUS_AUDIENCE))
        return NatsQueue(self.url, login=TokenFile(file=file, scoped=False, ca_file=self.ca_file))

    def streams(self) -> NatsAdmin:
        """A connection that may do everything."""
        held = variables(self.api.get("Secret", install.NAMESPACE, SECRET))
        login = Password(user="streams", password=held["STREAMS_PASSWORD"], ca_file=self.ca_file)
        return NatsAdmin(self.url, login=login)

    async def server_of(self, stream: Stream) -> Broker:
        """The server that leads a stream."""
        async with self.streams() as admin:
            found = (await admin._js.stream_info(stream.name)).cluster
        assert found
        assert found.leader
        return self.servers[int(found.leader.removeprefix("bus-"))]

    async def dead_letters(self, *arguments: str) -> tuple[int, str]:
        """What the command with these arguments returns and says."""
        credentials = self.api.credentials
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "gameai.bus_controller.dead_letters"),
            *(f"--api-server={credentials.server}", f"--api-ca={credentials.ca_file}"),
            f"--api-token={self.folder / 'controller.token'}",
            *(f"--bus={self.url}", f"--bus-ca={self.ca_file}"),
            *(f"--secret={install.NAMESPACE}/{SECRET}", *arguments),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await asyncio.wait_for(process.communicate(), 60)
        return process.returncode or 0, said.decode()

    async def ready(self) -> str:
        async with aiohttp.ClientSession() as session, session.get(f"{self.health}/readyz") as got:
            return (await got.text()).strip()

    async def metric(self, name: str) -> float:
        async with aiohttp.ClientSession() as session, session.get(f"{self.health}/metrics") as got:
            lines = (await got.text()).splitlines()
        return sum(float(each.rsplit(" ", 1)[1]) for each in lines if each.startswith(name))


def configuration(replicas: int = 1) -> str:
    values = {"bus": {"mode": "Managed", "managed": {"replicas": replicas, "storageGiB": 1}}}
    found = next(
        each
        for each in charts.rendered(values=values)
        if each["kind"] == "ConfigMap" and each["metadata"]["name"] == SECRET
    )
    text: str = found["data"]["nats.conf"]
    return text


def variables(secret: Json) -> dict[str, str]:
    """As the chart gives them to the servers."""
    held = {key: base64.b64decode(text).decode() for key, text in secret["data"].items()}
    return {
        "POD_NAME": "bus-0",
        "CLUSTER_PASSWORD": held["cluster-password"],
        "ISSUER": held["issuer"],
        "CALLOUT_PASSWORD": held["callout-password"],
        "STREAMS_PASSWORD": held["streams-password"],
        "SYSTEM_PASSWORD": held["system-password"],
    }


def certificates(folder: Path) -> Path:
    """The folder with the servers' certificate, as the chart mounts it."""
    tls = folder / "tls"
    if not tls.is_dir():
        made = folder / "pki"
        pki.write(made)
        tls.mkdir()
        for name, file in (
            ("tls.crt", "server.crt"),
            ("tls.key", "server.key"),
            ("ca.crt", "ca.crt"),
        ):
            (tls / name).write_bytes((made / file).read_bytes())
    return tls


@contextlib.asynccontextmanager
async def controller(
    api: Api, namespace: str, folder: Path, port: int, *flags: str, server: str = ""
) -> AsyncIterator[str]:
    """The address of its health port."""
    tls = certificates(folder)
    token = folder / "controller.token"
    token.write_text(install.token(api, install.NAMESPACE, CONTROLLER))
    async with program(
        *("gameai.bus_controller", f"--api-server={server or api.credentials.server}"),
        *(f"--api-token={token}", f"--api-ca={api.credentials.ca_file}"),
        *(f"--secret={install.NAMESPACE}/{SECRET}", f"--namespaces={namespace}"),
        *(f"--bus=nats://127.0.0.1:{port}", "--disk-mib=1024", "--health-port=0"),
        *(f"--bus-ca={tls / 'ca.crt'}", f"--bus-certificate={tls / 'tls.crt'}"),
        *("--address=127.0.0.1", "--log-level=WARNING", *flags),
        f"--gateway-account={install.NAMESPACE}/{GATEWAYS}",
    ) as (_, (health,)):
        yield f"http://127.0.0.1:{health}"


@contextlib.asynccontextmanager
async def managed(
    api: Api, namespace: str, tmp_path: Path, services: Sequence[Json] = SERVICES
) -> AsyncIterator[Bus]:
    """Worlds moor and barrow with these services, and their bus."""
    applied(api, namespace, services)
    # Its Secret is what the server is started with, so that its port is chosen here.
    server = Broker(tmp_path, configuration(), certificates=certificates(tmp_path))
    async with controller(api, namespace, tmp_path, server.port) as health:
        server._environment |= variables(secret(api))
        server.start()
        try:
            found = Bus(api, server.url, namespace, tmp_path, health, [server])
            await found.until_ready()
            yield found
        finally:
            server.kill()


@contextlib.asynccontextmanager
async def with_quests(api: Api, namespace: str, tmp_path: Path) -> AsyncIterator[Bus]:
    """The same with a service that consumes events of game servers, under an account of its own."""
    account = {"name": "quests", "namespace": namespace}
    api.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": account})
    async with managed(api, namespace, tmp_path, [SERVER, QUESTS]) as found:
        yield found


def group(of: World) -> WorldGroup:
    """The consumer of the service in a world."""
    return WorldGroup(world=of, consumer="quests")


@contextlib.asynccontextmanager
async def clustered(
    api: Api, namespace: str, tmp_path: Path, services: Sequence[Json] = SERVICES
) -> AsyncIterator[Bus]:
    """The same on three servers behind one address."""
    applied(api, namespace, services)
    servers = []
    for number in range(3):
        folder = tmp_path / f"bus-{number}"
        folder.mkdir()
        tls = certificates(tmp_path)
        servers.append(Broker(folder, configuration(3), certificates=tls))
    async with (
        service([each.port for each in servers]) as port,
        controller(api, namespace, tmp_path, port, "--stream-replicas=3") as health,
    ):
        held = variables(secret(api))
        password = held["CLUSTER_PASSWORD"]
        routes = {
            f"ROUTE_{number}": f"nats://bus:{password}@127.0.0.1:{each.cluster_port}"
            for number, each in enumerate(servers)
        }
        for number, each in enumerate(servers):
            each._environment |= held | routes | {"POD_NAME": f"bus-{number}"}
            each.start()
        try:
            found = Bus(api, f"nats://127.0.0.1:{port}", namespace, tmp_path, health, servers)
            await found.until_ready()
            yield found
        finally:
            for each in servers:
                each.kill()


@contextlib.asynccontextmanager
async def service(ports: Sequence[int]) -> AsyncIterator[int]:
    """A port whose connections go to one of these that answers, as those of a Service do."""
    turns = itertools.count()
    open_: set[asyncio.Task[None]] = set()

    async def copied(source: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(1 << 16):
                to.write(data)
                await to.drain()
        finally:
            to.close()

    async def joined(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in ports:
            try:
                there = await asyncio.open_connection("127.0.0.1", ports[next(turns) % len(ports)])
            except OSError:
                continue
            pair = (copied(reader, there[1]), copied(there[0], writer))
            for each in map(asyncio.ensure_future, pair):
                open_.add(each)
                each.add_done_callback(open_.discard)
            return
        writer.close()

    server = await asyncio.start_server(joined, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for each in tuple(open_):
            each.cancel()
        await asyncio.gather(*open_, return_exceptions=True)


def secret(api: Api) -> Json:
    """The one that the controller creates."""
    found = until("the Secret", lambda: api.find("Secret", install.NAMESPACE, SECRET), seconds=30)
    assert found
    return found


def applied(api: Api, namespace: str, services: Sequence[Json]) -> None:
    """The worlds, and an account that none of their services runs as."""
    install.rights(api)
    for name in ("moor", "barrow"):
        api.apply(world(namespace, name, services=[*services]), manager="kubectl")
    api.apply(
        {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": "stranger", "namespace": namespace},
        }
    )
    until(
        "the worlds are published",
        lambda: all(api.find("WorldView", namespace, name) for name in ("moor", "barrow")),
        seconds=30,
    )
