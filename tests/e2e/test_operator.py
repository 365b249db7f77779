"""The operator's own pods: how they start, and what their end costs."""

import contextlib
import re
import time
from collections.abc import Callable

import psutil
import pytest
import urllib3
from gameai_devcluster import e2e
from gameai_devcluster.api import Api, Json, path
from gameai_devcluster.testing.waiting import until, world_settled
from support import real
from support.live import world

Kubectl = Callable[..., str]
START_SECONDS = 2.0
KILLED_SECONDS = 20.0


def leader(api: Api) -> str:
    return str(api.get("Lease", real.SYSTEM, "gameai-operator")["spec"]["holderIdentity"])


def test_it_is_ready_soon_after_its_process_starts(
    examples: list[Json], environment: e2e.Environment, api: Api, figures: list[str]
) -> None:
    if not environment.real_node:
        pytest.skip("takes a node whose processes can be seen")
    standby = next(e for e in real.operator_pods(api) if e["metadata"]["name"] != leader(api))
    known = {each["metadata"]["uid"] for each in real.operator_pods(api)}
    api.delete("Pod", real.SYSTEM, standby["metadata"]["name"])

    def fresh() -> Json | None:
        found = [e for e in real.operator_pods(api) if e["metadata"]["uid"] not in known]
        return next((e for e in found if e["status"].get("podIP")), None)

    pod = until("a new pod runs", fresh, seconds=60)
    url = f"http://{pod['status']['podIP']}:8080/readyz"
    until("it is ready", lambda: answers(url), seconds=10 * START_SECONDS)
    seconds = time.time() - newest_start()
    figures.append(f"operator's process to /readyz: {seconds:.2f} s (bar {START_SECONDS} s)")
    assert seconds < 10 * START_SECONDS
    real.wait_operator(api)


def answers(url: str) -> bool:
    try:
        return urllib3.request("GET", url, retries=False, timeout=1).status == 200
    except urllib3.exceptions.HTTPError:
        return False


def newest_start() -> float:
    """When the newest operator of this machine was started."""
    return max(
        float(each.info["create_time"])
        for each in psutil.process_iter(["cmdline", "create_time"])
        if operates(each)
    )


def kill(api: Api, name: str, *, real_node: bool) -> None:
    """End a pod as a machine's failure would: without a word to its process, where that can be reached.

    The process goes first: a kubelet that sees the deletion sends SIGTERM, upon which the Lease is given up.
    """
    for process in psutil.process_iter(["cmdline"]) if real_node else ():
        with contextlib.suppress(psutil.Error):
            if operates(process) and process.environ().get("POD_NAME") == name:
                process.kill()
    api.delete("Pod", real.SYSTEM, name, gracePeriodSeconds=0)


def operates(process: psutil.Process) -> bool:
    return (process.info["cmdline"] or [])[1:4] == ["-m", "gameai_operator", "run"]


def test_the_standby_goes_on_when_the_leaders_pod_is_killed(
    examples: list[Json],
    environment: e2e.Environment,
    api: Api,
    kubectl: Kubectl,
    figures: list[str],
) -> None:
    before = leader(api)
    began = time.monotonic()
    kill(api, before, real_node=environment.real_node)
    api.apply(world("e2e", name="after"), manager="kubectl")
    until("another leads", lambda: leader(api) not in ("", before), seconds=10 * KILLED_SECONDS)
    figures.append(
        f"another operator leads after {time.monotonic() - began:.1f} s (bar {KILLED_SECONDS:.0f} s)"
    )
    until("it acts", lambda: world_settled(api.get("GameWorld", "e2e", "after")), seconds=120)
    assert leader(api) in {each["metadata"]["name"] for each in real.operator_pods(api)}
    api.delete("GameWorld", "e2e", "after")
    real.wait_operator(api)


def test_it_watches_without_a_break_and_logs_no_error(
    examples: list[Json], api: Api, kubectl: Kubectl
) -> None:
    name = leader(api)
    whole = api.text(f"{path('Pod', real.SYSTEM, name + ':8080')}/proxy/metrics")
    assert "gameai_operator_leader 1.0" in whole
    restarts = re.findall(r"^gameai_operator_watch_restarts_total\S* (\S+)$", whole, re.MULTILINE)
    assert sum(map(float, restarts)) == 0
    log = kubectl("-n", real.SYSTEM, "logs", name)
    assert "the watch ended" not in log
    assert "Traceback" not in log
    assert "this is a bug" not in log
