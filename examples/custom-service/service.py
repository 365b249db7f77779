"""A custom game service in Python: one method, health, a clean shutdown. Needs grpcio and grpcio-health-checking."""

import json
import os
import signal
import sys
import threading
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

CONFIG = json.loads(Path(os.environ["GAMEAI_CONFIG"]).read_text())
NAME = os.environ["GAMEAI_SERVICE"]
if NAME not in CONFIG["services"]:
    sys.exit(
        f"GAMEAI_SERVICE {NAME}: the world has {', '.join(CONFIG['services'])}; add it to services in GAMEAI_CONFIG"
    )
OWN = CONFIG["services"][NAME]
# Own images may have any settings; the values are texts.
SETTINGS = OWN.get("settings", {})
# The port of the manifest. On a laptop PORT, or without an endpoint in the file the default port of services.
PORT = os.environ.get("PORT") or OWN.get("endpoint", "").rpartition(":")[2] or "50051"
# Callers find new pods because connections end; see "Write it" in docs/how-to/custom-service.md.
OPTIONS = [("grpc.max_connection_age_ms", 10_000), ("grpc.max_connection_age_grace_ms", 30_000)]
DRAIN_SECONDS = float(os.environ.get("DRAIN_SECONDS", "11"))


def judge(request: bytes, _: grpc.ServicerContext) -> bytes:
    """Bytes in, bytes out: a real service registers the code that protoc generates from its .proto file."""
    return f"{SETTINGS.get('mood', 'fair')}: {request.decode()} wins".encode()


server = grpc.server(futures.ThreadPoolExecutor(max_workers=8), options=OPTIONS)
handler: Any = grpc.unary_unary_rpc_method_handler(judge)
own = grpc.method_handlers_generic_handler("duel.v1.JudgeService", {"Judge": handler})
server.add_generic_rpc_handlers((own,))
checks = health.HealthServicer()
health_pb2_grpc.add_HealthServicer_to_server(checks, server)
port = server.add_insecure_port(f"[::]:{PORT}")

stop = threading.Event()
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, lambda *_: stop.set())
server.start()
# The probe asks for the service "".
checks.set("", health_pb2.HealthCheckResponse.SERVING)
print(f"listening on {port}", flush=True)
stop.wait()
checks.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
print(f"draining for {DRAIN_SECONDS:g} s; DRAIN_SECONDS=0 ends at once", flush=True)
# Callers that have just resolved the name may still come.
threading.Event().wait(DRAIN_SECONDS)
server.stop(grace=10).wait()
