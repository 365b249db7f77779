"""The floor that an operator is held against: a bare client that writes the same objects, and nothing else."""

import asyncio
import json
import ssl
import time

import aiohttp
from gameai_devcluster import install
from gameai_devcluster.api import Api, Json, path, path_of
from gameai_devcluster.testing.rendering import decided, owned
from gameai_operator.kinds import kinds
from gameai_operator.settings import Settings

IN_FLIGHT = 10
STATUS_WRITES = 2


def write_all(api: Api, roots: list[Json]) -> float:
    """Write what an operator would for each; the time (seconds since the epoch) at which it began."""
    return asyncio.run(_write_all(api, roots))


async def _write_all(api: Api, roots: list[Json]) -> float:
    # As the operator, which alone may write all of it.
    credentials = install.as_account(api, install.NAMESPACE, install.ACCOUNT).credentials
    context = ssl.create_default_context(cafile=credentials.ca_file)
    connector = aiohttp.TCPConnector(ssl=context, limit=64)
    waiting = roots[::-1]
    async with aiohttp.ClientSession(connector=connector) as session:

        async def apply(url_path: str, document: Json) -> None:
            url = f"{credentials.server}{url_path}?fieldManager=floor&force=true"
            headers = {
                "Content-Type": "application/apply-patch+yaml",
                "Authorization": f"Bearer {credentials.token}",
            }
            async with session.patch(url, data=json.dumps(document), headers=headers) as answer:
                text = await answer.text()
                assert answer.status < 300, text

        async def work() -> None:
            while waiting:
                root = waiting.pop()
                for document in objects(root):
                    await apply(path_of(document), document)
                for number in range(STATUS_WRITES):
                    await apply(status_path(root), status(root, number))

        began = time.time()
        await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))
    return began


def objects(root: Json) -> list[Json]:
    """The objects that the operator renders for a root, owned by it."""
    return owned(root, decided(root))


def status_path(root: Json) -> str:
    metadata = root["metadata"]
    return path(root["kind"], metadata["namespace"], metadata["name"]) + "/status"


def status(root: Json, number: int) -> Json:
    """A status of the size that the operator writes, different each time."""
    kind = kinds(Settings())[root["kind"]]
    decided_status = decided(root).status
    conditions = [
        {
            "type": each,
            "status": "True" if number else "False",
            "reason": "Floor",
            "message": f"{number} of 2 replicas are ready",
            "lastTransitionTime": "2026-11-22T10:00:00Z",
            "observedGeneration": 1,
        }
        for each in kind.condition_types
    ]
    metadata = root["metadata"]
    return {
        "apiVersion": "gameai.dev/v1alpha1",
        "kind": root["kind"],
        "metadata": {"name": metadata["name"], "namespace": metadata["namespace"]},
        "status": {**decided_status, "conditions": conditions},
    }
