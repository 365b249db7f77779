"""The agent's own process with the double of vLLM: it warms up, follows, drains and measures a real HTTP server."""

import asyncio
import re
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import psutil
from gameai_devcluster.processes import free_port
from gameai_vllm.engine import Limits
from support.inference import engine, outward, program

MEBI = 1 << 20
STARTED = re.compile(r"^gameai_tier_agent_engine_starts_total (\S+)$", re.MULTILINE)


@dataclass
class Running:
    """An agent, and how to ask it."""

    url: str
    session: aiohttp.ClientSession
    process: Any

    async def ready(self) -> str:
        async with self.session.get(f"{self.url}/readyz") as reply:
            return "" if reply.status == 200 else (await reply.text()).strip()

    async def page(self) -> str:
        async with self.session.get(f"{self.url}/metrics") as reply:
            return await reply.text()

    async def value(self, series: str) -> float:
        found = re.search(rf"^{re.escape(series)} (\S+)$", await self.page(), re.MULTILINE)
        return float(found[1]) if found else 0.0

    async def until(self, what: str, seconds: float = 30) -> None:
        async with asyncio.timeout(seconds):
            while await self.ready() != what:
                await asyncio.sleep(0.1)

    async def measures_on(self) -> None:
        """Ask for the measurement to go on until it ends."""
        async with asyncio.timeout(90):
            while await self.ready() == "measuring":
                await self.post("/measure?targetMs=100")
                await asyncio.sleep(1)

    async def post(self, path: str) -> tuple[int, str]:
        async with self.session.post(f"{self.url}{path}") as reply:
            return reply.status, (await reply.text()).strip()


@asynccontextmanager
async def agent(url: str, *flags: str, address: str = "127.0.0.1") -> AsyncIterator[Running]:
    own = ("--engine", url, "--model", "gold", "--class", "Gold", "--slots", "16")
    where = ("--address", address, "--port", "0", "--engine-hash", "abc")
    async with AsyncExitStack() as stack:
        process, [port] = await stack.enter_async_context(
            program("gameai.tier_agent", *own, *where, *flags)
        )
        session = await stack.enter_async_context(aiohttp.ClientSession())
        yield Running(f"http://{address}:{port}", session, process)


@asynccontextmanager
async def asking(url: str, tokens: int) -> AsyncIterator[Callable[[], int]]:
    """One answer after another, each of so many tokens; how many came."""
    done = 0
    body = {"model": "gold", "messages": [{"role": "user", "content": "Hm?"}], "max_tokens": tokens}

    async def ask() -> None:
        nonlocal done
        async with aiohttp.ClientSession() as session:
            while True:
                async with session.post(f"{url}/v1/chat/completions", json=body) as reply:
                    assert reply.status == 200
                    await reply.read()
                    done += 1

    task = asyncio.create_task(ask())
    try:
        yield lambda: done
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_an_engine_is_ready_once_it_has_answered_three_questions() -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    async with agent(url) as made:
        await asyncio.sleep(1.5)
        assert await made.ready() == "the engine's /health is refused, or answers with an error"
        async with engine(port=port) as (surface, _):
            await made.until("")
            assert sum(surface.metrics.finished.values()) == 3
            assert await made.value("gameai_tier_agent_engine_starts_total") == 1
        # The engine is gone, and comes back as another process would.
        await made.until("the engine's /health is refused, or answers with an error", seconds=5)
        async with engine(port=port) as (surface, _):
            await made.until("")
            assert sum(surface.metrics.finished.values()) == 3
            assert await made.value("gameai_tier_agent_engine_starts_total") == 2


async def test_an_engine_that_cannot_answer_is_not_ready() -> None:
    async with engine() as (surface, address), agent(f"http://{address}") as made:
        await made.until("")
        surface.engine.kill()
        await made.until("the engine's /health is refused, or answers with an error", seconds=5)


async def test_a_drain_waits_for_requests_and_then_for_silence() -> None:
    async with engine() as (_, address), agent(f"http://{address}") as made:
        await made.until("")
        loop = asyncio.get_running_loop()
        async with asking(f"http://{address}", tokens=300) as answered:
            began = loop.time()
            draining = asyncio.create_task(made.post("/drain"))
            await made.until("draining", seconds=2)
            await asyncio.sleep(7)
            assert not draining.done(), "requests still come"
            assert answered() > 0
        assert await draining == (200, '{"result": "idle"}')
        assert loop.time() - began >= 8.5
        assert await made.value('gameai_tier_agent_drains_total{result="idle"}') == 1
        assert await made.ready() == "draining"


async def test_a_drain_ends_when_its_time_is_up_and_when_the_engine_is_gone() -> None:
    async with engine() as (surface, address):
        async with agent(f"http://{address}", "--drain-seconds", "6") as made:
            await made.until("")
            async with asking(f"http://{address}", tokens=300):
                assert await made.post("/drain") == (200, '{"result": "budget"}')
        async with agent(f"http://{address}") as made:
            await made.until("")
            async with asyncio.timeout(10):
                async with asyncio.TaskGroup() as group:
                    draining = group.create_task(made.post("/drain"))
                    await asyncio.sleep(0.5)
                    surface.engine.kill()
            assert draining.result() == (200, '{"result": "gone"}')


async def test_only_the_pod_itself_may_drain() -> None:
    async with engine() as (_, address), agent(f"http://{address}", address=outward()) as made:
        await made.until("")
        assert await made.post("/drain") == (403, "only from within the pod")
        assert await made.ready() == ""


async def test_a_measurement_keeps_the_engine_out_of_service_and_says_what_it_can_do() -> None:
    async with engine() as (_, address), agent(f"http://{address}") as made:
        await made.until("")
        assert await made.post("/measure") == (
            400,
            "targetMs must be a number of milliseconds, 1 to 1000",
        )
        assert await made.post("/measure?targetMs=100") == (202, "measuring")
        assert await made.ready() == "measuring"
        await made.measures_on()
        assert await made.value("gameai_tier_agent_capacity_target_seconds") == 0.1
        assert 0 < await made.value("gameai_tier_agent_capacity_idle_p95_seconds") < 0.1
        concurrency = await made.value("gameai_tier_agent_capacity_concurrency")
        rate = await made.value("gameai_tier_agent_capacity_requests_per_second")
        assert 2 <= concurrency <= 16
        # Little's law: with so many in flight, each within the target.
        assert rate >= 0.5 * concurrency / 0.1
        assert (await made.post("/measure?targetMs=100"))[0] == 409
        assert psutil.Process(made.process.pid).memory_info().rss < 100 * MEBI


async def test_a_measurement_is_given_up_for_a_drain_and_where_callers_stay() -> None:
    async with engine() as (_, address):
        async with agent(f"http://{address}") as made:
            await made.until("")
            await made.post("/measure?targetMs=100")
            assert await made.post("/drain") == (200, '{"result": "idle"}')
            assert await made.value("gameai_tier_agent_capacity_concurrency") == 0
        async with agent(f"http://{address}") as made, asking(f"http://{address}", tokens=300):
            await made.until("")
            await made.post("/measure?targetMs=100")
            await made.measures_on()
            assert await made.value('gameai_tier_agent_measurements_total{result="aborted"}') == 1
            assert await made.value("gameai_tier_agent_capacity_concurrency") == 0


async def test_a_measurement_that_is_not_asked_for_any_more_ends() -> None:
    async with engine() as (_, address), agent(f"http://{address}") as made:
        await made.until("")
        await made.post("/measure?targetMs=100")
        await made.until("", seconds=20)
        assert await made.value("gameai_tier_agent_capacity_concurrency") == 0
        assert await made.value('gameai_tier_agent_measurements_total{result="aborted"}') == 1


async def test_an_engine_that_is_full_or_refuses_the_question_serves() -> None:
    limits = Limits(slots=1, queued=1)
    async with (
        engine(limits=limits) as (_, address),
        asking(f"http://{address}", tokens=4000),
        agent(f"http://{address}") as made,
    ):
        await made.until("")
    async with engine(model="another") as (_, address), agent(f"http://{address}") as made:
        await made.until("")


async def test_sigterm_ends_an_agent_at_once() -> None:
    async with engine() as (_, address), agent(f"http://{address}") as made:
        await made.until("")
        made.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(5):
            assert await made.process.wait() == 0
