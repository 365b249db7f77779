"""A world's own service counts its players: real scaler, operator, gateway and metrics pages; pods are simulated."""

import http.server
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from gameai_devcluster.api import Api, Json, path
from gameai_devcluster.operators import Operator
from gameai_devcluster.processes import free_port
from gameai_devcluster.testing.waiting import condition, until
from support.scaled import (
    NAMESPACE,
    processes,
    scaled,
    slow_gateway,
    tier,
    wait_reason,
    world,
)

PORT = free_port()
HOSTS = ("127.0.0.12", "127.0.0.13")
SERVICE = {"name": "sessions", "image": "registry.example/sessions:1", "replicas": 2}


class Page(http.server.BaseHTTPRequestHandler):
    """The metrics of one pod, as a game's own server would write them."""

    def do_GET(self) -> None:
        text = self.server.text.encode()  # type: ignore[attr-defined] # set by the test
        self.send_response(200)
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def pages() -> Iterator[list[http.server.ThreadingHTTPServer]]:
    found = [http.server.ThreadingHTTPServer((host, PORT), Page) for host in HOSTS]
    for each in found:
        each.text = ""  # type: ignore[attr-defined] # read by the handler
        threading.Thread(target=each.serve_forever, daemon=True).start()
    yield found
    for each in found:
        each.shutdown()
        each.server_close()


@pytest.fixture(scope="module")
def gateway(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    with slow_gateway(folder) as made:
        yield made


@pytest.fixture
def running(
    api: Api, operator_kubeconfig: Path, folder: Path, gateway: subprocess.Popen[bytes]
) -> Iterator[Operator]:
    with processes(api, operator_kubeconfig, folder, scaler={"agent_port": 0}, operator={}) as made:
        yield made
        api.apply(world(), manager="kubectl")
        api.delete("ModelTier", NAMESPACE, "gold")


def count(pages: list[http.server.ThreadingHTTPServer], *online: int) -> None:
    """What the pods say from now on; None of them says how many are in a lobby."""
    for page, players in zip(pages, online, strict=True):
        text = (
            f'# TYPE moor_online gauge\nmoor_online{{zone="a"}} {players}\nmoor_online_max 9999\n'
        )
        page.text = text  # type: ignore[attr-defined] # read by the handler


def addressed(api: Api) -> None:
    """The addresses of the pages for the pods of the service."""

    def found() -> list[Json] | None:
        pods = api.list("Pod", NAMESPACE, selector="gameai.dev/service=sessions")
        ready = [each for each in pods if condition(each, "Ready").get("status") == "True"]
        return pods if len(pods) == len(ready) == len(HOSTS) else None

    for pod, host in zip(
        until("the service has two ready pods", found, seconds=60), HOSTS, strict=True
    ):
        body = {"status": {"podIP": host, "podIPs": [{"ip": host}]}}
        api.patch(f"{path('Pod', NAMESPACE, pod['metadata']['name'])}/status", body)


def counts(api: Api, players: int) -> bool:
    signals = tier(api)["status"].get("scaling", {}).get("signals", [])
    text = next((each.get("value", "") for each in signals if each["name"] == "players"), "")
    return bool(text.startswith(f"{players} players"))


def test_a_tier_follows_the_players_that_a_worlds_service_counts(
    api: Api, running: Operator, pages: list[http.server.ThreadingHTTPServer]
) -> None:
    counted = world()
    counted["spec"] |= {
        "services": [SERVICE],
        "players": {
            "expected": 10,
            "maximum": 900,
            "source": {"service": "sessions", "gauge": "moor_online", "port": PORT},
        },
    }
    api.apply(counted, manager="kubectl")
    scaled(api, players={"requestsPerPlayerPerMinute": "10"})
    addressed(api)
    count(pages, 70, 50)
    until("both pods count", lambda: counts(api, 120), seconds=60)
    wait_reason(api, "ScalingActive", "ValidSignals")
    count(pages, 700, 500)
    until("no more than the maximum counts", lambda: counts(api, 900), seconds=60)
