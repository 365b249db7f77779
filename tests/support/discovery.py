"""A gateway that discovers worlds and tiers on a cluster, and the objects that it needs."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
from gameai.inference.v1 import inference_pb2 as pb
from gameai.inference.v1 import inference_pb2_grpc
from gameai.serving.identity import AUDIENCE
from gameai_devcluster import install
from gameai_devcluster.api import Api, Json, path
from grpc import aio

from support.inference import outward, program
from support.live import world

SERVICE = "gameai-operator-gateway"
NODE = "outside"
ENGINE, DEFAULT = pb.SOURCE_ENGINE, pb.SOURCE_DEFAULT
NPCS = """\
version: 1
archetypes:
  guard: {actions: [patrol, flee], defaults: [patrol]}
"""


ROLES: list[Json] = [
    {"name": "reaction", "tierRef": {"name": "gold"}, "deadlineMs": 1500},
    {"name": "strict", "tierRef": {"name": "gold"}, "deadlineMs": 1500, "fallback": []},
]


# What is stated in seconds is waited for ten times as long.
VIEW_SECONDS, ARCHETYPES_SECONDS = 10.0, 50.0


def npcs(api: Api, namespace: str, text: str = NPCS) -> None:
    api.apply(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": "moor-npcs",
                "namespace": namespace,
                "labels": {"app.kubernetes.io/part-of": "gameai"},
            },
            "data": {"npcs.yaml": text},
        },
        manager="kubectl",
    )


def replica(api: Api, namespace: str, name: str, address: str) -> None:
    """A pod of tier `gold` whose engine listens here; no kubelet knows it."""
    host, _, port = address.partition(":")
    http = {"name": "http", "containerPort": int(port)}
    labels = api.get("Service", namespace, "gold")["spec"]["selector"]
    # Of pods without a node no EndpointSlice is made.
    api.apply({"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}})
    api.create(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": name,
                "namespace": namespace,
                "labels": labels,
                # Else a pod that runs nowhere is gone as soon as it is deleted.
                "finalizers": ["example.com/held"],
            },
            "spec": {
                "nodeName": NODE,
                "containers": [{"name": "vllm", "image": "double", "ports": [http]}],
            },
        }
    )
    ready(api, namespace, name, host)


def ready(api: Api, namespace: str, name: str, host: str = "", *, so: bool = True) -> None:
    host = host or outward()
    status = {
        "podIP": host,
        "podIPs": [{"ip": host}],
        "conditions": [{"type": "Ready", "status": str(so)}],
    }
    api.patch(f"{path('Pod', namespace, name)}/status", {"status": status})


def release(api: Api, namespace: str) -> None:
    for pod in api.list("Pod", namespace):
        if pod["metadata"].get("finalizers"):
            where = path("Pod", namespace, pod["metadata"]["name"])
            api.patch(where, {"metadata": {"finalizers": None}})
    api.delete("Node", None, NODE)


def living(namespace: str, **spec: Any) -> Json:
    made = {
        "roles": ROLES,
        "services": [],
        "archetypes": {"configMap": {"name": "moor-npcs"}},
        "callers": [{"namespace": namespace, "serviceAccount": "match"}],
    }
    return world(namespace, **(made | spec))


def published(api: Api, namespace: str) -> bool:
    view = api.find("WorldView", namespace, "moor")
    return bool(view and view["spec"].get("archetypes"))


@dataclass
class Served:
    """A gateway of its own process."""

    stub: Any
    health: str
    session: aiohttp.ClientSession
    metadata: list[tuple[str, str]]

    async def ask(self, role: str = "reaction", **more: Any) -> pb.Answer:
        asked = pb.Question(
            role=role, archetype="guard", npc="n1", prompt=pb.Prompt(parts=["A wolf!"]), **more
        )
        request = pb.GenerateAnswerRequest(question=asked)
        response = await self.stub.GenerateAnswer(request, metadata=self.metadata, timeout=20)
        answer: pb.Answer = response.answer
        return answer

    async def source(self) -> int:
        return int((await self.ask()).source)

    async def metrics(self) -> dict[str, float]:
        """Every sample by its name and labels."""
        async with self.session.get(f"{self.health}/metrics") as response:
            lines = (await response.text()).splitlines()
        pairs = [line.rsplit(" ", 1) for line in lines if not line.startswith("#")]
        return {name: float(value) for name, value in pairs}

    async def ready(self) -> str:
        async with self.session.get(f"{self.health}/readyz") as response:
            return (await response.text()).strip()


@asynccontextmanager
async def gateway(
    api: Api,
    namespace: str,
    folder: Path,
    server: str = "",
    account: str = "match",
    listed: str = "",
) -> AsyncIterator[Served]:
    """A gateway that knows what there is, and a caller of the world."""
    token = folder / "gateway.token"
    token.write_text(install.token(api, install.NAMESPACE, SERVICE))
    own = install.token(api, namespace, account, audience=AUDIENCE)
    async with (
        program(
            *("gameai.gateway", "--cluster", f"--api-server={server or api.credentials.server}"),
            *(f"--api-token={token}", f"--api-ca={api.credentials.ca_file}"),
            *(
                f"--own-service={install.NAMESPACE}/{SERVICE}",
                f"--namespaces={listed or namespace}",
            ),
            *("--address=127.0.0.1", "--port=0", "--health-port=0", "--log-level=WARNING"),
        ) as (_, ports),
        aiohttp.ClientSession() as session,
        aio.insecure_channel(f"127.0.0.1:{ports[0]}") as channel,
    ):
        stub = inference_pb2_grpc.InferenceServiceStub(channel)
        metadata = [("authorization", f"Bearer {own}")]
        served = Served(stub, f"http://127.0.0.1:{ports[1]}", session, metadata)
        await becomes(served.ready, "ok")
        yield served


async def becomes(look: Any, wanted: Any, seconds: float = VIEW_SECONDS) -> None:
    """Wait until `look` returns `wanted`; the error holds the last other value."""
    seen: Any = None
    try:
        async with asyncio.timeout(seconds):
            while (seen := await look()) != wanted:
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"not in {seconds:.0f} s: {wanted}; last: {seen}") from None


async def refused(served: Served, **question: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(aio.AioRpcError) as caught:
        await served.ask(**question)
    return caught.value.code(), caught.value.details() or ""
