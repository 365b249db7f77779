"""The floor that an operator is held against: a bare client that writes the same objects, and nothing else."""

import asyncio
import json
import ssl
import time
from typing import Any

import aiohttp
from gameai_devcluster.api import Api, Json, path, path_of
from gameai_devcluster.testing.rendering import decided, owned

IN_FLIGHT = 10
STATUS_WRITES = 2


def write_all(api: Api, tiers: list[Json]) -> float:
    """Write what an operator would for each tier; the time (seconds since the epoch) at which it began."""
    return asyncio.run(_write_all(api, tiers))


async def _write_all(api: Api, tiers: list[Json]) -> float:
    credentials = api.credentials
    context = ssl.create_default_context(cafile=credentials.ca_file)
    assert credentials.certificate_file
    context.load_cert_chain(credentials.certificate_file, credentials.key_file)
    connector = aiohttp.TCPConnector(ssl=context, limit=64)
    waiting = tiers[::-1]
    async with aiohttp.ClientSession(connector=connector) as session:

        async def apply(url_path: str, document: Json) -> None:
            url = f"{credentials.server}{url_path}?fieldManager=floor&force=true"
            headers = {"Content-Type": "application/apply-patch+yaml"}
            async with session.patch(url, data=json.dumps(document), headers=headers) as answer:
                text = await answer.text()
                assert answer.status < 300, text

        async def work() -> None:
            while waiting:
                tier = waiting.pop()
                for document in objects(tier):
                    await apply(path_of(document), document)
                for number in range(STATUS_WRITES):
                    await apply(status_path(tier), status(tier, number))

        began = time.time()
        await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))
    return began


def objects(tier: Json) -> list[Json]:
    """The objects that the operator renders for a tier, owned by it."""
    return owned(tier, decided(tier))


def status_path(tier: Json) -> str:
    metadata = tier["metadata"]
    return path("ModelTier", metadata["namespace"], metadata["name"]) + "/status"


def status(tier: Json, number: int) -> Json:
    """A status of the size that the operator writes, different each time."""
    conditions: list[dict[str, Any]] = [
        {
            "type": kind,
            "status": "True" if number else "False",
            "reason": "Floor",
            "message": f"{number} of 2 replicas answer",
            "lastTransitionTime": "2026-11-22T10:00:00Z",
            "observedGeneration": 1,
        }
        for kind in ("Ready", "Reconciling", "Stalled", "ArgumentsChecked")
    ]
    metadata = tier["metadata"]
    return {
        "apiVersion": "gameai.dev/v1alpha1",
        "kind": "ModelTier",
        "metadata": {"name": metadata["name"], "namespace": metadata["namespace"]},
        "status": {
            "observedGeneration": 1,
            "replicas": number,
            "readyReplicas": number,
            "selector": "app.kubernetes.io/name=vllm",
            "capacity": {"onDemand": number, "spot": number},
            "endpoint": "http://floor.svc:8000",
            "conditions": conditions,
        },
    }
