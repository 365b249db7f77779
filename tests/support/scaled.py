"""A tier that is scaled, with a gateway whose one engine takes two seconds for an answer."""

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from gameai.client import Gateway
from gameai_devcluster import install
from gameai_devcluster.api import Api, Json
from gameai_devcluster.operators import Launch, Operator
from gameai_devcluster.processes import free_port
from gameai_devcluster.testing.waiting import condition, until

from support.live import manifest

NAMESPACE = "scaled"
SCALER = "gameai-operator-scaler"
GRPC, HEALTH, ENGINE = free_port(), free_port(), free_port()
FAST = {"windowSeconds": 0, "pods": 50, "periodSeconds": 1}
VIEW = f"""
kind: ModelTier
metadata: {{name: gold, namespace: {NAMESPACE}}}
spec: {{class: Gold}}
---
kind: GameWorld
metadata: {{name: moor, namespace: {NAMESPACE}}}
spec:
  roles:
  - {{name: talk, tierRef: {{name: gold}}, deadlineMs: 60000, share: {{maxInFlight: 512}}, fallback: []}}
"""


@contextlib.contextmanager
def process(log: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as out:
        made = subprocess.Popen([sys.executable, "-m", *arguments], stdout=out, stderr=out)
    try:
        yield made
    finally:
        made.terminate()
        made.wait(60)


@contextlib.contextmanager
def slow_gateway(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A gateway whose one engine takes two seconds an answer."""
    view = folder / "scaling-view.yaml"
    view.write_text(VIEW)
    engine = (
        "gameai_vllm",
        f"--port={ENGINE}",
        "--served-model-name=gold",
        "--first-token-ms=2000",
    )
    with (
        process(folder / "scaling-engine.log", *engine),
        process(
            folder / "scaling-gateway.log",
            "gameai.gateway",
            f"--view={view}",
            f"--endpoint={NAMESPACE}/gold=127.0.0.1:{ENGINE}",
            "--insecure-no-identity",
            f"--port={GRPC}",
            f"--health-port={HEALTH}",
        ) as made,
    ):
        yield made


def scaled(api: Api, **scaling: Any) -> None:
    """The tier with this `spec.scaling`; without a number, as in Git."""
    document = manifest(NAMESPACE)
    document["spec"].pop("replicas", None)
    spec = {"maxReplicas": 12, "scaleIn": FAST, "scaleOut": {"pods": 50, "periodSeconds": 1}}
    document["spec"]["scaling"] = spec | scaling
    api.apply(document, manager="kubectl")


def tier(api: Api) -> Json:
    return api.get("ModelTier", NAMESPACE, "gold")


def wait_replicas(api: Api, number: int, seconds: float = 60) -> Json:
    return until(
        f"{number} replicas",
        lambda: (
            found
            if (found := tier(api))["spec"].get("replicas") == number
            and found["status"].get("readyReplicas") == number
            else None
        ),
        seconds=seconds,
    )


def wait_reason(api: Api, kind: str, reason: str, seconds: float = 60) -> Json:
    return until(
        f"{kind}, {reason}",
        lambda: found if condition(found := tier(api), kind).get("reason") == reason else None,
        seconds=seconds,
    )


@contextlib.asynccontextmanager
async def load(number: int) -> AsyncIterator[Gateway]:
    """So many questions at any time, each answered after two seconds."""
    async with Gateway(f"127.0.0.1:{GRPC}", world=f"{NAMESPACE}/moor", insecure=True) as ai:

        async def ask() -> None:
            while True:
                await ai.ask(role="talk", prompt="Who are you?", max_tokens=1, default="…")

        tasks = [asyncio.create_task(ask()) for _ in range(number)]
        try:
            yield ai
        finally:
            for each in tasks:
                each.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def world() -> Json:
    """The world whose questions are the tier's load."""
    return {
        "apiVersion": "gameai.dev/v1alpha1",
        "kind": "GameWorld",
        "metadata": {"name": "moor", "namespace": NAMESPACE},
        "spec": {
            "roles": [{"name": "talk", "tierRef": {"name": "gold"}}],
            "players": {"expected": 10},
        },
    }


@contextlib.contextmanager
def processes(
    api: Api,
    operator_kubeconfig: Path,
    folder: Path,
    *,
    scaler: dict[str, str | float],
    operator: dict[str, str | float],
) -> Iterator[Operator]:
    """The operator, and the scaler under its own account, with these flags; the scaler."""
    kubeconfig = install.operator_kubeconfig(api, folder / "scaler.kubeconfig", account=SCALER)
    first = Operator(
        Launch(kubeconfig=operator_kubeconfig, log=folder / "scaling-operator.log", flags=operator)
    )
    flags: dict[str, str | float] = {
        "gateways": f"127.0.0.1:{HEALTH}",
        "scaling_seconds": 1,
        "lease_name": "gameai-scaler",
        **scaler,
    }
    log = folder / "scaling-scaler.log"
    second = Operator(Launch(kubeconfig=kubeconfig, log=log, command="scaler", flags=flags))
    for each in (first, second):
        each.wait_ready()
    install.namespace(api, NAMESPACE)
    api.apply(world(), manager="kubectl")
    yield second
    assert second.alive()
    for each in (second, first):
        assert each.stop() == 0
        assert "this is a bug" not in each.output()
