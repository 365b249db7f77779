"""The double's routes."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from gameai_vllm import checks, text, wire
from gameai_vllm.checks import Asked, Refused
from gameai_vllm.engine import DEAD, AbortedError, BusyError, DeadError, Engine, ShutError, Times
from gameai_vllm.metrics import Metrics

_MOST_BODY = 4 << 20
_SERVER = "uvicorn"
# Routes of vLLM that are not simulated answer as an unknown one does: 404 with `detail`.


@dataclass(kw_only=True, slots=True)
class Surface:
    """A model's name, its engine, and what the front end knows."""

    model: str
    engine: Engine
    metrics: Metrics
    created: int
    number: int = 0
    # A server that accepts connections and sends nothing, like one after a timed-out shutdown.
    mute: bool = False

    def head(self, request: web.Request, kind: str) -> dict[str, Any]:
        """What every chunk of a reply repeats. A caller's X-Request-Id becomes part of the id."""
        self.number += 1
        given = request.headers.get("X-Request-Id") or f"{self.number:016x}"
        return {"id": f"{kind}-{given}", "created": int(time.time()), "model": self.model}


_SURFACE = web.AppKey("surface", Surface)


def application(surface: Surface) -> web.Application:
    """The routes over an engine."""
    app = web.Application(client_max_size=_MOST_BODY, middlewares=[_frame])
    app[_SURFACE] = surface
    app.router.add_get("/health", _health)
    app.router.add_route("*", "/ping", _health)
    app.router.add_get("/load", _load)
    app.router.add_get("/version", _version)
    app.router.add_get("/v1/models", _models)
    app.router.add_get("/metrics", _metrics)
    app.router.add_get("/kv_event_sources", _nothing)
    app.router.add_post("/tokenize", _tokenize)
    app.router.add_post("/v1/chat/completions", _chat)
    app.router.add_post("/v1/completions", _completion)
    return app


def new_surface(model: str, engine: Engine) -> Surface:
    """A surface that has answered nothing yet."""
    return Surface(
        model=model, engine=engine, metrics=Metrics(engine, model), created=int(time.time())
    )


@web.middleware
async def _frame(request: web.Request, handler: Any) -> web.StreamResponse:
    """Every reply's headers and error bodies, and the count of requests."""
    surface = request.app[_SURFACE]
    while surface.mute:
        await asyncio.sleep(0.05)
    try:
        response: web.StreamResponse = await handler(request)
    except Refused as refused:
        response = _json(refused.body, refused.status)
    except web.HTTPMethodNotAllowed as error:
        response = _json({"detail": "Method Not Allowed"}, 405)
        response.headers["allow"] = ", ".join(sorted(error.allowed_methods - {"HEAD"}))
    except web.HTTPNotFound:
        response = _json({"detail": "Not Found"}, 404)
    status = f"{response.status // 100}xx"
    if request.path.startswith("/v1/"):
        surface.metrics.requests[request.path, request.method, status] += 1
    return response


def _json(document: Any, status: int = 200) -> web.Response:
    body = json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
    headers = {"server": _SERVER, "content-type": "application/json"}
    if status != 500:
        headers["vary"] = "Origin"
    return web.Response(body=body, status=status, headers=headers)


async def _health(request: web.Request) -> web.Response:
    dead = request.app[_SURFACE].engine.dead
    headers = {"server": _SERVER, "vary": "Origin"}
    response = web.Response(status=503 if dead else 200, headers=headers)
    response.headers.pop("content-type", None)
    return response


async def _load(_: web.Request) -> web.Response:
    # Always 0 without --enable-server-load-tracking.
    return _json({"server_load": 0})


async def _version(_: web.Request) -> web.Response:
    return _json({"version": wire.VERSION})


async def _nothing(_: web.Request) -> web.Response:
    return _json({})


async def _models(request: web.Request) -> web.Response:
    surface = request.app[_SURFACE]
    return _json(wire.models(surface.model, surface.created, surface.engine.limits.context))


async def _metrics(request: web.Request) -> web.Response:
    body = request.app[_SURFACE].metrics.text()
    kind = "text/plain; version=1.0.0; charset=utf-8"
    return web.Response(body=body, headers={"server": _SERVER, "content-type": kind})


async def _tokenize(request: web.Request) -> web.Response:
    body = checks.body_of(request.content_type, await request.read())
    messages = body.get("messages")
    many = text.chat_tokens(messages) if messages else text.count(str(body.get("prompt", "")))
    context = request.app[_SURFACE].engine.limits.context
    reply = {"count": many, "max_model_len": context, "tokens": list(range(many))}
    return _json(reply | {"token_strs": None})


async def _chat(request: web.Request) -> web.StreamResponse:
    return await _generate(request, chat=True)


async def _completion(request: web.Request) -> web.StreamResponse:
    return await _generate(request, chat=False)


async def _generate(request: web.Request, *, chat: bool) -> web.StreamResponse:
    surface = request.app[_SURFACE]
    body = checks.body_of(request.content_type, await request.read())
    asked = checks.asked(body, surface.model, surface.engine.limits.context, chat=chat)
    times = Times(arrived=asyncio.get_running_loop().time())
    head = surface.head(request, "chatcmpl" if chat else "cmpl")
    try:
        surface.engine.admit()
        if asked.stream:
            return await _stream(request, surface, asked, head, times)
        return await _whole(surface, asked, head, times)
    except BusyError as error:
        return _json(wire.error(503, str(error), "Service Unavailable"), 503)
    except (ShutError, DeadError) as error:
        return _json(wire.error(500, str(error), "InternalServerError"), 500)


async def _whole(
    surface: Surface, asked: Asked, head: dict[str, Any], times: Times
) -> web.Response:
    made = sum(map(len, asked.answers))
    finish, texts = asked.finish, ["".join(each) for each in asked.answers]
    try:
        await surface.engine.complete(made, asked.priority, times)
    except AbortedError:
        # One of the two forms that a real one's abort takes: 200, and the reason says it.
        finish, texts, made = "abort", [""] * len(texts), 0
    counts = wire.usage(asked.prompt_tokens, made + (finish == "stop"))
    surface.metrics.finish(finish, asked.prompt_tokens, times)
    if asked.chat:
        logprobs = _logprobs(asked) if asked.logprobs else None
        return _json(wire.chat(head, texts[0], finish, logprobs, counts))
    return _json(wire.completion(head, texts, finish, counts))


async def _stream(
    request: web.Request, surface: Surface, asked: Asked, head: dict[str, Any], times: Times
) -> web.StreamResponse:
    """Headers before anything is scheduled; errors after them are an event, and [DONE] ends all but a cut."""
    headers = {
        "server": _SERVER,
        "content-type": "text/event-stream; charset=utf-8",
        "vary": "Origin",
    }
    response = web.StreamResponse(headers=headers)
    response.enable_chunked_encoding()
    await response.prepare(request)
    try:
        async with aclosing(_events(surface, asked, head, times)) as events:
            async for event in events:
                await response.write(event)
    except AbortedError:
        surface.metrics.finish("abort", asked.prompt_tokens, times)
        await response.write(wire.event(wire.chat_chunk(head, "", "abort")))
    except DeadError:
        await response.write(wire.event(wire.error(500, DEAD, "InternalServerError")))
    await response.write(wire.DONE)
    await response.write_eof()
    return response


async def _events(
    surface: Surface, asked: Asked, head: dict[str, Any], times: Times
) -> AsyncGenerator[bytes]:
    kind = "chat.completion.chunk" if asked.chat else "text_completion"
    chunk = wire.chat_chunk if asked.chat else wire.completion_chunk
    pieces = asked.answers[0]
    async with aclosing(surface.engine.generate(len(pieces), asked.priority, times)) as steps:
        async for made in steps:
            if made == 1 and asked.chat:
                yield wire.event(wire.chat_role(head))
            finish = asked.finish if made == len(pieces) else None
            yield wire.event(chunk(head, pieces[made - 1], finish, last=not asked.usage))
    surface.metrics.finish(asked.finish, asked.prompt_tokens, times)
    if asked.usage:
        counts = wire.usage(asked.prompt_tokens, len(pieces), full=False)
        yield wire.event(wire.usage_chunk(head, kind, counts))


def _logprobs(asked: Asked) -> dict[str, Any]:
    def token(piece: str) -> dict[str, Any]:
        return {"token": piece, "logprob": -1.0, "bytes": list(piece.encode())}

    content = [
        token(piece) | {"top_logprobs": [token(piece)] * asked.logprobs}
        for piece in asked.answers[0]
    ]
    return {"content": content}
