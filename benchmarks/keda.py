"""How soon the scaler answers KEDA when 100 calls come at once, with an API server and after it is gone."""

import asyncio
import math
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
from gameai_devcluster import cluster as clusters
from gameai_devcluster import install
from gameai_devcluster.operators import Launch, Operator
from gameai_devcluster.processes import free_port
from gameai_operator.keda import externalscaler_pb2 as wire
from gameai_operator.keda.externalscaler_pb2_grpc import ExternalScalerStub

from benchmarks.report import Row, write
from benchmarks.stage import Stage, stage

CALLS, BURSTS, TIERS, LIMIT_MS = 100, 40, 20, 50.0
NAMESPACE, CONNECTIONS = "scaled", 4


def main() -> None:
    """Measure and report."""
    with stage() as played:
        port = free_port()
        scaler = started(played, port)
        rows = [row("API server present", asyncio.run(measure(port)))]
        clusters.halt(played.cluster, "kube-apiserver")
        # A recommendation is given out for 60 s: later ones were decided without an API server.
        time.sleep(80)
        rows.append(row("API server gone for 80 s", asyncio.run(measure(port))))
        scaler.kill()
    write("keda", rows)


def started(played: Stage, port: int) -> Operator:
    """A scaler that has decided for every tier."""
    install.namespace(played.api, NAMESPACE)
    for number in range(TIERS):
        played.api.apply(tier(number))
    file = played.folder / "scaler.kubeconfig"
    launch = Launch(
        kubeconfig=install.operator_kubeconfig(played.api, file, account="gameai-operator-scaler"),
        log=played.folder / "scaler.log",
        command="scaler",
        flags={
            "lease_name": "gameai-scaler",
            "scaling_seconds": 1,
            "keda_port": port,
            "gateways": idle_gateway(),
        },
    )
    scaler = Operator(launch).wait_ready()
    time.sleep(3)
    return scaler


class Page(BaseHTTPRequestHandler):
    """The page of an idle gateway: without one the scaler recommends nothing."""

    def do_GET(self) -> None:
        text = b"# TYPE gameai_gateway_queue_depth gauge\n"
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def idle_gateway() -> str:
    """The address of such a page, until the process ends."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"127.0.0.1:{server.server_address[1]}"


def tier(number: int) -> dict[str, object]:
    """A tier that KEDA scales."""
    return {
        "apiVersion": "gameai.dev/v1alpha1",
        "kind": "ModelTier",
        "metadata": {"name": f"gold-{number}", "namespace": NAMESPACE},
        "spec": {
            "class": "Gold",
            "model": {"source": {"huggingFace": {"repository": "a/b"}}},
            "scaling": {"driver": "KEDA", "maxReplicas": 9},
        },
    }


async def measure(port: int) -> list[float]:
    """Milliseconds of each call of all bursts. Raises `grpc.aio.AioRpcError` where one is not answered."""
    found: list[float] = []
    options = [("grpc.use_local_subchannel_pool", 1)]
    channels = [
        grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) for _ in range(CONNECTIONS)
    ]
    stubs = [ExternalScalerStub(each) for each in channels]

    async def call(number: int) -> None:
        ref = wire.ScaledObjectRef(name=f"gold-{number % TIERS}", namespace=NAMESPACE)
        began = time.perf_counter()
        await stubs[number % CONNECTIONS].GetMetrics(
            wire.GetMetricsRequest(scaledObjectRef=ref, metricName="replicas"), timeout=10
        )
        found.append(1000 * (time.perf_counter() - began))

    try:
        for _ in range(BURSTS):
            await asyncio.gather(*map(call, range(CALLS)))
            await asyncio.sleep(0.25)
    finally:
        for each in channels:
            await each.close()
    return found


def row(name: str, found: list[float]) -> Row:
    """The 99th percentile of the calls."""
    p99 = sorted(found)[math.ceil(0.99 * len(found)) - 1]
    bar = f"{CALLS} calls at once, {name}: p99"
    return Row(bar=bar, value=p99, limit=LIMIT_MS, unit="ms", rounds=(round(p99, 3),))


if __name__ == "__main__":
    main()
