"""How long a terminating pod still gets questions: two gateways on a real API server."""

import asyncio
import contextlib
import sys
import time
from contextlib import ExitStack

from aiohttp import web
from gameai.client import Gateway
from gameai_devcluster import install
from gameai_devcluster.api import Api, path
from gameai_devcluster.processes import free_port
from gameai_devcluster.testing.waiting import until
from gameai_vllm.engine import Engine, Latency, Limits
from gameai_vllm.surface import application, new_surface

from benchmarks import report
from benchmarks.inference import running, wait_listening
from benchmarks.stage import Stage, stage

ROUNDS = 5
_SPACE = "bench"
_ASKS_PER_SECOND = 100
_SETTLED_SECONDS = 3.0


def _world(api: Api) -> None:
    install.namespace(api, _SPACE)
    spec = {
        "class": "Silver",
        "model": {"source": {"huggingFace": {"repository": "a/b"}}},
        "hardware": {"gpus": 0},
        "replicas": 0,
    }
    roles = [{"name": "dialogue", "tierRef": {"name": "silver"}, "deadlineMs": 5000}]
    for kind, name, given in (
        ("ModelTier", "silver", spec),
        ("GameWorld", "moor", {"roles": roles}),
    ):
        metadata = {"name": name, "namespace": _SPACE}
        api.apply(
            {"apiVersion": "gameai.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": given}
        )

    def published() -> bool:
        found = api.find("ConfigMap", _SPACE, "moor-world")
        return found is not None and "http://silver" in found["data"]["world.json"]

    until("the world is published", published, seconds=60)


def _pod(api: Api, name: str, port: int) -> None:
    """A ready pod of the tier whose engine listens here; held by a finalizer, so that it takes its time to end."""
    http = {"name": "http", "containerPort": port}
    metadata = {
        "name": name,
        "namespace": _SPACE,
        "labels": {"gameai.dev/tier": "silver"},
        "finalizers": ["example.com/held"],
    }
    containers = [{"name": "vllm", "image": "double", "ports": [http]}]
    api.create(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": metadata,
            "spec": {"schedulerName": "none", "containers": containers},
        }
    )
    status = {
        "podIP": "127.0.0.1",
        "podIPs": [{"ip": "127.0.0.1"}],
        "conditions": [{"type": "Ready", "status": "True"}],
    }
    api.patch(f"{path('Pod', _SPACE, name)}/status", {"status": status})


class _Double:
    """An engine in this process that remembers when it was last asked."""

    def __init__(self) -> None:
        self.asked_at = 0.0
        self._surface = new_surface(
            "silver", Engine(Latency(front_end_ms=0, first_token_ms=5), Limits())
        )

    async def start(self) -> int:
        """Its port."""
        made = application(self._surface)

        @web.middleware
        async def note(request: web.Request, handler: object) -> web.StreamResponse:
            if request.method == "POST":
                self.asked_at = time.monotonic()
            answer: web.StreamResponse = await handler(request)  # type: ignore[operator] # aiohttp's own
            return answer

        made.middlewares.append(note)
        self._runner = web.AppRunner(made, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        port: int = self._runner.addresses[0][1]
        return port

    async def stop(self) -> None:
        await self._runner.cleanup()


async def _round(api: Api, addresses: str, number: int) -> float:
    """Seconds from the deletion to the last question."""
    doubles = [_Double(), _Double()]
    for at, double in enumerate(doubles):
        await asyncio.to_thread(_pod, api, f"silver-{number}-{at}", await double.start())
    leaving = doubles[0]
    async with Gateway(addresses, world=f"{_SPACE}/moor") as ai:
        asks: set[asyncio.Task[object]] = set()

        async def keep_asking() -> None:
            for turn in range(1_000_000):
                task = asyncio.create_task(
                    ai.ask(role="dialogue", npc=f"n{turn}", prompt="Hm?", max_tokens=1, default="")
                )
                asks.add(task)
                task.add_done_callback(asks.discard)
                await asyncio.sleep(1 / _ASKS_PER_SECOND)

        asking = asyncio.create_task(keep_asking())
        # It must be in use before it can go out of use.
        while not leaving.asked_at or time.monotonic() - leaving.asked_at > 0.5:  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.05)
        await asyncio.sleep(1.0)
        await asyncio.to_thread(api.delete, "Pod", _SPACE, f"silver-{number}-0")
        deleted_at = time.monotonic()
        await asyncio.sleep(_SETTLED_SECONDS)
        asking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asking
        await asyncio.gather(*asks, return_exceptions=True)
    assert doubles[1].asked_at > leaving.asked_at
    for double in doubles:
        await double.stop()
    for at in range(2):
        name = f"silver-{number}-{at}"
        await asyncio.to_thread(api.patch, path("Pod", _SPACE, name), {"metadata": {"finalizers": None}})  # fmt: skip
        await asyncio.to_thread(api.delete, "Pod", _SPACE, name, gracePeriodSeconds=0)
    return max(0.0, leaving.asked_at - deleted_at)


def _gateways(place: Stage, stack: ExitStack) -> str:
    token = place.folder / "gateway.token"
    token.write_text(install.token(place.api, install.NAMESPACE, "gameai-operator-gateway"))
    credentials = place.api.credentials
    found = []
    for number in range(2):
        port, log = free_port(), place.folder / f"gateway-{number}.log"
        command = [
            *(sys.executable, "-m", "gameai.gateway", "--cluster", "--insecure-no-identity"),
            *(f"--api-server={credentials.server}", f"--api-ca={credentials.ca_file}"),
            *(f"--api-token={token}", "--address=127.0.0.1", f"--port={port}"),
            *("--health-port=0", "--log-level=WARNING"),
        ]
        wait_listening(port, log, stack.enter_context(running(command, number, log)))
        found.append(f"127.0.0.1:{port}")
    return ",".join(found)


def main() -> None:
    """Measure and write the table."""
    with stage() as place, ExitStack() as stack:
        operator = place.operator("operator")
        operator.wait_ready()
        stack.callback(operator.stop)
        _world(place.api)
        addresses = _gateways(place, stack)
        times = [asyncio.run(_round(place.api, addresses, number)) for number in range(ROUNDS)]
    row = report.median("deletionTimestamp to the last question, 2 gateways", times, limit=1, unit="s")  # fmt: skip
    report.write("dispatch", [row])


if __name__ == "__main__":
    main()
