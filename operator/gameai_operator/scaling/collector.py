"""EDGE: reads the metrics of all gateways, a few times a minute."""

import asyncio
import logging
import random
import socket
from collections.abc import Callable

import aiohttp

from gameai_operator import telemetry
from gameai_operator.scaling.estimates import Estimates
from gameai_operator.scaling.exposition import MOST_BYTES, parse

_LOG = logging.getLogger(__name__)
_TIMEOUT_SECONDS = 2.0
_JITTER = 0.2
_OK = 200


class Collector:
    """Scrapes `targets` (`host:port`; a name stands for all of its addresses) into estimates."""

    def __init__(
        self,
        targets: tuple[str, ...],
        estimates: Estimates,
        *,
        clock: Callable[[], float],
        seconds: float,
    ) -> None:
        self._targets = targets
        self._estimates = estimates
        self._clock = clock
        self._seconds = seconds

    async def run(self) -> None:
        """Scrape until cancelled."""
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_SECONDS)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            while True:
                await self._round(session)
                await asyncio.sleep(self._seconds * random.uniform(1 - _JITTER, 1 + _JITTER))  # noqa: S311 - spreads scrapes

    async def _round(self, session: aiohttp.ClientSession) -> None:
        addresses = await self._addresses()
        if addresses is not None:
            self._estimates.gateways(addresses)
            await asyncio.gather(*(self._scrape(session, each) for each in addresses))

    async def _addresses(self) -> list[str] | None:
        """Every gateway; None where a name cannot be resolved now, which says nothing of the gateways."""
        found: set[str] = set()
        for target in self._targets:
            host, _, port = target.rpartition(":")
            try:
                entries = await asyncio.get_running_loop().getaddrinfo(
                    host.strip("[]"), int(port), type=socket.SOCK_STREAM
                )
            except OSError as error:
                telemetry.SCRAPE_ERRORS.inc()
                _LOG.info("the gateways' name %s cannot be resolved: %s", host, error)
                return None
            found |= {_address(entry[4]) for entry in entries}
        return sorted(found)

    async def _scrape(self, session: aiohttp.ClientSession, address: str) -> None:
        try:
            async with session.get(f"http://{address}/metrics") as reply:
                text = await reply.content.read(MOST_BYTES + 1)
                if reply.status != _OK or len(text) > MOST_BYTES:
                    raise ValueError(f"status {reply.status}, {len(text)} bytes")
            # A gateway with many worlds takes a few milliseconds.
            scrape = await asyncio.to_thread(parse, text.decode(errors="replace"), self._clock())
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            telemetry.SCRAPE_ERRORS.inc()
            _LOG.info("gateway %s was not scraped: %s: %s", address, type(error).__name__, error)
            return
        self._estimates.take(address, scrape)


def _address(socket_address: tuple[object, ...]) -> str:
    host, port = str(socket_address[0]), socket_address[1]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
