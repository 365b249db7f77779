"""The program that stands in for an engine: over HTTP with a service that is scripted, and with a gateway and a double of vLLM."""

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from gameai.client import Gateway, Source
from gameai_contract.names import EXTERNAL_KEY_ENVIRONMENT
from gameai_devcluster import story
from gameai_devcluster.inference import Program
from support.inference import program

KEY = "sk-secret-1234"
USAGE = {"prompt_tokens": 100, "completion_tokens": 50}
Handler = Callable[[web.Request, dict[str, Any]], Any]


def answered(content: str = "Hail.", **fields: Any) -> web.Response:
    message = {"role": "assistant", "content": content}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return web.json_response({"model": "gpt", "choices": [choice], "usage": USAGE, **fields})


def refused(status: int, message: str = "no", **headers: str) -> web.Response:
    return web.json_response({"error": {"message": message}}, status=status, headers=headers)


@dataclass
class Elsewhere:
    """A service whose answers a test decides."""

    url: str = ""
    seen: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    answers: list[Any] = field(default_factory=list)
    # Requests whose callers went away.
    gone: int = 0

    async def complete(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.seen.append((request.headers.get("Authorization", ""), body))
        found = self.answers.pop(0) if self.answers else answered()
        try:
            return await found(request) if callable(found) else found
        except asyncio.CancelledError:
            self.gone += 1
            raise


@dataclass(frozen=True)
class Engine:
    """The program, and calls of it."""

    session: aiohttp.ClientSession
    url: str
    process: asyncio.subprocess.Process

    async def ask(self, **fields: Any) -> tuple[int, Any]:
        messages = [{"role": "user", "content": "Hello"}]
        body = {"model": "scribe", "messages": messages, "max_tokens": 40, **fields}
        async with self.session.post(f"{self.url}/v1/chat/completions", json=body) as answer:
            return answer.status, await answer.json()

    async def get(self, path: str) -> tuple[int, str]:
        async with self.session.get(self.url + path) as answer:
            return answer.status, await answer.text()

    async def metric(self, name: str) -> float:
        _, text = await self.get("/metrics")
        lines = [each for each in text.splitlines() if each.startswith(name)]
        return float(lines[0].rsplit(" ", 1)[1]) if lines else 0.0


@pytest.fixture
async def service() -> AsyncIterator[Elsewhere]:
    found, app = Elsewhere(), web.Application()
    app.add_routes([web.post("/v1/chat/completions", found.complete)])
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    found.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    yield found
    await runner.cleanup()


@contextlib.asynccontextmanager
async def engine(url: str, *flags: str) -> AsyncIterator[Engine]:
    arguments = ("gameai.external_engine", "--model=scribe", "--service-model=gpt")
    own = (f"--url={url}", "--address=127.0.0.1", "--port=0", *flags)
    async with (
        program(*arguments, *own) as (process, [port]),
        aiohttp.ClientSession() as session,
    ):
        yield Engine(session, f"http://127.0.0.1:{port}", process)


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(EXTERNAL_KEY_ENVIRONMENT, KEY + "\n")


async def test_requests_reach_the_service_with_its_key_and_model(
    service: Elsewhere, key: None
) -> None:
    async with engine(service.url) as found:
        status, answer = await found.ask(seed=3)
        assert (status, answer["model"]) == (200, "scribe")
        assert answer["choices"][0]["message"]["content"] == "Hail."
        [(said, body)] = service.seen
        assert said == f"Bearer {KEY}"
        assert (body["model"], body["max_tokens"], body["seed"]) == ("gpt", 40, 3)
        assert "scribe" in (await found.get("/v1/models"))[1]
        assert await found.metric('gameai_external_engine_tokens_total{kind="prompt"}') == 100
        assert KEY not in (await found.get("/metrics"))[1]


async def test_a_choice_is_answered_with_its_label(service: Elsewhere) -> None:
    service.answers = [answered('{"choice":"B"}'), answered('{"choice":"Z"}')]
    async with engine(service.url) as found:
        choice = {"structured_outputs": {"choice": ["A", "B"]}}
        status, answer = await found.ask(**choice)
        assert (status, answer["choices"][0]["message"]["content"]) == (200, "B")
        assert service.seen[0][0] == "", "no key is sent where there is none"
        status, answer = await found.ask(**choice)
        assert status == HTTPStatus.BAD_GATEWAY
        assert "does not keep to response_format" in answer["error"]["message"]


@pytest.mark.parametrize(
    ("answer", "status", "says", "health"),
    [
        (refused(400, "too long: context length"), 400, "too long: context length", "ok"),
        (refused(400, f"bad key {KEY}"), 400, "bad key …", "ok"),
        (refused(401, f"wrong key {KEY}"), 429, "the service refuses the API key (401)", "refuses"),
        (
            refused(400, "Unsupported parameter: use 'max_completion_tokens' instead"),
            429,
            "set tokenLimit of engine.external.openAI to MaxCompletionTokens",
            "tokenLimit",
        ),
        (
            refused(400, "'max_tokens' or 'max_completion_tokens' is too large: 9000."),
            400,
            "is too large: 9000",
            "ok",
        ),
        (refused(404), 429, "knows neither the path nor the model (404)", "(404)"),
        (refused(429, "slow", **{"Retry-After": "120"}), 429, "asks for 120 s", "120 s"),
        (refused(302, "", Location="http://127.0.0.1:9/"), 502, "the service answered 302", "ok"),
        (refused(500), 502, "the service answered 500", "ok"),
    ],
)
async def test_what_the_service_refuses_is_named_without_the_key(
    service: Elsewhere, key: None, answer: web.Response, status: int, says: str, health: str
) -> None:
    service.answers = [answer]
    async with engine(service.url) as found:
        code, body = await found.ask()
        assert code == status
        assert says in body["error"]["message"]
        assert KEY not in str(body)
        state, text = await found.get("/health")
        assert (state, health in text) == (200 if health == "ok" else 503, True)
        assert (await found.get("/livez"))[0] == 200, "the pod is not started again"
        if health != "ok":
            code, _ = await found.ask()
            assert (code, len(service.seen)) == (429, 1), "the service is not asked"


async def test_a_service_that_is_away_is_asked_less_often_and_found_again(
    service: Elsewhere,
) -> None:
    service.answers = [refused(503) for _ in range(5)]
    async with engine(service.url) as found:
        for _ in range(5):
            assert (await found.ask())[0] == HTTPStatus.BAD_GATEWAY
        assert (await found.get("/health"))[0] == HTTPStatus.SERVICE_UNAVAILABLE
        async with asyncio.timeout(50):
            while (await found.get("/health"))[0] != HTTPStatus.OK:
                await asyncio.sleep(0.2)
        assert (await found.ask())[0] == HTTPStatus.OK


async def test_no_more_requests_run_than_allowed_and_a_caller_that_goes_ends_its_own(
    service: Elsewhere,
) -> None:
    async def hang(_: web.Request) -> web.Response:
        await asyncio.sleep(60)
        return answered()

    service.answers = [hang, hang]
    async with engine(service.url, "--concurrent=2") as found:
        hanging = [asyncio.create_task(found.ask()) for _ in range(2)]
        async with asyncio.timeout(20):
            while len(service.seen) < 2:
                await asyncio.sleep(0.05)
        status, answer = await found.ask()
        assert status == HTTPStatus.SERVICE_UNAVAILABLE
        assert "busy" in answer["error"]["message"]
        for each in hanging:
            each.cancel()
        async with asyncio.timeout(20):
            while service.gone < 2:
                await asyncio.sleep(0.05)
        assert (await found.ask())[0] == HTTPStatus.OK


async def test_a_stream_is_passed_on_as_it_comes(service: Elsewhere) -> None:
    go_on = asyncio.Event()

    async def stream(request: web.Request) -> web.StreamResponse:
        found = web.StreamResponse()
        await found.prepare(request)
        await found.write(b'data: {"choices": [{"delta": {"content": "Hail"}}]}\n\n')
        await go_on.wait()
        await found.write(b'data: {"choices": [], "usage": {"prompt_tokens": 3, ')
        await found.write(b'"completion_tokens": 4}}\n\ndata: [DONE]\n\n')
        return found

    async def broken(request: web.Request) -> web.StreamResponse:
        found = web.StreamResponse()
        await found.prepare(request)
        await found.write(b"data: {}\n\n")
        assert request.transport is not None
        request.transport.abort()
        return found

    service.answers = [stream, broken]
    async with engine(service.url) as found:
        body = {"messages": [], "max_tokens": 5, "stream": True}
        path = f"{found.url}/v1/chat/completions"
        async with found.session.post(path, json=body) as answer:
            first = await answer.content.readany()
            assert b"Hail" in first
            go_on.set()
            assert (await answer.read()).endswith(b"data: [DONE]\n\n")
        assert await found.metric('gameai_external_engine_tokens_total{kind="completion"}') == 4
        with pytest.raises(aiohttp.ClientPayloadError):
            await _whole(found, body)
        assert (await found.ask())[0] == HTTPStatus.OK


async def _whole(found: Engine, body: dict[str, Any]) -> bytes:
    async with found.session.post(f"{found.url}/v1/chat/completions", json=body) as answer:
        return await answer.read()


async def test_a_large_request_does_not_close_the_budget_for_others(service: Elsewhere) -> None:
    flags = ("--usd-per-hour=0.2", "--input-usd=10", "--output-usd=1000")
    async with engine(service.url, *flags) as found:
        assert (await found.ask())[0] == HTTPStatus.OK
        assert (await found.ask(max_tokens=180))[0] == HTTPStatus.TOO_MANY_REQUESTS
        assert (await found.get("/health"))[0] == HTTPStatus.OK
        assert (await found.ask())[0] == HTTPStatus.OK


async def test_a_service_that_cannot_be_reached_costs_nothing(service: Elsewhere) -> None:
    flags = ("--usd-per-hour=1", "--output-usd=1000")
    async with engine("http://127.0.0.1:9/v1", *flags) as found:
        assert (await found.ask())[0] == HTTPStatus.BAD_GATEWAY
        assert await found.metric("gameai_external_engine_budget_left_usd") == 1


async def test_the_key_is_in_no_answer_and_cookies_are_not_kept(
    service: Elsewhere, key: None
) -> None:
    first = answered(f"Your key is {KEY}.")
    first.set_cookie("session", "1")
    cookies = []

    async def second(request: web.Request) -> web.Response:
        cookies.append(request.headers.get("Cookie"))
        return answered()

    service.answers = [first, second]
    async with engine(service.url) as found:
        _, answer = await found.ask()
        assert KEY not in str(answer)
        await found.ask()
    assert cookies == [None]


async def test_a_caller_that_never_finishes_its_request_holds_no_place(service: Elsewhere) -> None:
    async with engine(service.url, "--concurrent=1") as found:
        host, port = found.url.removeprefix("http://").split(":")
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"
        )
        await writer.drain()
        assert (await found.ask())[0] == HTTPStatus.OK
        writer.close()


async def test_a_key_of_several_lines_is_refused_at_the_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(EXTERNAL_KEY_ENVIRONMENT, "sk-1\nsk-2")
    command = (sys.executable, "-m", "gameai.external_engine", "--model=a", "--url=http://a/v1")
    process = await asyncio.create_subprocess_exec(
        *command, "--service-model=b", stderr=asyncio.subprocess.PIPE
    )
    _, said = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 2
    assert b"must be one word of visible ASCII characters" in said
    assert b"sk-" not in said


async def test_a_spent_budget_makes_the_replica_not_ready(service: Elsewhere) -> None:
    # 40 tokens of an answer may cost 0.04, and the prompt some 0.01; an answer of 50 tokens costs 0.051.
    flags = ("--usd-per-hour=0.12", "--input-usd=10", "--output-usd=1000")
    async with engine(service.url, *flags) as found:
        assert (await found.ask())[0] == HTTPStatus.OK
        assert (await found.ask())[0] == HTTPStatus.OK
        status, answer = await found.ask()
        assert status == HTTPStatus.TOO_MANY_REQUESTS
        assert "the budget has no room now" in answer["error"]["message"]
        state, text = await found.get("/health")
        assert state == HTTPStatus.SERVICE_UNAVAILABLE
        assert "the budget is spent: room in 3" in text
        assert len(service.seen) == 2
        assert round(await found.metric("gameai_external_engine_cost_usd_total"), 6) == 0.102
        assert round(await found.metric("gameai_external_engine_budget_left_usd"), 6) == 0.018


async def test_a_request_that_costs_more_than_the_budget_is_refused_for_good(
    service: Elsewhere,
) -> None:
    flags = ("--usd-per-hour=0.01", "--output-usd=1000")
    async with engine(service.url, *flags) as found:
        status, answer = await found.ask()
        assert status == HTTPStatus.BAD_REQUEST
        assert "raise engine.external.budget.usdPerHour" in answer["error"]["message"]
        assert (await found.get("/health"))[0] == HTTPStatus.OK
        assert not service.seen


async def test_requests_end_before_the_program_does(service: Elsewhere) -> None:
    answer_now = asyncio.Event()

    async def wait(_: web.Request) -> web.Response:
        await answer_now.wait()
        return answered()

    service.answers = [wait]
    async with engine(service.url) as found:
        asked = asyncio.create_task(found.ask())
        async with asyncio.timeout(20):
            while not service.seen:
                await asyncio.sleep(0.05)
        found.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(20):
            while (await found.get("/health"))[0] == HTTPStatus.OK:
                await asyncio.sleep(0.05)
        answer_now.set()
        assert (await asked)[0] == HTTPStatus.OK
        async with asyncio.timeout(20):
            assert await found.process.wait() == 0


async def test_a_gateway_asks_through_it_as_it_asks_an_engine(tmp_path: Path) -> None:
    double = Program("gameai_vllm", "--served-model-name=gpt", log=tmp_path / "vllm.log")
    try:
        url = f"http://{await asyncio.to_thread(double.address)}/v1"
        async with engine(url) as found:
            address = found.url.removeprefix("http://")
            with story.gateway(address, "moor/aldermoor", tmp_path, "scribe") as gateway:
                await _ask_in_every_way(gateway)
    finally:
        double.stop()


async def _ask_in_every_way(gateway: str) -> None:
    async with Gateway(gateway, world="moor/aldermoor", insecure=True) as ai:
        free = await ai.ask(role="story", prompt="Once", deadline_ms=20_000)
        assert (free.source, bool(free.text)) == (Source.ENGINE, True)
        chosen = await ai.ask(
            role="story", prompt="A wolf!", actions=["patrol", "flee"], deadline_ms=20_000
        )
        assert chosen.source is Source.ENGINE
        assert chosen.text in ("patrol", "flee")
