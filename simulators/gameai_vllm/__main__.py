"""`python -m gameai_vllm`: the simulator as a server."""

import argparse
import asyncio
import contextlib
import signal
import sys

from aiohttp import web
from gameai_contract.names import VLLM_PORT

from gameai_vllm.engine import Engine, Latency, Limits
from gameai_vllm.surface import Surface, application, new_surface

# As in vLLM: an idle connection of a pool that is older may be reset.
_KEEP_ALIVE_SECONDS = 5.0
_DEATH_SECONDS = 1.0
_POLL_SECONDS = 0.02


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGTERM; exit code 0 then, and when the engine is killed (SIGUSR1), as vLLM does."""
    given = _parse(arguments)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_run(given))
    return 0


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="gameai_vllm",
        description="A simulator of vLLM's HTTP surface. It has no model: its answers are words that follow from the prompt. "
        "SIGUSR1 kills its engine, SIGUSR2 makes it take connections and say nothing.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to listen on")
    add("--port", type=int, default=VLLM_PORT, help="port; 0: a free one, printed")
    add("--served-model-name", default="double", help="the model's name")
    add("--max-model-len", type=int, default=4096, help="tokens of prompt and answer")
    add("--max-num-seqs", type=int, default=128, help="batch slots")
    add(
        "--max-num-queued-reqs", type=int, help="most requests that run or wait (default: no limit)"
    )
    add("--scheduling-policy", choices=("fcfs", "priority"), default="fcfs", help="who is next")
    add(
        "--shutdown-timeout",
        type=float,
        default=0.0,
        help="seconds for running requests after SIGTERM",
    )
    add("--front-end-ms", type=float, default=2.0, help="serial work for each request")
    add("--first-token-ms", type=float, default=5.0, help="from the slot to the first token")
    add("--token-ms", type=float, default=4.0, help="from token to token")
    add(
        "--load-seconds",
        type=float,
        default=0.0,
        help="until it listens; connections are refused, SIGTERM is ignored",
    )
    add("--keep-alive-seconds", type=float, default=_KEEP_ALIVE_SECONDS, help="life of an idle connection")  # fmt: skip
    return parser.parse_args(arguments)


async def _run(given: argparse.Namespace) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        # While a model loads, a real one swallows the signal.
        loop.add_signal_handler(number, lambda: None)
    await asyncio.sleep(given.load_seconds)
    surface = new_surface(given.served_model_name, _engine(given))
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGUSR1, surface.engine.kill)
    loop.add_signal_handler(signal.SIGUSR2, lambda: setattr(surface, "mute", True))
    runner = web.AppRunner(
        application(surface),
        access_log=None,
        handler_cancellation=True,
        keepalive_timeout=given.keep_alive_seconds,
        shutdown_timeout=1.0,
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, given.host, given.port).start()
    except OSError as error:
        await runner.cleanup()
        sys.exit(f"error: --port {given.port}: {error.strerror or error}")
    sys.stdout.write(f"listening on {runner.addresses[0][1]}\n")
    sys.stdout.flush()
    try:
        await _serve(surface, stop, given.shutdown_timeout)
    finally:
        await runner.cleanup()


def _engine(given: argparse.Namespace) -> Engine:
    latency = Latency(
        front_end_ms=given.front_end_ms,
        first_token_ms=given.first_token_ms,
        token_ms=given.token_ms,
    )
    limits = Limits(
        slots=given.max_num_seqs,
        context=given.max_model_len,
        queued=given.max_num_queued_reqs,
        priority=given.scheduling_policy == "priority",
    )
    return Engine(latency, limits)


async def _serve(surface: Surface, stop: asyncio.Event, drain_seconds: float) -> None:
    """Run until SIGTERM and drained, or until the engine is dead."""
    engine = surface.engine
    while not stop.is_set() and not engine.dead:
        await asyncio.sleep(_POLL_SECONDS)
    if engine.dead:
        await asyncio.sleep(_DEATH_SECONDS)
        return
    engine.draining = True
    loop = asyncio.get_running_loop()
    end = loop.time() + drain_seconds
    while loop.time() < end and not engine.idle():
        await asyncio.sleep(_POLL_SECONDS)
    engine.abort()
    await asyncio.sleep(_POLL_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
