"""What an agent is asked over HTTP, in addition to its health and metrics."""

import ipaddress

from aiohttp import web
from gameai_contract.tier_agent import (
    DRAIN_PATH,
    MEASURE_PATH,
    MOST_TARGET_MS,
    TARGET_PARAMETER,
)

from gameai.tier_agent.agent import Agent

_MOST_DIGITS = 10


def routes(agent: Agent) -> list[web.RouteDef]:
    """Drain, for the engine's preStop hook in the same pod; measure, for the scaler."""

    async def drain(request: web.Request) -> web.Response:
        if not _local(request.remote):
            return web.Response(text="only from within the pod\n", status=403)
        return web.json_response({"result": await agent.drain()})

    async def measure(request: web.Request) -> web.Response:
        target_ms = _number(request.query.get(TARGET_PARAMETER, ""))
        if not 1 <= target_ms <= MOST_TARGET_MS:
            text = f"{TARGET_PARAMETER} must be a number of milliseconds, 1 to {MOST_TARGET_MS}\n"
            return web.Response(text=text, status=400)
        refused = agent.measure(target_ms)
        return web.Response(text=f"{refused or 'measuring'}\n", status=409 if refused else 202)

    return [web.post(DRAIN_PATH, drain), web.post(MEASURE_PATH, measure)]


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < _MOST_DIGITS else 0


def _local(remote: str | None) -> bool:
    try:
        address = ipaddress.ip_address(remote or "")
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback
