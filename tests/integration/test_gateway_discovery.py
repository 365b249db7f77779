"""The gateway on a cluster: it finds tiers, pods, worlds and keys by watch, under the chart's own rights."""

from pathlib import Path

import grpc
import pytest
from gameai_devcluster import install
from gameai_devcluster.api import Api, Json
from grpc import aio
from support.discovery import (
    ARCHETYPES_SECONDS,
    DEFAULT,
    ENGINE,
    NPCS,
    becomes,
    gateway,
    living,
    npcs,
    ready,
    refused,
    replica,
)
from support.inference import engine, eventually, outward

pytestmark = pytest.mark.usefixtures("operator")


HIDING = NPCS.replace("patrol", "hide")


def condition(api: Api, namespace: str, kind: str) -> Json:
    entries = api.get("GameWorld", namespace, "moor").get("status", {}).get("conditions", [])
    found: Json = next((each for each in entries if each["type"] == kind), {})
    return found


async def test_a_world_that_is_applied_is_answered_by_its_tiers_pods(
    api: Api, games: str, tmp_path: Path
) -> None:
    async with (
        gateway(api, games, tmp_path) as served,
        engine("gold", host=outward()) as (_, address),
    ):
        # No pod is there: the fallback chain answers, and where the role has none, the call fails.
        assert (await served.ask()).text == "patrol"
        assert (await served.ask()).source == DEFAULT
        code, _ = await refused(served, role="strict")
        assert code is grpc.StatusCode.UNAVAILABLE
        replica(api, games, "gold-1", address)
        await becomes(served.source, ENGINE)
        assert (await served.ask("strict")).source == ENGINE
        code, message = await refused(served, role="dance")
        assert code is grpc.StatusCode.NOT_FOUND
        assert "available: reaction, strict" in message


async def test_a_pod_that_is_asked_to_end_or_is_not_ready_gets_nothing_more(
    api: Api, games: str, tmp_path: Path
) -> None:
    async with (
        gateway(api, games, tmp_path) as served,
        engine("gold", host=outward()) as (_, address),
    ):
        replica(api, games, "gold-1", address)
        await becomes(served.source, ENGINE)
        ready(api, games, "gold-1", so=False)
        await becomes(served.source, DEFAULT)
        ready(api, games, "gold-1")
        await becomes(served.source, ENGINE)
        api.delete("Pod", games, "gold-1")
        assert "deletionTimestamp" in api.get("Pod", games, "gold-1")["metadata"]
        await becomes(served.source, DEFAULT)


async def test_who_may_speak_for_a_world_is_what_its_spec_says(
    api: Api, games: str, tmp_path: Path
) -> None:
    async with gateway(api, games, tmp_path, account="stranger") as served:
        code, message = await refused(served)
        assert code is grpc.StatusCode.PERMISSION_DENIED
        assert f"{games}/stranger does not speak for any world" in message
        callers = [{"namespace": games, "serviceAccount": "stranger"}]
        api.apply(living(games, callers=callers), manager="kubectl")

        async def let_in() -> bool:
            try:
                return bool((await served.ask()).text)
            except aio.AioRpcError:
                return False

        await becomes(let_in, wanted=True)
        # A token for the API server itself is none for the gateway.
        other = install.token(api, games, "match")
        served.metadata[0] = ("authorization", f"Bearer {other}")
        code, message = await refused(served)
        assert code is grpc.StatusCode.UNAUTHENTICATED
        assert "audience is not gameai-gateway" in message


async def test_archetypes_are_new_at_once_and_broken_ones_leave_the_last_good_ones(
    api: Api, games: str, tmp_path: Path
) -> None:
    async with gateway(api, games, tmp_path) as served:

        async def answer() -> str:
            return str((await served.ask()).text)

        assert await answer() == "patrol"
        npcs(api, games, HIDING)
        await becomes(answer, "hide", ARCHETYPES_SECONDS)
        npcs(api, games, NPCS.replace("defaults", "defualts"))

        def reported() -> bool:
            return condition(api, games, "ArchetypesValid").get("reason") == "ArchetypesInvalid"

        await eventually(reported, 30)
        message = condition(api, games, "ArchetypesValid")["message"]
        assert "npcs.yaml line 3: archetypes.guard.defualts" in message
        assert await answer() == "hide"
        # A gateway that comes only now has them too.
        async with gateway(api, games, tmp_path) as other:
            assert (await other.ask()).text == "hide"
        npcs(api, games)
        await becomes(answer, "patrol", ARCHETYPES_SECONDS)
        assert condition(api, games, "ArchetypesValid")["status"] == "True"
