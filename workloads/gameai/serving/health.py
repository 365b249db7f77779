"""/livez, /readyz and /metrics over HTTP, for kubelets and Prometheus."""

from collections.abc import Callable, Iterable
from typing import Any

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest


async def serve(
    ready: Callable[[], str],
    address: str,
    port: int,
    routes: Iterable[web.RouteDef] = (),
    **options: Any,
) -> web.AppRunner:
    """Start serving, and `routes` too; `ready` says why not, or nothing. Port 0 takes a free one. Raises OSError.

    `options` are those of aiohttp's runner.
    """

    async def livez(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        fault = ready()
        return web.Response(text=f"{fault or 'ok'}\n", status=503 if fault else 200)

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app.add_routes(
        [
            web.get("/livez", livez),
            web.get("/readyz", readyz),
            web.get("/metrics", metrics),
            *routes,
        ]
    )
    runner = web.AppRunner(app, access_log=None, **options)
    await runner.setup()
    await web.TCPSite(runner, address or None, port).start()
    return runner
