"""EDGE: a gRPC service in the process of a test."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any

from grpc import aio

from gameai.serving.interceptor import Interceptor

# Adds a service to a server, and returns what runs with it.
Start = Callable[[aio.Server], Sequence[Coroutine[Any, Any, None]]]


@contextlib.asynccontextmanager
async def hosted(start: Start) -> AsyncIterator[aio.Channel]:
    """A channel to a service that is hosted here until the end of the block."""
    server = aio.server(interceptors=[Interceptor()])
    running = [asyncio.create_task(each) for each in start(server)]
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        try:
            yield channel
        finally:
            for each in running:
                each.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            await server.stop(0)
