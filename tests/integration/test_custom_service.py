"""The example of a custom service, as the documentation says to run it on a laptop."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import grpc
from gameai_devcluster.install import ROOT
from gameai_devcluster.processes import free_port
from gameai_devcluster.testing.waiting import until
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.worlds import configuration

SERVING = health_pb2.HealthCheckResponse.SERVING


def test_the_custom_service_has_health_settings_and_a_calm_end(tmp_path: Path) -> None:
    config = tmp_path / "world.json"
    service = {"name": "duel-judge", "image": "duel:1", "settings": {"mood": "grim"}}
    config.write_text(configuration(services=[service]))
    port = free_port()
    environment = {
        "GAMEAI_CONFIG": str(config),
        "GAMEAI_SERVICE": "duel-judge",
        "PORT": str(port),
        "DRAIN_SECONDS": "1",
    }
    script = str(ROOT / "examples/custom-service/service.py")
    with (
        subprocess.Popen([sys.executable, script], env={**os.environ, **environment}) as process,
        grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        try:
            checks: Any = health_pb2_grpc.HealthStub(channel)
            ready = health_pb2.HealthCheckRequest()
            answer = checks.Check(ready, wait_for_ready=True, timeout=30)
            assert answer.status == SERVING
            judge: Any = channel.unary_unary("/duel.v1.JudgeService/Judge")
            assert judge(b"Anna", timeout=10) == b"grim: Anna wins"
            process.send_signal(signal.SIGTERM)
            until("it drains", lambda: checks.Check(ready, timeout=5).status != SERVING, seconds=10)
            assert judge(b"Anna", timeout=10) == b"grim: Anna wins"
            assert process.wait(30) == 0
        finally:
            process.kill()
