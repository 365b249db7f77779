"""Evictions and drains, against the budget of a service."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from gameai_devcluster import e2e
from gameai_devcluster.api import Api, ApiError, Json, path
from gameai_devcluster.testing.waiting import until
from support import real

Kubectl = Callable[..., str]


def evicted(api: Api, pod: Json) -> int:
    """The status of asking for an eviction."""
    metadata = {"name": pod["metadata"]["name"], "namespace": pod["metadata"]["namespace"]}
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": metadata}
    try:
        where = f"{path('Pod', metadata['namespace'], metadata['name'])}/eviction"
        api.request("POST", where, body=body)
    except ApiError as error:
        return error.status
    return 201


@pytest.fixture
def two(examples: list[Json], api: Api, kubectl: Kubectl) -> Iterator[list[Json]]:
    real.scaled(api, 2)
    pods = real.live(api, "eldermoor", real.WEATHER)
    nodes = {each["spec"]["nodeName"] for each in pods}
    yield pods
    for node in nodes:
        kubectl("uncordon", node)


def test_a_second_eviction_waits_for_the_first_ones_replacement(
    two: list[Json], api: Api, kubectl: Kubectl
) -> None:
    first, second = two
    for node in {each["spec"]["nodeName"] for each in two}:
        kubectl("cordon", node)
    # The budget may have come with the second replica, a moment ago.
    until("the first may go", lambda: evicted(api, first) == 201, seconds=30)
    assert evicted(api, second) == 429
    pending = until("its replacement is Pending", lambda: replacement(api, two), seconds=30)
    assert "nodeName" not in pending["spec"]
    assert evicted(api, second) == 429
    for node in {each["spec"]["nodeName"] for each in two}:
        kubectl("uncordon", node)
    until("the replacement is ready", lambda: ready(api, two), seconds=60)
    until("then the second may go", lambda: evicted(api, second) == 201, seconds=30)
    until("two are ready", lambda: ready_count(api) == 2, seconds=60)


def test_a_drain_waits_for_room_and_ends(
    two: list[Json], api: Api, kubectl: Kubectl, environment: e2e.Environment
) -> None:
    [node] = {each["spec"]["nodeName"] for each in two}
    program = str(Path(sys.executable).parent / "kubectl")
    command = [program, f"--kubeconfig={environment.kubeconfig}", "drain", node]
    options = [f"--pod-selector={real.WEATHER}", "--delete-emptydir-data", "--timeout=120s"]
    with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True) as drain:
        until("a replacement is Pending", lambda: replacement(api, two), seconds=30)
        assert ready_count(api) >= 1
        assert drain.poll() is None
        kubectl("uncordon", node)
        assert drain.wait(120) == 0
    until("two are ready", lambda: ready_count(api) == 2, seconds=60)
    uids = {each["metadata"]["uid"] for each in real.live(api, "eldermoor", real.WEATHER)}
    assert uids.isdisjoint({each["metadata"]["uid"] for each in two})


def replacement(api: Api, former: list[Json]) -> Json | None:
    known = {each["metadata"]["uid"] for each in former}
    found = real.live(api, "eldermoor", real.WEATHER)
    return next((each for each in found if each["metadata"]["uid"] not in known), None)


def ready(api: Api, former: list[Json]) -> bool:
    found = replacement(api, former)
    return found is not None and real.is_ready(found)


def ready_count(api: Api) -> int:
    return sum(map(real.is_ready, real.live(api, "eldermoor", real.WEATHER)))
