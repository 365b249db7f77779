"""EDGE: reads metrics pages, a few times a minute."""

import asyncio
import logging
import random
import socket
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import aiohttp
from gameai_contract.tier_agent import MEASURE_PATH, TARGET_PARAMETER

from gameai_operator import telemetry
from gameai_operator.scaling import plain_http
from gameai_operator.scaling.exposition import MOST_BYTES, Scrape

_LOG = logging.getLogger(__name__)
_TIMEOUT_SECONDS, _TENANTS_SECONDS, _SLOW_SECONDS = 2.0, 1.0, 0.5
_JITTER = 0.2
# Pages of one kind that are read at the same time: each costs a connection and up to `MOST_BYTES`.
_MOST_AT_ONCE = 16
_PIECE_BYTES = 64 * 1024
_OK = 200
_MOST_ANSWER, _MOST_WHY = 500, 200


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """Pages of one kind: where they are, how they are read, and what receives them.

    `targets` gives `host:port`; a name stands for all of its addresses. `read` gets the address, the page and the time, and
    raises ValueError where it is no such page. `listed` gets all addresses, `take` what was read.
    Pages `of_tenants` get less time, and what is slow or does not answer is left out of the next rounds: it must not delay
    others.
    """

    name: str
    targets: Callable[[], Sequence[str]]
    read: Callable[[str, bytes, float], Scrape]
    listed: Callable[[Sequence[str]], None]
    take: Callable[[str, Scrape], None]
    most_bytes: int = MOST_BYTES
    at_once: int = _MOST_AT_ONCE
    of_tenants: bool = False
    # A page that never answers is tried in every 16th round.
    most_doublings: int = 4
    # Whether a page without a Content-Length is refused; one that ends within a line always is.
    sized: bool = True


class Collector:
    """Scrapes all pages of its sources."""

    def __init__(
        self, sources: Sequence[Source], *, clock: Callable[[], float], seconds: float
    ) -> None:
        self._sources = sources
        self._clock = clock
        self._seconds = seconds

    async def run(self) -> None:
        """Scrape until cancelled."""
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_SECONDS)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            await asyncio.gather(*(self._follow(session, each) for each in self._sources))

    async def _follow(self, session: aiohttp.ClientSession, source: Source) -> None:
        # For each source: exporters that do not answer must not delay gateways.
        at_once = asyncio.Semaphore(source.at_once)
        failed: dict[str, int] = {}
        rounds = 0

        async def scrape(address: str) -> None:
            failures = failed.get(address, 0)
            # Not all of them in the same round.
            turn = rounds + zlib.crc32(address.encode())
            if source.of_tenants and turn % 2 ** min(failures, source.most_doublings):
                return
            async with at_once:
                began = self._clock()
                answered = await self._scrape(session, source, address)
            slow = self._clock() - began > _SLOW_SECONDS
            failed[address] = 0 if answered and not slow else failures + 1

        async def scrape_all() -> None:
            nonlocal failed, rounds
            addresses = await _addresses(source)
            if addresses is not None:
                source.listed(addresses)
                rounds += 1
                failed = {each: failed[each] for each in addresses if each in failed}
                await asyncio.gather(*map(scrape, addresses))

        while True:
            try:
                await scrape_all()
            except Exception:  # noqa: BLE001 - one source, or one page, must not end the others
                telemetry.SCRAPE_ERRORS.inc()
                _LOG.exception("a round of scrapes failed; this is a bug")
            await asyncio.sleep(self._seconds * random.uniform(1 - _JITTER, 1 + _JITTER))  # noqa: S311 - spreads scrapes

    async def _scrape(self, session: aiohttp.ClientSession, source: Source, address: str) -> bool:
        try:
            page = await _page(session, source, address)
            # A gateway with many worlds takes a few milliseconds.
            scrape = await asyncio.to_thread(source.read, address, page, self._clock())
            source.take(address, scrape)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            telemetry.SCRAPE_ERRORS.inc()
            why = f"{type(error).__name__}: {error}"[:_MOST_WHY]
            _LOG.info("%s %s was not scraped: %s", source.name, address, why)
            return False
        except Exception:  # noqa: BLE001 - one page must not end the others
            _LOG.exception("%s %s was not read; this is a bug", source.name, address)
            return False
        return True


async def measure(address: str, target_ms: int) -> str:
    """Ask a tier agent to measure its engine; its answer. Raises OSError, TimeoutError and ValueError."""
    path = f"{MEASURE_PATH}?{TARGET_PARAMETER}={target_ms}"
    status, text = await plain_http.request(
        "POST", address, path, seconds=_TENANTS_SECONDS, most_bytes=_MOST_ANSWER
    )
    return f"{status} {text.decode(errors='replace').strip()}"


async def _page(session: aiohttp.ClientSession, source: Source, address: str) -> bytes:
    """Raises what a request raises, and ValueError where it is no page."""
    if source.of_tenants:
        status, text = await plain_http.request(
            "GET",
            address,
            "/metrics",
            seconds=_TENANTS_SECONDS,
            most_bytes=source.most_bytes,
            sized=source.sized,
        )
    else:
        # A redirect would lead to wherever a page wants.
        async with session.get(f"http://{address}/metrics", allow_redirects=False) as reply:
            status, text = reply.status, await _whole(reply.content, source.most_bytes)
    if status != _OK:
        raise ValueError(f"status {status}")
    return text


async def _whole(content: aiohttp.StreamReader, most: int) -> bytes:
    """All of a page, which comes in pieces: a part of it would read as less load. Raises ValueError where it is too long."""
    pieces, size = [], 0
    async for piece in content.iter_chunked(_PIECE_BYTES):
        pieces.append(piece)
        size += len(piece)
        if size > most:
            raise ValueError(f"more than {most} bytes")
    return b"".join(pieces)


async def _addresses(source: Source) -> list[str] | None:
    """Every page; None where a name cannot be resolved now, which does not mean that the pages are gone."""
    found: set[str] = set()
    for target in source.targets():
        host, _, port = target.rpartition(":")
        try:
            entries = await asyncio.get_running_loop().getaddrinfo(
                host.strip("[]"), int(port), type=socket.SOCK_STREAM
            )
        except OSError as error:
            telemetry.SCRAPE_ERRORS.inc()
            _LOG.info("the name of %s, %s, cannot be resolved: %s", source.name, host, error)
            return None
        found |= {_address(entry[4]) for entry in entries}
    return sorted(found)


def _address(socket_address: tuple[object, ...]) -> str:
    host, port = str(socket_address[0]), socket_address[1]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
