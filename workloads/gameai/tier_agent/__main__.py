"""`python -m gameai.tier_agent`: the sidecar of one vLLM."""

import argparse
import asyncio
import contextlib
import os
import signal
import sys
import time

import aiohttp
from gameai_contract.inference import DEFAULT_SLOTS, MOST_IN_FLIGHT, TARGETS_MS, LatencyClass
from gameai_contract.names import AGENT_PORT, POD_ENVIRONMENT, VLLM_PORT
from prometheus_client import REGISTRY

from gameai.serving import flags
from gameai.serving.background import Background
from gameai.serving.health import serve
from gameai.serving.opening import PortError, opening
from gameai.serving.telemetry import configure_logging
from gameai.tier_agent import gpu
from gameai.tier_agent.agent import Agent, Options
from gameai.tier_agent.engine import Engine
from gameai.tier_agent.metrics import Report
from gameai.tier_agent.pages import routes

# An answer may take so many times the target of its class.
_TARGETS, _LEAST_ANSWER_SECONDS = 20, 60.0
_STOP_SECONDS = 2.0


def main(arguments: list[str] | None = None) -> int:
    """Run until SIGTERM; 0 then, 1 where it cannot start."""
    given = _parse(arguments)
    configure_logging(given.log_level)
    try:
        asyncio.run(_run(given))
    except PortError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m gameai.tier_agent",
        description="The sidecar of one vLLM: it warms the engine up, drains it, measures it, and says whether it is ready.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--engine", default=f"http://127.0.0.1:{VLLM_PORT}", help="URL of the engine")
    add("--model", required=True, help="name of the model, as the engine serves it")
    add("--class", dest="class_", type=LatencyClass, required=True, help="Gold, Silver or Bronze")
    add("--slots", type=int, default=DEFAULT_SLOTS, help="concurrent requests of the engine")
    add("--drain-seconds", type=flags.seconds, default=60.0, help="longest drain, in seconds")
    add("--engine-hash", default="", help="hash of what the engine was started with, for reports")
    add("--pod", default=os.environ.get(POD_ENVIRONMENT, ""), help=f"name of the pod, for reports; {POD_ENVIRONMENT}")  # fmt: skip
    add("--address", default="", help="address to listen on; empty: all of this pod")
    add("--port", type=flags.port, default=AGENT_PORT, help="port; 0: any free port")
    flags.add_log_level(parser)
    given = parser.parse_args(arguments)
    if not 1 <= given.slots <= MOST_IN_FLIGHT:
        parser.error(f"--slots must be from 1 to {MOST_IN_FLIGHT}")
    if given.drain_seconds < 0:
        parser.error("--drain-seconds must not be negative")
    return given


async def _run(given: argparse.Namespace) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    target = TARGETS_MS[given.class_] / 1000
    answer_seconds = max(_LEAST_ANSWER_SECONDS, _TARGETS * target)
    # A measurement has as many connections as the engine has slots; no proxy stands between a pod's containers.
    connector = aiohttp.TCPConnector(limit=0)
    async with contextlib.AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
        agent = Agent(
            Engine(session, given.engine.rstrip("/"), answer_seconds),
            Options(
                model=given.model,
                class_=given.class_,
                slots=given.slots,
                drain_seconds=given.drain_seconds,
            ),
            time.monotonic,
        )
        report = Report(
            given.engine_hash,
            gpu.product(),
            given.pod,
            phase=agent.phase,
            load=agent.load,
            capacity=agent.capacity,
        )
        REGISTRY.register(report)
        with opening("--port", given.address, given.port):
            runner = await serve(agent.fault, given.address, given.port, routes(agent))
        stack.push_async_callback(runner.cleanup)
        sys.stdout.write(f"listening on {runner.addresses[0][1]}\n")
        sys.stdout.flush()
        background = Background()
        background.start("engine", agent.follow())
        stack.push_async_callback(background.stop, _STOP_SECONDS)
        stopping = asyncio.create_task(stop.wait())
        ending = asyncio.create_task(background.ended())
        await asyncio.wait({stopping, ending}, return_when=asyncio.FIRST_COMPLETED)
        if ending.done():
            ending.result()
        ending.cancel()


if __name__ == "__main__":
    sys.exit(main())
