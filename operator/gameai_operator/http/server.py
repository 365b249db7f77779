"""EDGE: `/livez`, `/readyz` and `/metrics` over HTTP."""

from collections.abc import Awaitable, Callable, Sequence

from aiohttp import web
from prometheus_client import generate_latest

from gameai_operator.telemetry import REGISTRY

Faults = Callable[[], Sequence[str]]


def application(live: Faults, ready: Faults, notes: Faults) -> web.Application:
    """The endpoints; `live` and `ready` name what is wrong, nothing when all is well.

    `notes` stand in the answer of /readyz too, but do not make it fail.
    """
    app = web.Application()
    app.router.add_get("/livez", _check(live, _none))
    app.router.add_get("/readyz", _check(ready, notes))
    app.router.add_get("/metrics", _metrics)
    return app


async def serve(app: web.Application, address: str, port: int) -> web.AppRunner:
    """Listen, on every address where none is given; the caller cleans the runner up.

    Raises OSError where the port is taken.
    """
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, address or None, port).start()
    return runner


def _none() -> Sequence[str]:
    return ()


def _check(faults: Faults, notes: Faults) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def handler(_: web.Request) -> web.StreamResponse:
        found = faults()
        text = "\n".join([*(found or ["ok"]), *(each for each in notes() if each not in found)])
        return web.Response(text=text + "\n", status=503 if found else 200)

    return handler


async def _metrics(_: web.Request) -> web.Response:
    return web.Response(
        body=generate_latest(REGISTRY), headers={"Content-Type": "text/plain; version=0.0.4"}
    )
