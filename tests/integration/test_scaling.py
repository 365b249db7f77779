"""The scaler against a real API server, operator, gateway and (simulated) engines: load, players, and what goes wrong."""

import asyncio
import copy
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml
from gameai_devcluster import install
from gameai_devcluster.api import Api, Json, path
from gameai_devcluster.operators import Operator
from gameai_devcluster.testing.waiting import condition, until
from support import scaled as support
from support.live import manifest
from support.scaled import (
    NAMESPACE,
    load,
    processes,
    scaled,
    slow_gateway,
    tier,
    wait_reason,
    wait_replicas,
)


class Exporter(BaseHTTPRequestHandler):
    """A double of dcgm-exporter on one node: what its GPUs say, by pod."""

    percent: ClassVar[dict[str, int]] = {}

    def do_GET(self) -> None:
        name = "DCGM_FI_DEV_GPU_UTIL"
        lines = [
            f'{name}{{gpu="{at}", UUID="GPU-{at}",namespace="{NAMESPACE}",pod="{pod}"}} {value}'
            for at, (pod, value) in enumerate(self.percent.items())
        ]
        text = "\n".join([f"# TYPE {name} gauge", *lines, ""]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def gateway(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    with slow_gateway(folder) as made:
        yield made


@pytest.fixture(scope="module")
def exporter() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Exporter) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture(scope="module")
def running(
    api: Api,
    operator_kubeconfig: Path,
    folder: Path,
    gateway: subprocess.Popen[bytes],
    exporter: str,
) -> Iterator[Operator]:
    """The operator, and the scaler under its own account."""
    scaler: dict[str, str | float] = {"gpu_metrics": exporter}
    operator: dict[str, str | float] = {"keda_scaler_address": "127.0.0.1:6000"}
    with processes(api, operator_kubeconfig, folder, scaler=scaler, operator=operator) as made:
        yield made


async def test_replicas_follow_the_load_out_and_in_and_say_why(api: Api, running: Operator) -> None:
    scaled(api)
    await asyncio.to_thread(wait_replicas, api, 1)
    async with load(40) as ai:
        ai.report_players(120, 8)
        found = await asyncio.to_thread(wait_replicas, api, 5)
        scaling = await asyncio.to_thread(
            until,
            "status reports the players",
            lambda: s if (s := tier(api)["status"]["scaling"]).get("players") == 120 else None,
            seconds=90,
        )
    assert condition(found, "ScalingActive")["reason"] == "ValidSignals"
    assert scaling["desiredReplicas"] == 5
    queue = scaling["signals"][0]
    assert (queue["name"], queue["wants"], queue["state"]) == ("queue", 5, "Fresh")
    # Between one answer and the next question a caller has nothing in flight.
    assert 33 <= int(queue["value"]) <= 40
    assert scaling["history"][0]["to"] == 5
    assert scaling["history"][0]["reason"] == "queue"
    await asyncio.to_thread(wait_replicas, api, 1)
    events = [each for each in api.list("Event", NAMESPACE) if each["reason"] == "Scaled"]
    assert any(each["message"].startswith("1 → 5 replicas; queue: ") for each in events)
    owners = {
        entry["manager"]: entry.get("subresource", "")
        for entry in tier(api)["metadata"]["managedFields"]
    }
    assert owners["gameai-scaler"] in ("status", "scale")


async def test_only_worlds_that_a_tier_admits_count_for_its_forecast(
    api: Api, running: Operator
) -> None:
    stranger = support.world()
    stranger["metadata"] = {"name": "frost", "namespace": "strangers"}
    stranger["spec"]["players"] = {"expected": 1_000_000}
    stranger["spec"]["roles"][0]["tierRef"] = {"name": "gold", "namespace": NAMESPACE}
    install.namespace(api, "strangers")
    api.apply(stranger, manager="kubectl")
    await asyncio.sleep(5)
    assert tier(api)["spec"]["replicas"] == 1
    # kube-apiserver labels each namespace with its name.
    selector = {"matchLabels": {"kubernetes.io/metadata.name": "strangers"}}
    admitted = {"from": "Selector", "namespaceSelector": selector}
    api.patch(path("ModelTier", NAMESPACE, "gold"), {"spec": {"access": admitted}})
    found = await asyncio.to_thread(wait_replicas, api, 12)
    assert found["status"]["scaling"]["history"][0]["reason"] == "players"
    api.patch(path("ModelTier", NAMESPACE, "gold"), {"spec": {"access": None}})
    await asyncio.to_thread(wait_replicas, api, 1)
    api.delete("GameWorld", "strangers", "frost")


async def test_busy_gpus_ask_for_one_replica_more(
    api: Api, running: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    scaled(api, gpu={"targetPercent": 70}, scaleIn={"windowSeconds": 900})
    await asyncio.to_thread(wait_replicas, api, 1)
    async with load(6):
        await asyncio.sleep(3)
        assert tier(api)["spec"]["replicas"] == 1, "no exporter names its pods yet"
        monkeypatch.setattr(Exporter, "percent", {"gold-on-demand-abc-q1w2e": 96})
        found = await asyncio.to_thread(wait_replicas, api, 2)
        monkeypatch.setattr(Exporter, "percent", {})
    scaling = found["status"]["scaling"]
    assert scaling["history"][0]["reason"] == "gpu"
    assert scaling["signals"][1]["target"] == "70 %"
    scaled(api)
    await asyncio.to_thread(wait_replicas, api, 1)


async def test_bounds_hold_whoever_writes_the_number(api: Api, running: Operator) -> None:
    scaled(api, minReplicas=2, maxReplicas=3)
    await asyncio.to_thread(wait_replicas, api, 2)
    async with load(64):
        found = await asyncio.to_thread(wait_replicas, api, 3)
        assert condition(found, "Ready")["status"] == "True"
        limited = await asyncio.to_thread(
            until,
            "at the maximum",
            lambda: tier(api)["status"]["scaling"]["limited"] == "TooManyReplicas",
            seconds=60,
        )
        assert limited
    scaled(api)
    await asyncio.to_thread(wait_replicas, api, 1)


async def test_a_recommendation_and_a_freeze_change_nothing(api: Api, running: Operator) -> None:
    scaled(api, mode="Recommend")
    await asyncio.to_thread(wait_reason, api, "ScalingActive", "Recommend")
    async with load(40):
        await asyncio.to_thread(
            until,
            "five are recommended",
            lambda: tier(api)["status"]["scaling"]["desiredReplicas"] == 5,
            seconds=60,
        )
        assert tier(api)["spec"]["replicas"] == 1
        scaled(api, freeze="All")
        await asyncio.to_thread(wait_reason, api, "ScalingActive", "Frozen")
        assert tier(api)["spec"]["replicas"] == 1
        scaled(api)
        await asyncio.to_thread(wait_replicas, api, 5)
    await asyncio.to_thread(wait_replicas, api, 1)


SCALED_OBJECTS: dict[str, Any] = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {
        "name": "scaledobjects.keda.sh",
        "annotations": {"api-approved.kubernetes.io": "unapproved, a test"},
    },
    "spec": {
        "group": "keda.sh",
        "scope": "Namespaced",
        "names": {"kind": "ScaledObject", "plural": "scaledobjects", "singular": "scaledobject"},
        "versions": [
            {
                "name": "v1alpha1",
                "served": True,
                "storage": True,
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "x-kubernetes-preserve-unknown-fields": True,
                    }
                },
            }
        ],
    },
}


def redefine(api: Api) -> None:
    """ScaledObjects as KEDA 2.20 defines them, in place of those there are."""
    api.delete("CustomResourceDefinition", None, "scaledobjects.keda.sh")
    until(
        "it is gone",
        lambda: api.find("CustomResourceDefinition", None, "scaledobjects.keda.sh") is None,
        seconds=60,
    )
    made = copy.deepcopy(SCALED_OBJECTS)
    schema: Json = {"type": "string", "enum": ["currentReplicasIfHigher", "scalingModifiers"]}
    for name in ("behavior", "fallback", "spec"):
        schema = {
            "type": "object",
            "x-kubernetes-preserve-unknown-fields": True,
            "properties": {name: schema},
        }
    made["spec"]["versions"][0]["schema"]["openAPIV3Schema"] = schema
    api.apply(made)


async def test_without_keda_or_with_an_old_one_a_tier_says_so_and_keeps_its_replicas(
    api: Api, running: Operator
) -> None:
    scaled(api, driver="KEDA", scaleIn={"windowSeconds": 900})
    found = await asyncio.to_thread(wait_reason, api, "ScalingActive", "KedaNotInstalled")
    assert "install KEDA 2.20 or later" in condition(found, "ScalingActive")["message"]
    async with load(40):
        await asyncio.to_thread(
            until,
            "five are recommended",
            lambda: tier(api)["status"]["scaling"]["desiredReplicas"] == 5,
            seconds=60,
        )
        assert tier(api)["spec"]["replicas"] == 1
    assert condition(tier(api), "Ready")["status"] == "True"
    api.apply(SCALED_OBJECTS)
    try:
        await asyncio.to_thread(wait_reason, api, "ScalingActive", "KedaTooOld")
        assert not api.list("ScaledObject", NAMESPACE)
        for _ in range(2):
            # A kind that was removed comes back without its objects.
            await asyncio.to_thread(redefine, api)
            await asyncio.to_thread(
                until,
                "the ScaledObject is there",
                lambda: api.find("ScaledObject", NAMESPACE, "gold"),
                seconds=60,
            )
            await asyncio.to_thread(wait_reason, api, "ScalingActive", "KedaNotReady")
    finally:
        api.delete("CustomResourceDefinition", None, "scaledobjects.keda.sh")
    scaled(api)
    await asyncio.to_thread(wait_reason, api, "ScalingActive", "ValidSignals")
    await asyncio.to_thread(wait_replicas, api, 1)


async def test_something_else_that_writes_the_number_is_named(api: Api, running: Operator) -> None:
    scaled(api)
    await asyncio.to_thread(wait_replicas, api, 1)
    path = f"/apis/gameai.dev/v1alpha1/namespaces/{NAMESPACE}/modeltiers/gold/scale"
    for number in (7, 8, 9):
        api.patch(path, {"spec": {"replicas": number}})
        await asyncio.to_thread(
            until,
            "the scaler wrote its own again, or gave up",
            lambda: (
                tier(api)["spec"]["replicas"] == 1
                or condition(tier(api), "ScalingActive").get("reason") == "OtherWriter"
            ),
            seconds=60,
        )
    found = await asyncio.to_thread(wait_reason, api, "ScalingActive", "OtherWriter")
    message = condition(found, "ScalingActive")["message"]
    # The API server does not always say who wrote through the scale subresource within a second of another.
    assert message.startswith(("kubectl-edit keeps writing", "something else keeps writing"))
    assert "keeps writing spec.replicas: remove the HorizontalPodAutoscaler" in message
    # A new object, which has no rival yet.
    api.delete("ModelTier", NAMESPACE, "gold")
    await asyncio.to_thread(
        until, "it is gone", lambda: api.find("ModelTier", NAMESPACE, "gold") is None, seconds=60
    )


async def test_without_gateways_no_replica_is_removed_and_the_tier_says_so(
    api: Api, running: Operator, gateway: subprocess.Popen[bytes]
) -> None:
    scaled(api)
    async with load(40):
        await asyncio.to_thread(wait_replicas, api, 5)
        gateway.kill()
        gateway.wait(60)
    found = await asyncio.to_thread(
        until,
        "ScalingActive, SignalsMissing",
        lambda: (
            live
            if condition(live := tier(api), "ScalingActive").get("reason") == "SignalsMissing"
            else None
        ),
        seconds=150,
    )
    assert found["spec"]["replicas"] == 5
    assert found["status"]["scaling"]["reason"] == "blind"
    assert running.metric("gameai_scaler_blind") == 1
    assert running.metric("gameai_scaler_scrape_errors_total") > 0


OPERATORS = {"Ready", "Reconciling", "Stalled", "ArgumentsChecked"}


def kinds(root: Json) -> set[str]:
    """The types of its conditions."""
    return {each["type"] for each in root["status"]["conditions"]}


def test_a_tier_that_is_not_scaled_any_more_keeps_its_number_and_no_report(
    api: Api, running: Operator
) -> None:
    document = manifest(NAMESPACE)
    document["spec"].pop("replicas", None)
    api.apply(document, manager="kubectl")
    # The scaler removes its report, and then the operator the condition that it repeated.
    found = until(
        "report and conditions of the scaler are gone",
        lambda: (
            live
            if "scaling" not in (live := tier(api))["status"] and kinds(live) == OPERATORS
            else None
        ),
        seconds=60,
    )
    assert found["spec"]["replicas"] == 5
    assert yaml.safe_dump(found)
