"""A proxy between an operator and its API server that knows requests by name and can bring faults to them.

It runs in a thread of its own and listens without TLS; the operator's token passes through it untouched.
"""

import asyncio
import json
import ssl
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import ClientError, ClientResponse, ClientSession, ClientTimeout, TCPConnector, web

WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "host", "content-length"})
# Kinds with writes that do not belong to a workload.
_LEFT_OUT = ("/leases", "/events")
_MOST_KEPT = 200_000


@dataclass(frozen=True, slots=True)
class Named:
    """A write by verb, path and how many equal ones came before it."""

    verb: str
    path: str
    nth: int

    def __str__(self) -> str:
        return f"{self.verb} {self.path} #{self.nth}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Arrival:
    """A request as it came: `at` in seconds of the steady clock; `watch` for a watch; `status` once it is answered."""

    at: float
    verb: str
    path: str
    watch: bool
    status: list[int] = field(default_factory=list)

    @property
    def write(self) -> bool:
        """Whether it changes something; of Leases, which say who may, it is asked apart."""
        return self.verb in WRITES and "/leases" not in self.path


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """An answer in the server's place; `commits` means that the server carries the request out before."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""
    commits: bool = False


class DropError(Exception):
    """Raised by a hook: the request, or its answer, is lost."""


Hook = Callable[[Named], None]
Fault = Callable[[Arrival], Answer | None]
# Whether an event of a watch at this path is let through; the event as the server sent it.
Sieve = Callable[[str, Mapping[str, Any]], bool]


def status_answer(code: int, reason: str, **headers: str) -> Answer:
    """An answer with a Status object, as an API server gives it."""
    body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code}
    text = json.dumps(body | {"reason": reason, "message": f"the proxy says {reason}"})
    return Answer(status=code, headers={"Content-Type": "application/json", **headers}, body=text)


class Proxy:
    """Forwards everything, but for what its hooks say.

    `before` and `after` are called around each write of a workload: `before` may raise `DropError` to keep it from the
    server, `after` to keep the answer from the client. `fault` may answer any request itself, or drop it. `sieve`
    decides on each event of a watch. All of them run in the proxy's thread.
    """

    def __init__(self, server: str, ca_file: str) -> None:
        self._server = server
        self._ca_file = ca_file
        self.before: Hook | None = None
        self.after: Hook | None = None
        self.fault: Fault | None = None
        self.sieve: Sieve | None = None
        self.seen: list[Named] = []
        self.arrivals: deque[Arrival] = deque(maxlen=_MOST_KEPT)
        self._metrics: Counter[tuple[str, str]] = Counter()
        self._watches: dict[int, web.Request] = {}  # requests cannot be hashed
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self.url = ""
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)
        self._thread.start()
        if not self._ready.wait(10):
            raise TimeoutError("the proxy did not start")

    def reset(self) -> None:
        """Forget what was seen and inject no more faults; numbering starts again."""
        self.seen = []
        self.arrivals.clear()
        self._metrics = Counter()
        self.before = self.after = None
        self.fault = self.sieve = None

    @property
    def watches(self) -> int:
        """How many watches are open now; one that its client left lingers here until the server sends something."""
        transports = [each.transport for each in tuple(self._watches.values())]
        return sum(each is not None and not each.is_closing() for each in transports)

    def cut_watches(self) -> None:
        """End every watch that is open now, without a word."""

        def cut() -> None:
            for request in tuple(self._watches.values()):
                _abort(request)

        self._loop.call_soon_threadsafe(cut)

    def close(self) -> None:
        """Stop listening."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        context = ssl.create_default_context(cafile=self._ca_file)
        connector = TCPConnector(ssl=context, limit=0)
        timeout = ClientTimeout(total=None, sock_connect=5)
        async with ClientSession(
            connector=connector, timeout=timeout, auto_decompress=False
        ) as session:
            app = web.Application(client_max_size=64 << 20)

            async def handle(request: web.Request) -> web.StreamResponse:
                return await self._handle(session, request)

            app.router.add_route("*", "/{path:.*}", handle)
            runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            self._ready.set()
            await self._stop.wait()
            await runner.cleanup()

    async def _handle(self, session: ClientSession, request: web.Request) -> web.StreamResponse:
        watch = request.query.get("watch") in ("true", "1")
        arrival = Arrival(at=time.monotonic(), verb=request.method, path=request.path, watch=watch)
        self.arrivals.append(arrival)
        named = self._name(request)
        try:
            answer = self.fault(arrival) if self.fault else None
            if answer and not answer.commits:
                return _response(answer)
            if named and self.before:
                self.before(named)
            if watch:
                return await self._forward_watch(session, request)
            response = await self._forward(session, request)
            arrival.status.append(response.status)
            if named and self.after:
                self.after(named)
            return _response(answer) if answer else response
        except (DropError, ClientError, ConnectionError):
            _abort(request)
            return web.Response(status=502)

    def _name(self, request: web.Request) -> Named | None:
        left_out = any(part in request.path for part in _LEFT_OUT)
        if request.method not in WRITES or left_out:
            return None
        key = (request.method, request.path)
        self._metrics[key] += 1
        named = Named(*key, self._metrics[key])
        self.seen.append(named)
        return named

    async def _forward(self, session: ClientSession, request: web.Request) -> web.Response:
        body = await request.read()
        options: dict[str, Any] = {"headers": _kept(request.headers), "data": body or None}
        url = self._server + request.raw_path
        async with session.request(request.method, url, **options) as answer:
            text = await answer.read()
            return web.Response(status=answer.status, headers=_kept(answer.headers), body=text)

    async def _forward_watch(
        self, session: ClientSession, request: web.Request
    ) -> web.StreamResponse:
        """Events line by line, those that the sieve keeps left out."""
        headers = {
            k: v for k, v in _kept(request.headers).items() if k.lower() != "accept-encoding"
        }
        self._watches[id(request)] = request
        try:
            async with session.get(self._server + request.raw_path, headers=headers) as answer:
                response = web.StreamResponse(status=answer.status, headers=_kept(answer.headers))
                await response.prepare(request)
                await self._relay(request.path, answer, response)
                return response
        finally:
            self._watches.pop(id(request), None)

    async def _relay(self, path: str, answer: ClientResponse, response: web.StreamResponse) -> None:
        buffer = b""
        async for chunk in answer.content.iter_any():
            *lines, buffer = (buffer + chunk).split(b"\n")
            for line in lines:
                if self._passes(path, line):
                    await response.write(line + b"\n")
        await response.write_eof(buffer)

    def _passes(self, path: str, line: bytes) -> bool:
        sieve = self.sieve
        return sieve is None or not line or sieve(path, json.loads(line))


def _kept(headers: Mapping[str, str]) -> dict[str, str]:
    return {k: v for k, v in headers.items() if k.lower() not in _HOP_BY_HOP}


def _response(answer: Answer) -> web.Response:
    return web.Response(status=answer.status, headers=answer.headers, text=answer.body)


def _abort(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()
