"""A proxy between an operator and its API server that knows writes by name and can bring faults to them.

It runs in a thread of its own and listens without TLS; the operator's token passes through it untouched.
"""

import asyncio
import ssl
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector, web

_WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "host", "content-length"})
# Kinds whose writes are no part of a workload.
_LEFT_OUT = ("/leases", "/events")


@dataclass(frozen=True, slots=True)
class Named:
    """A write by verb, path and how many equal ones came before it."""

    verb: str
    path: str
    nth: int

    def __str__(self) -> str:
        return f"{self.verb} {self.path} #{self.nth}"


Hook = Callable[[Named], None]


class Proxy:
    """Forwards everything; `before` and `after` are called around each write of a workload.

    `before` may raise `Drop` to keep a write from the server; `after` may raise it to keep the answer from the client.
    """

    def __init__(self, server: str, ca_file: str) -> None:
        self._server = server
        self._ca_file = ca_file
        self.before: Hook | None = None
        self.after: Hook | None = None
        self.seen: list[Named] = []
        self._counts: Counter[tuple[str, str]] = Counter()
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self.url = ""
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)
        self._thread.start()
        if not self._ready.wait(10):
            raise TimeoutError("the proxy did not start")

    def reset(self) -> None:
        """Forget what was seen; numbering starts anew."""
        self.seen = []
        self._counts = Counter()
        self.before = self.after = None

    def close(self) -> None:
        """Stop listening."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._loop.close()

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
        named = self._name(request)
        try:
            if named and self.before:
                self.before(named)
            return await self._forward(session, request, named)
        except (DropError, ClientError, ConnectionError):
            if request.transport is not None:
                request.transport.abort()
            return web.Response(status=502)

    def _name(self, request: web.Request) -> Named | None:
        left_out = any(part in request.path for part in _LEFT_OUT)
        if request.method not in _WRITES or left_out:
            return None
        key = (request.method, request.path)
        self._counts[key] += 1
        named = Named(*key, self._counts[key])
        self.seen.append(named)
        return named

    async def _forward(
        self, session: ClientSession, request: web.Request, named: Named | None
    ) -> web.StreamResponse:
        headers = {k: v for k, v in request.headers.items() if k.lower() not in _HOP_BY_HOP}
        body = await request.read()
        options: dict[str, Any] = {"headers": headers, "data": body or None}
        async with session.request(
            request.method, self._server + request.raw_path, **options
        ) as answer:
            kept = {k: v for k, v in answer.headers.items() if k.lower() not in _HOP_BY_HOP}
            if named:
                text = await answer.read()
                if self.after:
                    self.after(named)
                return web.Response(status=answer.status, headers=kept, body=text)
            response = web.StreamResponse(status=answer.status, headers=kept)
            await response.prepare(request)
            async for chunk in answer.content.iter_any():
                await response.write(chunk)
            await response.write_eof()
            return response


class DropError(Exception):
    """Raised by a hook: the request, or its answer, is lost."""
