"""The vLLM double against exchanges captured from vLLM 0.32: status, headers, error bodies, shapes, streams, metrics."""

import asyncio
import json
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import groupby
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from gameai_vllm.engine import Engine, Latency, Limits
from gameai_vllm.surface import Surface, application, new_surface

DATA = Path(__file__).resolve().parents[1] / "data/vllm"
FAST = Latency(front_end_ms=0, first_token_ms=1, token_ms=0.2)
# What the double leaves out is answered 404 by it; a capture of it would be no test.
CAPTURES = sorted(
    path.name
    for path in (DATA / "http").glob("*.json")
    if not path.name.startswith(("sigterm-", "draining-", "error-queue-full"))
)
DRAINING = sorted(path.name for path in (DATA / "http").glob("draining-*.json"))


def captured(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((DATA / "http" / name).read_text())
    return document


@asynccontextmanager
async def double(
    latency: Latency = FAST, limits: Limits | None = None
) -> AsyncIterator[tuple[Surface, str]]:
    surface = new_surface("npc-gold", Engine(latency, limits or Limits(context=512)))
    runner = web.AppRunner(application(surface), handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield surface, f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def shape(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: shape(each) for key, each in value.items()}
    if isinstance(value, list):
        return [shape(each) for each in value[:1]]
    return type(value).__name__


async def replay(url: str, document: dict[str, Any]) -> tuple[int, dict[str, str], str]:
    asked = document["request"]
    headers = dict(asked.get("headers", {}))
    body = asked.get("raw_body")
    if "json" in asked:
        body = json.dumps(asked["json"])
    if body is not None:
        headers.setdefault("Content-Type", "application/json")
    async with (
        aiohttp.ClientSession() as session,
        session.request(asked["method"], url + asked["path"], data=body, headers=headers) as reply,
    ):
        reply_headers = {key.lower(): value for key, value in reply.headers.items()}
        return reply.status, reply_headers, await reply.text()


def events(text: str) -> list[Any]:
    """Kinds of events in order; the same one after another counts once, for texts have other lengths."""
    found: list[Any] = []
    for block in filter(None, text.split("\n\n")):
        assert block.startswith("data: ")
        data = block.removeprefix("data: ")
        if data.strip() == "[DONE]":
            found.append("DONE")
            continue
        document = json.loads(data)
        reasons = [choice["finish_reason"] for choice in document.get("choices", [])]
        found.append((shape(document), reasons))
    return [kind for kind, _ in groupby(found)]


@pytest.mark.parametrize("name", CAPTURES)
async def test_every_captured_exchange_is_answered_alike(name: str) -> None:
    document = captured(name)
    wanted = document["response"]
    async with double() as (_, url):
        status, headers, text = await replay(url, document)
    assert status == wanted["status"]
    for key in set(wanted["headers"]) - {"content-length", "x-request-id"}:
        assert headers.get(key) == wanted["headers"][key], key
    if file := wanted.get("raw_body_file"):
        assert events(text) == events((DATA / "http" / file).read_text())
    elif "json" not in wanted:
        assert text == wanted.get("body", "")
    elif status >= 400:
        assert json.loads(text) == wanted["json"]
    else:
        assert shape(json.loads(text)) == shape(wanted["json"])


def test_the_captures_that_are_replayed_are_many() -> None:
    assert len(CAPTURES) >= 35


@pytest.mark.parametrize("name", DRAINING)
async def test_one_that_drains_answers_as_captured(name: str) -> None:
    document = captured(name)
    async with double() as (surface, url):
        surface.engine.draining = True
        status, _, text = await replay(url, document)
    assert status == document["response"]["status"]
    if status >= 400:
        assert json.loads(text) == document["response"]["json"]


async def test_an_enumerated_answer_is_one_of_its_choices_and_its_reason_is_captured() -> None:
    document = captured("structured-structured_outputs-choice.json")
    async with double() as (_, url):
        _, _, text = await replay(url, document)
    choice = json.loads(text)["choices"][0]
    assert choice["message"]["content"] in {"attack", "flee", "trade"}
    wanted = document["response"]["json"]["choices"][0]["finish_reason"]
    assert choice["finish_reason"] == wanted == "stop"


NEVER = Latency(front_end_ms=0, first_token_ms=600_000)


@asynccontextmanager
async def held(url: str, count: int) -> AsyncIterator[None]:
    """So many requests that are under way until the end."""
    plain = captured("chat-completion.json")
    calls = [asyncio.create_task(replay(url, plain)) for _ in range(count)]
    try:
        yield
    finally:
        for each in calls:
            each.cancel()
        await asyncio.gather(*calls, return_exceptions=True)


@pytest.mark.parametrize(
    "name", ["error-queue-full-nonstream.json", "error-queue-full-stream.json"]
)
async def test_over_its_limit_of_requests_it_is_busy(name: str) -> None:
    document = captured(name)
    async with (
        asyncio.timeout(30),
        double(NEVER, Limits(context=512, slots=1, queued=2)) as (surface, url),
        held(url, 2),
    ):
        while surface.engine.running + surface.engine.waiting < 2:
            await asyncio.sleep(0.01)
        status, _, text = await replay(url, document)
    assert status == document["response"]["status"]
    assert json.loads(text) == document["response"]["json"]
    assert surface.engine.rejected == 1


async def test_metrics_have_vllms_names_labels_and_buckets() -> None:
    def series(text: str) -> set[str]:
        ours = (line for line in text.splitlines() if line.startswith("vllm:"))
        return {re.sub(r" \S+$", "", line) for line in ours}

    async with double() as (_, url):
        await replay(url, captured("chat-completion.json"))
        _, _, text = await replay(url, {"request": {"method": "GET", "path": "/metrics"}})
    # One label value tells how the captured server was configured.
    wanted = {
        each for each in series((DATA / "metrics-load.txt").read_text()) if "config" not in each
    }
    assert {each for each in series(text) if "config" not in each} == wanted
    assert (
        'vllm:request_success_total{engine="0",finished_reason="length",model_name="npc-gold"} 1.0'
        in text
    )
    assert 'vllm:generation_tokens_total{engine="0",model_name="npc-gold"} 12.0' in text


async def test_its_queue_stands_in_its_metrics() -> None:
    async with (
        asyncio.timeout(30),
        double(NEVER, Limits(context=512, slots=2)) as (surface, url),
        held(url, 5),
    ):
        while surface.engine.waiting < 3:
            await asyncio.sleep(0.01)
        _, _, text = await replay(url, {"request": {"method": "GET", "path": "/metrics"}})
    label = '{engine="0",model_name="npc-gold"}'
    assert f"vllm:num_requests_running{label} 2.0" in text
    assert f"vllm:num_requests_waiting{label} 3.0" in text


async def test_a_client_that_leaves_frees_its_slot_and_is_counted_nowhere() -> None:
    slow = Latency(front_end_ms=0, first_token_ms=60_000)
    async with double(slow, Limits(context=512, slots=1)) as (surface, url):
        call = asyncio.create_task(replay(url, captured("chat-completion.json")))
        while not surface.engine.running:
            await asyncio.sleep(0.01)
        call.cancel()
        async with asyncio.timeout(5):
            while surface.engine.running:
                await asyncio.sleep(0.01)
    assert not surface.metrics.finished


async def test_with_priorities_the_lower_number_goes_first() -> None:
    never = Latency(front_end_ms=0, first_token_ms=600_000)
    order: list[int] = []
    async with double(never, Limits(context=512, slots=1, priority=True)) as (surface, url):

        async def ask(priority: int) -> None:
            body = captured("chat-completion.json")["request"]["json"]
            body |= {"priority": priority, "max_tokens": 1}
            request = {"method": "POST", "path": "/v1/chat/completions", "json": body}
            await replay(url, {"request": request})
            order.append(priority)

        async with asyncio.timeout(30):
            holder = asyncio.create_task(ask(9))
            while not surface.engine.running:
                await asyncio.sleep(0.005)
            calls = []
            for behind, priority in enumerate((10, 10, 10, 0), start=1):
                calls.append(asyncio.create_task(ask(priority)))
                while surface.engine.waiting < behind:
                    await asyncio.sleep(0.005)
            # Only when all wait is the slot given up, so that nothing here depends on how fast a call arrives.
            surface.engine.latency = Latency(front_end_ms=0, first_token_ms=50)
            holder.cancel()
            await asyncio.gather(*calls)
    assert order == [0, 10, 10, 10]


@asynccontextmanager
async def process(*flags: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    made = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gameai_vllm", "--port", "0", "--served-model-name", "npc-gold",
        *flags, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert made.stdout is not None
    async with asyncio.timeout(30):
        line = (await made.stdout.readline()).decode()
    try:
        yield made, f"http://127.0.0.1:{line.split()[-1]}"
    finally:
        if made.returncode is None:
            made.kill()
        await made.wait()
        made._transport.close()  # type: ignore[attr-defined] # else its pipe outlives the loop


async def asked_while(flags: tuple[str, ...], sign: signal.Signals) -> tuple[list[Any], int]:
    """Replies to a plain and a streamed request that run while a signal comes, and the exit code."""
    plain, stream = captured("chat-completion.json"), captured("chat-completion-stream.json")
    for each in (plain, stream):
        each["request"]["json"]["max_tokens"] = 100
    async with process("--first-token-ms", "200", "--token-ms", "60", *flags) as (made, url):
        calls = [asyncio.create_task(replay(url, each)) for each in (plain, stream)]
        async with asyncio.timeout(30):
            while True:
                _, _, text = await replay(url, {"request": {"method": "GET", "path": "/metrics"}})
                if re.search(r"^vllm:num_requests_running\S* 2.0$", text, re.MULTILINE):
                    break
                await asyncio.sleep(0.02)
        # The stream has had its first text by then.
        await asyncio.sleep(0.4)
        made.send_signal(sign)
        replies = await asyncio.gather(*calls)
        async with asyncio.timeout(30):
            return list(replies), await made.wait()


async def test_asked_to_stop_it_aborts_with_200_as_captured() -> None:
    (plain, stream), code = await asked_while((), signal.SIGTERM)
    kinds = {
        (group["kind"], group["status"], group["detail"][-2])
        for group in captured("sigterm-default-abort.json")["outcome_groups"]
    }
    reason = json.loads(plain[2])["choices"][0]["finish_reason"]
    assert ("plain", plain[0], f"finish_reason={reason}") in kinds
    assert ("stream", stream[0], "finish_reason=abort") in kinds
    assert '"finish_reason":"abort"' in stream[2]
    assert stream[2].endswith("data: [DONE]\n\n")
    assert code == 0


async def test_with_a_shutdown_timeout_what_runs_ends_well() -> None:
    (plain, stream), code = await asked_while(("--shutdown-timeout", "30"), signal.SIGTERM)
    assert json.loads(plain[2])["choices"][0]["finish_reason"] == "length"
    assert '"finish_reason":"length"' in stream[2]
    assert code == 0


async def test_a_dead_engine_says_so_and_the_server_exits_with_0() -> None:
    (plain, stream), code = await asked_while((), signal.SIGUSR1)
    assert plain[0] == 500
    assert "EngineCore encountered an issue" in plain[2]
    assert '"code": 500' in stream[2]
    assert code == 0


async def test_while_it_loads_connections_are_refused() -> None:
    made = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gameai_vllm", "--port", "18437", "--load-seconds", "60"
    )
    try:
        await asyncio.sleep(1)
        with pytest.raises(aiohttp.ClientConnectorError):
            await replay("http://127.0.0.1:18437", captured("health.json"))
    finally:
        made.kill()
        await made.wait()
