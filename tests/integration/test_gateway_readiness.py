"""The gateway on a cluster: when it is ready, what it serves while the API server is gone, and how slots are divided."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import grpc
import pytest
from gameai.inference.v1 import inference_pb2 as pb
from gameai.inference.v1 import inference_pb2_grpc
from gameai_devcluster import cluster as clusters
from gameai_devcluster import install
from gameai_devcluster.api import Api, Json, path
from gameai_devcluster.testing.proxy import Answer, Arrival, DropError, Proxy, status_answer
from gameai_devcluster.testing.waiting import until
from gameai_operator.controller.manifest import PAUSED
from grpc import aio
from support.discovery import (
    ARCHETYPES_SECONDS,
    DEFAULT,
    ENGINE,
    NPCS,
    SERVICE,
    Served,
    becomes,
    gateway,
    living,
    npcs,
    published,
    ready,
    refused,
    release,
    replica,
)
from support.inference import engine, outward, program
from support.live import manifest

pytestmark = pytest.mark.usefixtures("operator")


JSON = {"Content-Type": "application/json"}


@pytest.fixture
def proxy(cluster: clusters.Cluster, api: Api) -> Iterator[Proxy]:
    assert api.credentials.ca_file
    made = Proxy(api.credentials.server, api.credentials.ca_file)
    yield made
    made.close()


async def test_while_the_api_server_is_gone_the_last_view_is_served_and_metrics_say_so(
    api: Api, games: str, tmp_path: Path, proxy: Proxy
) -> None:
    def gone(_: Arrival) -> Answer | None:
        raise DropError

    async with (
        gateway(api, games, tmp_path, proxy.url) as served,
        engine("gold", host=outward()) as (_, address),
    ):

        async def connected() -> set[float]:
            found = await served.metrics()
            name = "gameai_gateway_watch_connected"
            return {value for sample, value in found.items() if sample.startswith(name)}

        replica(api, games, "gold-1", address)
        await becomes(served.source, ENGINE)
        assert await connected() == {1.0}
        proxy.fault = gone
        proxy.cut_watches()
        await becomes(connected, {0.0})
        assert await served.source() == ENGINE
        assert await served.ready() == "ok", "a gateway that serves is not taken out of its Service"
        # What happens meanwhile is made up for.
        ready(api, games, "gold-1", so=False)
        assert await served.source() == ENGINE
        proxy.fault = None
        await becomes(connected, {1.0}, 30)
        await becomes(served.source, DEFAULT)


@asynccontextmanager
async def unready(
    api: Api, namespace: str, folder: Path, proxy: Proxy
) -> AsyncIterator[tuple[Served, int]]:
    """A gateway behind a proxy, of which nothing is asked yet, and its port."""
    token = folder / "gateway.token"
    token.write_text(install.token(api, install.NAMESPACE, SERVICE))
    async with (
        program(
            *("gameai.gateway", "--cluster", f"--api-server={proxy.url}"),
            *(f"--api-token={token}", f"--api-ca={api.credentials.ca_file}"),
            *(f"--namespaces={namespace}", "--address=127.0.0.1", "--port=0", "--health-port=0"),
        ) as (_, ports),
        aiohttp.ClientSession() as session,
    ):
        yield Served(None, f"http://127.0.0.1:{ports[1]}", session, []), ports[0]


async def test_a_gateway_is_not_ready_before_it_knows_what_there_is(
    api: Api, games: str, tmp_path: Path, proxy: Proxy
) -> None:
    def no_views(arrival: Arrival) -> Answer | None:
        if arrival.path.endswith("/worldviews"):
            raise DropError
        return None

    proxy.fault = no_views
    async with unready(api, games, tmp_path, proxy) as (served, port):
        missing = f"not listed yet: worldviews of namespace {games}"
        await becomes(served.ready, missing)
        async with aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            served.stub = inference_pb2_grpc.InferenceServiceStub(channel)
            code, message = await refused(served)
        assert code is grpc.StatusCode.UNAVAILABLE, "a client would take any other word for final"
        assert f"cannot answer yet: {missing}" in message
        proxy.fault = None
        await becomes(served.ready, "ok", 30)


async def test_a_gateway_waits_for_an_operator_that_has_not_published_its_worlds(
    api: Api, games: str, tmp_path: Path, proxy: Proxy
) -> None:
    """As in an upgrade from a release that published none: a view of no worlds would refuse everybody."""
    empty = {"kind": "WorldViewList", "items": [], "metadata": {"resourceVersion": "1"}}

    def no_views(arrival: Arrival) -> Answer | None:
        if not arrival.path.endswith("/worldviews"):
            return None
        if arrival.watch:
            raise DropError
        return Answer(status=200, headers=JSON, body=json.dumps(empty))

    proxy.fault = no_views
    async with unready(api, games, tmp_path, proxy) as (served, _):
        unpublished = (
            f"the operator has published no WorldView yet of 1 worlds, such as {games}/moor"
        )
        await becomes(served.ready, unpublished)
        proxy.fault = None
        await becomes(served.ready, "ok", 30)


async def test_a_namespace_that_may_not_be_listed_holds_up_no_other(
    api: Api, games: str, tmp_path: Path, proxy: Proxy
) -> None:
    def forbidden(arrival: Arrival) -> Answer | None:
        return status_answer(403, "Forbidden") if "/namespaces/gone/" in arrival.path else None

    proxy.fault = forbidden
    npcs(api, games)
    async with (
        gateway(api, games, tmp_path, proxy.url, listed=f"{games},gone") as served,
        engine("gold", host=outward()) as (_, address),
    ):
        replica(api, games, "gold-1", address)
        await becomes(served.source, ENGINE, ARCHETYPES_SECONDS)


async def test_slots_are_divided_among_the_gateways_of_its_own_service(
    api: Api, games: str, tmp_path: Path
) -> None:
    api.apply(manifest(games, replicas=0, engine={"vllm": {"args": ["--max-num-seqs=12"]}}))
    slices = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"{SERVICE}-x",
            "namespace": install.NAMESPACE,
            "labels": {"kubernetes.io/service-name": SERVICE},
        },
        "addressType": "IPv4",
        "endpoints": [{"addresses": [f"10.9.0.{n}"]} for n in (1, 2, 3)],
        "ports": [],
    }
    async with (
        gateway(api, games, tmp_path) as served,
        engine("gold", host=outward()) as (_, address),
    ):
        replica(api, games, "gold-1", address)

        async def slots() -> float | None:
            found = await served.metrics()
            return found.get(f'gameai_gateway_slots{{tier="{games}/gold"}}')

        await becomes(slots, 12.0)
        where = f"/apis/discovery.k8s.io/v1/namespaces/{install.NAMESPACE}/endpointslices"
        api.request("POST", where, body=slices)
        try:
            await becomes(slots, 4.0)
        finally:
            api.request("DELETE", f"{where}/{SERVICE}-x")
        await becomes(slots, 12.0)


async def test_a_world_that_is_made_again_shares_nothing_with_its_namesake(
    api: Api, games: str, tmp_path: Path
) -> None:
    cached = NPCS.replace("defaults: [patrol]}", "defaults: [patrol], cache: {fields: {}}}")
    npcs(api, games, cached)
    async with (
        gateway(api, games, tmp_path) as served,
        engine("gold", host=outward()) as (_, address),
    ):
        replica(api, games, "gold-1", address)
        await becomes(served.source, ENGINE, ARCHETYPES_SECONDS)
        await becomes(served.source, pb.SOURCE_FRESH_CACHE, ARCHETYPES_SECONDS)
        before = api.get("GameWorld", games, "moor")["metadata"]["uid"]
        api.delete("GameWorld", games, "moor")
        until("it is gone", lambda: not api.find("WorldView", games, "moor"), seconds=30)
        code, _ = await gone(served)
        assert code is grpc.StatusCode.PERMISSION_DENIED
        api.apply(living(games), manager="kubectl")
        until("it is there", lambda: published(api, games), seconds=30)
        assert api.get("GameWorld", games, "moor")["metadata"]["uid"] != before
        first = None
        async with asyncio.timeout(ARCHETYPES_SECONDS):
            while first is None:
                first = await _source_or_none(served)
        assert first == ENGINE


async def gone(served: Served) -> tuple[grpc.StatusCode, str]:
    """The refusal, once the gateway has heard that the world is gone."""
    await becomes(lambda: _source_or_none(served), None)
    return await refused(served)


async def _source_or_none(served: Served) -> int | None:
    try:
        return await served.source()
    except aio.AioRpcError:
        await asyncio.sleep(0.05)
        return None


async def test_what_others_write_speaks_for_no_world_and_ends_no_gateway(
    api: Api, games: str, tmp_path: Path
) -> None:
    """Everything in the namespace that a tenant may write, but the worlds themselves."""
    async with gateway(api, games, tmp_path) as served:
        deep = api.get("ConfigMap", games, "moor-world")
        deep["data"]["world.json"] = "[" * 100_000
        deep["metadata"].pop("managedFields")
        api.request("PUT", path("ConfigMap", games, "moor-world"), body=deep)
        await asyncio.sleep(1.0)
        assert (await served.ask()).text == "patrol"
        async with gateway(api, games, tmp_path, account="stranger") as other:
            code, _ = await refused(other)
        assert code is grpc.StatusCode.PERMISSION_DENIED


async def test_a_paused_worlds_access_ends_with_its_tiers(
    api: Api, games: str, tmp_path: Path
) -> None:
    """A tenant pauses its own world, and the owner of the tier shuts that namespace out."""
    shared = f"{games}-shared"
    install.namespace(api, shared)
    install.rights(api)
    here = {"matchLabels": {"kubernetes.io/metadata.name": games}}
    selector = {"from": "Selector", "namespaceSelector": here}
    api.apply(manifest(shared, replicas=0, access=selector), manager="kubectl")
    reference = {"name": "gold", "namespace": shared}
    role: Json = {"name": "reaction", "tierRef": reference, "deadlineMs": 500}
    api.apply(living(games, roles=[role]), manager="kubectl")

    def admitted() -> bool:
        roles = api.get("WorldView", games, "moor")["spec"]["roles"]
        return [(each["namespace"], each["admitted"]) for each in roles] == [(shared, True)]

    until("the world may use the tier", admitted, seconds=30)
    async with (
        gateway(api, games, tmp_path, listed=f"{games},{shared}") as served,
        engine("gold", host=outward()) as (_, address),
    ):
        replica(api, shared, "gold-1", address)
        await becomes(served.source, ENGINE)
        where = path("GameWorld", games, "moor")
        api.patch(where, {"metadata": {"annotations": {PAUSED: "true"}}})
        there = {"matchLabels": {"kubernetes.io/metadata.name": "elsewhere"}}
        selector = {"from": "Selector", "namespaceSelector": there}
        api.apply(manifest(shared, replicas=0, access=selector), manager="kubectl")
        await becomes(served.source, DEFAULT, 30)
    release(api, shared)
    api.delete("ModelTier", shared, "gold")
