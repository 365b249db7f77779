"""`python -m gameai.external_engine`: stands in for an engine, and forwards to a service elsewhere."""

import argparse
import asyncio
import os
import signal
import sys
import time
from decimal import Decimal, InvalidOperation

import aiohttp
from aiohttp import web
from gameai_contract.names import EXTERNAL_KEY_ENVIRONMENT, VLLM_PORT

from gameai.external_engine.budget import Budget, Prices
from gameai.external_engine.gate import Gate
from gameai.external_engine.relay import Options, Relay
from gameai.external_engine.service import Place, Service
from gameai.serving import flags
from gameai.serving.health import serve
from gameai.serving.opening import PortError, opening
from gameai.serving.telemetry import configure_logging

_MOST_CONCURRENT = 256
_LIMITS = ("MaxTokens", "MaxCompletionTokens")
# A gateway drops idle connections after 60 s.
_KEEP_ALIVE_SECONDS = 75.0
_STOP_SECONDS = 2.0


def main(arguments: list[str] | None = None) -> int:
    """Run until SIGTERM, and until requests have ended; 0 then, 1 where it cannot start."""
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
        prog="python -m gameai.external_engine",
        description="Stands in for the engine of a tier, and forwards chat completions to a service with OpenAI's API.",
        epilog=f"The API key is read from {EXTERNAL_KEY_ENVIRONMENT}; without one, none is sent.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--model", required=True, help="name of the model for callers: that of the tier")
    add("--url", required=True, help="URL of the service's API, without /chat/completions")
    add("--service-model", required=True, help="name of the service's model")
    add("--token-limit", choices=_LIMITS, default=_LIMITS[0], help="parameter of an answer's limit")
    add("--concurrent", type=int, default=16, help="requests at a time")
    add("--drain-seconds", type=flags.seconds, default=300.0, help="longest drain, in seconds")
    add("--usd-per-hour", type=_usd, help="budget of any 60 minutes; absent: none")
    add("--input-usd", type=_usd, default=Decimal(0), help="price of a million tokens of prompts")
    add("--output-usd", type=_usd, default=Decimal(0), help="price of a million tokens of answers")
    add("--address", default="", help="address to listen on; empty: all of this pod")
    add("--port", type=flags.port, default=VLLM_PORT, help="port; 0: any free port")
    flags.add_log_level(parser)
    given = parser.parse_args(arguments)
    if not 1 <= given.concurrent <= _MOST_CONCURRENT:
        parser.error(f"--concurrent must be from 1 to {_MOST_CONCURRENT}")
    if not all("!" <= each <= "~" for each in _key()):
        parser.error(f"{EXTERNAL_KEY_ENVIRONMENT} must be one word of visible ASCII characters")
    return given


def _key() -> str:
    return os.environ.get(EXTERNAL_KEY_ENVIRONMENT, "").strip()


def _usd(text: str) -> Decimal:
    try:
        found = Decimal(text)
    except InvalidOperation as error:
        raise argparse.ArgumentTypeError(f"{text} is no sum of USD") from error
    if not found.is_finite() or found < 0:
        raise argparse.ArgumentTypeError(f"{text} is no sum of USD")
    return found


async def _run(given: argparse.Namespace) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    connector = aiohttp.TCPConnector(limit=given.concurrent)
    # Cookies would tie requests of different callers together.
    cookies = aiohttp.DummyCookieJar()
    async with aiohttp.ClientSession(connector=connector, cookie_jar=cookies) as session:
        relay = _relay(given, session)
        runner = await _serve(given, relay)
        try:
            await stop.wait()
            await relay.drained(given.drain_seconds)
        finally:
            # It waits for connections that are open no longer than `shutdown_timeout`.
            await runner.cleanup()


def _relay(given: argparse.Namespace, session: aiohttp.ClientSession) -> Relay:
    place = Place(url=given.url.rstrip("/"), key=_key())
    options = Options(
        model=given.model,
        service_model=given.service_model,
        completion_limit=given.token_limit == _LIMITS[1],
        concurrent=given.concurrent,
    )
    budget = None
    if given.usd_per_hour is not None:
        prices = Prices(input_usd=given.input_usd, output_usd=given.output_usd)
        budget = Budget(given.usd_per_hour, prices)
    gate = Gate()
    service = Service(
        session, place, gate, time.monotonic, completion_limit=options.completion_limit
    )
    return Relay(service, options, gate, budget, time.monotonic, place.key)


async def _serve(given: argparse.Namespace, relay: Relay) -> web.AppRunner:
    """Listen. Raises `PortError`."""
    with opening("--port", given.address, given.port):
        runner = await serve(
            relay.fault,
            given.address,
            given.port,
            relay.routes(),
            # A caller that is gone wants no answer, and pays for none.
            handler_cancellation=True,
            keepalive_timeout=_KEEP_ALIVE_SECONDS,
            shutdown_timeout=_STOP_SECONDS,
        )
    sys.stdout.write(f"listening on {runner.addresses[0][1]}\n")
    sys.stdout.flush()
    return runner


if __name__ == "__main__":
    sys.exit(main())
