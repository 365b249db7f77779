"""Gateways and engines for tests: real gRPC and HTTP on this machine, in this process or beside it."""

import asyncio
import json
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from aiohttp import web
from gameai.gateway.dispatch.dispatcher import Dispatcher
from gameai.gateway.metrics import Metrics
from gameai.gateway.routing.archetypes import Archetypes
from gameai.gateway.routing.snapshot import Endpoint, RoleView, TierView, View, WorldView
from gameai.gateway.rpc.callers import Callers
from gameai.gateway.rpc.players import Players
from gameai.gateway.rpc.service import InferenceService
from gameai.inference.v1 import inference_pb2 as pb
from gameai.inference.v1 import inference_pb2_grpc
from gameai.serving.identity import Anybody, Identity
from gameai_contract.archetypes import parse
from gameai_contract.inference import LatencyClass
from gameai_vllm.engine import Engine, Latency, Limits
from gameai_vllm.surface import Surface, application, new_surface
from grpc import aio

FAST = Latency(front_end_ms=0, first_token_ms=2, token_ms=1)
NPCS = """\
version: 1
archetypes:
  guard:
    actions: [patrol, attack, flee]
    defaults: [patrol]
    cache:
      fields: {threat: {step: 10}}
      ttlSeconds: 60
      staleGraceSeconds: 60
  bard: {defaults: ["Hm?"]}
  mute: {}
"""
GUARD = pb.Question(
    role="reaction", archetype="guard", npc="n1", prompt=pb.Prompt(parts=["A wolf!"])
)
BARD = pb.Question(
    role="dialogue", archetype="bard", npc="n1", prompt=pb.Prompt(parts=["Sing."]), max_tokens=20
)


def question(like: pb.Question, number: int = 1, **more: Any) -> pb.Question:
    made = pb.Question(id=number, **more)
    merged = pb.Question()
    merged.CopyFrom(like)
    merged.MergeFrom(made)
    return merged


def tier(name: str, tier_class: LatencyClass, addresses: Sequence[str], **more: Any) -> TierView:
    return TierView(
        **{
            "key": f"shared/{name}",
            "tier_class": tier_class,
            "model": name,
            "target_ms": 500 if tier_class is LatencyClass.GOLD else 3000,
            "slots": 16,
            "context_tokens": 4096,
            "endpoints": tuple(Endpoint(address=each) for each in addresses),
        }
        | more
    )


def world(key: str = "games/eldermoor", **roles: dict[str, Any]) -> WorldView:
    made = {}
    for name, on, time in (("reaction", "gold", 5000), ("dialogue", "silver", 9000)):
        held: dict[str, Any] = {"name": name, "tier": f"shared/{on}", "deadline_ms": time}
        made[name] = RoleView(**held | roles.get(name, {}))
    archetypes = Archetypes(parse({"npcs.yaml": NPCS}))
    return WorldView(
        key=key, epoch="1", roles=made, archetypes=archetypes, callers=frozenset({"games/server"})
    )


def view(
    gold: Sequence[str] = (), silver: Sequence[str] = (), *worlds: WorldView, **more: Any
) -> View:
    tiers = (tier("gold", LatencyClass.GOLD, gold), tier("silver", LatencyClass.SILVER, silver))
    held = worlds or (world(),)
    return View(tiers={t.key: t for t in tiers}, worlds={w.key: w for w in held}, **more)


def outward() -> str:
    """An address of this machine that is not its loopback's, which no EndpointSlice may hold."""
    for addresses in psutil.net_if_addrs().values():
        for each in addresses:
            local = each.address.startswith(("127.", "169.254."))
            if each.family == socket.AF_INET and not local:
                return each.address
    raise AssertionError("this machine has no address but its loopback's: add one to an interface")


@asynccontextmanager
async def engine(
    model: str = "gold",
    latency: Latency = FAST,
    limits: Limits | None = None,
    port: int = 0,
    host: str = "127.0.0.1",
) -> AsyncIterator[tuple[Surface, str]]:
    """A double in this process, and its address."""
    surface = new_surface(model, Engine(latency, limits or Limits()))
    runner = web.AppRunner(application(surface), handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, host, port).start()
    try:
        yield surface, f"{host}:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@dataclass
class Served:
    """A gateway in this process."""

    dispatcher: Dispatcher
    service: InferenceService
    address: str
    stub: Any

    async def infer(self, asked: pb.Question, **more: Any) -> pb.Answer:
        response = await self.stub.GenerateAnswer(pb.GenerateAnswerRequest(question=asked), **more)
        answer: pb.Answer = response.answer
        return answer


@asynccontextmanager
async def gateway(
    seen: View, identity: Identity | None = None, port: int = 0
) -> AsyncIterator[Served]:
    dispatcher = Dispatcher(seen, Metrics())
    callers = Callers(identity or Anybody(), lambda: dispatcher.view)
    service = InferenceService(dispatcher, callers, Players())
    server = aio.server(options=(("grpc.max_receive_message_length", 4 << 20),))
    service.add_to(server)
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    looking = asyncio.create_task(dispatcher.schedulers.look())
    address = f"127.0.0.1:{port}"
    try:
        async with aio.insecure_channel(address) as channel:
            stub = inference_pb2_grpc.InferenceServiceStub(channel)
            yield Served(dispatcher, service, address, stub)
    finally:
        looking.cancel()
        await server.stop(0)
        for pool in dispatcher.schedulers.values():
            pool.empty()
        # Connections close in the loop's next pass.
        await asyncio.sleep(0)


def write_view(folder: Path, *addresses: str) -> Path:
    """The file of a laptop's gateway: one Gold tier, one world with a role and archetypes."""
    file = folder / "view.yaml"
    document = {
        "tiers": [{"name": "gold", "class": "Gold", "endpoints": list(addresses)}],
        "worlds": [
            {
                "name": "eldermoor",
                "roles": [{"name": "reaction", "tier": "gold", "deadlineMs": 30_000}],
                "archetypes": "npcs.yaml",
            }
        ],
    }
    (folder / "npcs.yaml").write_text(
        "version: 1\narchetypes:\n  guard: {actions: [patrol, flee]}\n"
    )
    file.write_text(json.dumps(document))
    return file


@asynccontextmanager
async def program(*arguments: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, list[int]]]:
    """A module as a process, and the ports that it says."""
    made = await asyncio.create_subprocess_exec(
        sys.executable, "-m", *arguments, stdout=asyncio.subprocess.PIPE
    )
    assert made.stdout is not None
    async with asyncio.timeout(30):
        line = (await made.stdout.readline()).decode()
    try:
        yield made, [int(word) for word in line.split()[2:]]
    finally:
        if made.returncode is None:
            made.kill()
        await made.wait()
        made._transport.close()  # type: ignore[attr-defined] # else its pipe outlives the loop


@asynccontextmanager
async def gateway_program(
    file: Path, *flags: str
) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    arguments = (
        "--address",
        "127.0.0.1",
        "--port",
        "0",
        "--health-port",
        "0",
        "--log-level",
        "WARNING",
    )
    async with program(
        "gameai.gateway", "--view", str(file), "--insecure-no-identity", *arguments, *flags
    ) as (made, ports):
        yield made, f"127.0.0.1:{ports[0]}"


async def eventually(condition: Any, seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)
