"""Helpers of the tests that attack a gateway."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from gameai.inference.v1 import inference_pb2 as pb
from gameai.serving.identity import Caller

from support.inference import (
    GUARD,
    Served,
    question,
)

ENGINE, DEFAULT = pb.SOURCE_ENGINE, pb.SOURCE_DEFAULT
MEBI = 1 << 20


async def ask(served: Served, like: pb.Question = GUARD, **more: Any) -> pb.Answer:
    return await served.infer(question(like, **more))


@asynccontextmanager
async def http(answer: Any) -> AsyncIterator[str]:
    """An engine of a tenant's choice; its health is always well."""
    app = web.Application()

    async def health(_: web.Request) -> web.Response:
        return web.Response()

    app.router.add_get("/health", health)
    app.router.add_post("/v1/chat/completions", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


class Named:
    """Everybody is the account that a header names."""

    def caller(self, metadata: Any) -> Caller:
        return Caller(str(metadata.get("account", "games/server")), float("inf"))
