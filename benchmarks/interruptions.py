"""Requests that are lost when spot replicas are interrupted: a real gateway and real agents, engines without a model.

Callers keep a fixed number of questions in flight, each with a deadline. An interrupted engine is drained by its agent and
then killed; the gateway hears of it half a second late. For comparison: the same engines are killed at once.
"""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import aiohttp
from aiohttp import web
from gameai.client import Gateway
from gameai.gateway.dispatch.dispatcher import Dispatcher
from gameai.gateway.metrics import Metrics
from gameai.gateway.routing.snapshot import Endpoint, RoleView, TierView, View, WorldView
from gameai.gateway.rpc.callers import Callers
from gameai.gateway.rpc.players import Players
from gameai.gateway.rpc.service import InferenceService
from gameai.serving.identity import Anybody
from gameai.tier_agent.agent import Agent, Options
from gameai.tier_agent.engine import Engine as AgentsEngine
from gameai_contract.inference import LatencyClass
from gameai_vllm.engine import Engine, Latency, Limits
from gameai_vllm.surface import application, new_surface
from grpc import aio

from benchmarks import report

WORLD, TIER = "games/moor", "shared/silver"
LATE_SECONDS = 0.5
# The least that a gateway must be able to use of its engines, as a part: else the load would not compete for them.
IN_FLIGHT_EACH = 3
ANSWER_MS = 500.0


@dataclass(frozen=True, slots=True)
class Case:
    """Engines, and the seconds at which one of them is interrupted."""

    name: str
    engines: int
    at: Sequence[float]


CASES = (
    Case("8 of 32 replicas interrupted in 10 s", 32, [2 + 1.25 * n for n in range(8)]),
    Case("2 of 40 replicas interrupted in a minute", 40, [2.0, 32.0]),
)


@dataclass(slots=True)
class Replica:
    """One engine, which may be killed."""

    address: str
    runner: web.AppRunner

    async def drain(self) -> None:
        """What the preStop hook waits for."""
        async with aiohttp.ClientSession() as session:
            engine = AgentsEngine(session, f"http://{self.address}", 60.0)
            options = Options(
                model="silver", class_=LatencyClass.SILVER, slots=16, drain_seconds=60.0
            )
            await Agent(engine, options, time.monotonic).drain()


async def replica() -> Replica:
    """An engine that takes half a second for each answer."""
    latency = Latency(front_end_ms=0.0, first_token_ms=ANSWER_MS, token_ms=1.0)
    surface = new_surface("silver", Engine(latency, Limits(slots=16)))
    runner = web.AppRunner(application(surface), handler_cancellation=True, shutdown_timeout=0.01)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return Replica(f"127.0.0.1:{runner.addresses[0][1]}", runner)


def view(addresses: Sequence[str]) -> View:
    """What a gateway knows."""
    tier = TierView(
        key=TIER,
        tier_class=LatencyClass.SILVER,
        model="silver",
        target_ms=1000,
        slots=16,
        context_tokens=4096,
        endpoints=tuple(Endpoint(address=each) for each in addresses),
    )
    role = RoleView(
        name="talk", tier=TIER, deadline_ms=5000, fallback_chain=(), most_in_flight=4096
    )
    world = WorldView(key=WORLD, epoch="1", roles={"talk": role})
    return View(tiers={TIER: tier}, worlds={WORLD: world})


@contextlib.asynccontextmanager
async def gateway(first: View) -> AsyncIterator[tuple[Dispatcher, str]]:
    """A gateway in this process, and its address."""
    dispatcher = Dispatcher(first, Metrics())
    server = aio.server()
    InferenceService(dispatcher, Callers(Anybody(), lambda: dispatcher.view), Players()).add_to(
        server
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    looking = asyncio.create_task(dispatcher.schedulers.look())
    try:
        yield dispatcher, f"127.0.0.1:{port}"
    finally:
        looking.cancel()
        await server.stop(0)
        for pool in dispatcher.schedulers.values():
            pool.empty()


async def play(case: Case, *, drained: bool) -> tuple[Counter[str], float, int]:
    """Answers by source, the slowest in seconds, and how many replicas the gateway had to give up on a question for."""
    replicas = [await replica() for _ in range(case.engines)]
    alive = [each.address for each in replicas]
    sources: Counter[str] = Counter()
    slowest = 0.0
    end = time.monotonic() + max(case.at) + 12
    async with (
        gateway(view(alive)) as (dispatcher, address),
        Gateway(address, world=WORLD, insecure=True) as ai,
    ):

        async def ask(number: int) -> None:
            nonlocal slowest
            turn = 0
            while time.monotonic() < end:
                turn += 1
                began = time.monotonic()
                answer = await ai.ask(
                    role="talk", prompt=f"Caller {number}, turn {turn}: who are you?", max_tokens=1
                )
                sources[answer.source.name] += 1
                slowest = max(slowest, time.monotonic() - began)

        async def interrupt(each: Replica, seconds: float) -> None:
            await asyncio.sleep(seconds)
            draining = asyncio.create_task(each.drain()) if drained else None
            if not drained:
                await each.runner.cleanup()
            await asyncio.sleep(LATE_SECONDS)
            alive.remove(each.address)
            dispatcher.take(view(alive))
            if draining is not None:
                await draining
                await each.runner.cleanup()

        callers = [ask(number) for number in range(IN_FLIGHT_EACH * case.engines)]
        ending = [interrupt(each, at) for each, at in zip(replicas, case.at, strict=False)]
        await asyncio.gather(*callers, *ending)
        failures = sum(dispatcher.metrics.engine_failures.values())
    for each in replicas:
        await each.runner.cleanup()
    return sources, slowest, failures


def main() -> None:
    """Measure and report."""
    rows = []
    for case in CASES:
        for drained in (True, False):
            sources, slowest, failures = asyncio.run(play(case, drained=drained))
            asked, answered = sum(sources.values()), sources["ENGINE"]
            how = case.name if drained else f"{case.name}, without a drain"
            lost = float(asked - answered)
            rows += [
                report.median(
                    f"{how}: lost", [lost], limit=0.0 if drained else None, unit="requests"
                ),
                report.median(f"{how}: asked", [float(asked)], limit=None, unit="requests"),
                report.median(f"{how}: slowest", [1000 * slowest], limit=None, unit="ms"),
                report.median(f"{how}: failed attempts", [float(failures)], limit=None, unit=""),
            ]
    report.write("interruptions", rows)


if __name__ == "__main__":
    main()
