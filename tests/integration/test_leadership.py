"""Two operators, one Lease: only the leader writes, whatever happens to it."""

import itertools
import os
import queue
import random
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from gameai_devcluster import install
from gameai_devcluster.api import Api, ApiError
from gameai_devcluster.operators import Launch, Operator
from gameai_devcluster.testing.proxy import Arrival, Proxy
from gameai_devcluster.testing.waiting import settled, until, world_settled
from support.live import manifest, world

HANDOVER_SECONDS = 3.0
TAKEOVER_SECONDS = 20.0
QUICK: dict[str, str | float] = {
    "lease_seconds": 1.5,
    "lease_renew_seconds": 1.0,
    "lease_retry_seconds": 0.2,
    "lease_name": "quick",
    # One that waits for an answer writes nothing: with more, some write may have left the program and not the process yet.
    "workers": 1,
}
SAMPLE, ALL = 6, 100
_NUMBERS = itertools.count()


@dataclass
class Candidate:
    """An operator behind a proxy of its own, so that its requests can be identified."""

    proxy: Proxy
    operator: Operator

    @property
    def leads(self) -> bool:
        return self.operator.metric("gameai_operator_leader") == 1

    def writes(self, since: float = 0.0) -> list[Arrival]:
        return [each for each in tuple(self.proxy.arrivals) if each.write and each.at > since]


def candidate(api: Api, folder: Path, name: str, **flags: str | float) -> Candidate:
    credentials = api.credentials
    assert credentials.ca_file
    proxy = Proxy(credentials.server, credentials.ca_file)
    kubeconfig = install.operator_kubeconfig(api, folder / f"{name}.kubeconfig", server=proxy.url)
    launch = Launch(kubeconfig=kubeconfig, log=folder / f"{name}.log", flags=flags)
    return Candidate(proxy, Operator(launch).wait_ready())


def pair(api: Api, folder: Path, name: str, **flags: str | float) -> Iterator[list[Candidate]]:
    made = [candidate(api, folder, f"{name}-{each}", **flags) for each in ("a", "b")]
    until("one leads", lambda: any(each.leads for each in made), seconds=60)
    yield made
    for each in made:
        if each.operator.alive():
            os.kill(each.operator.pid, signal.SIGCONT)
            each.operator.kill()
        each.proxy.close()


@pytest.fixture
def candidates(api: Api, folder: Path) -> Iterator[list[Candidate]]:
    """Two with the lease times of production."""
    # Each its own: a Lease that a killed leader holds would be waited for.
    yield from pair(api, folder, "production", lease_name=f"production-{next(_NUMBERS)}")


@pytest.fixture
def quick(api: Api, folder: Path) -> Iterator[list[Candidate]]:
    yield from pair(api, folder, "quick", **QUICK)


def leader_of(candidates: list[Candidate]) -> tuple[Candidate, Candidate]:
    """Who leads, and the other."""
    first, second = candidates
    return (first, second) if first.leads else (second, first)


def test_only_the_leader_writes_and_a_planned_handover_is_quick(
    candidates: list[Candidate], api: Api, namespace: str
) -> None:
    leader, standby = leader_of(candidates)
    api.apply(manifest(namespace), manager="kubectl")
    api.apply(world(namespace), manager="kubectl")
    until("both are settled", lambda: both_settled(api, namespace), seconds=60)
    assert leader.writes()
    assert standby.writes() == []

    began = time.monotonic()
    assert leader.operator.stop() == 0
    until("the other leads", lambda: standby.leads, seconds=10 * HANDOVER_SECONDS)
    print(f"planned handover: {time.monotonic() - began:.1f} s (bar {HANDOVER_SECONDS:.0f} s)")
    api.apply(manifest(namespace, replicas=3), manager="kubectl")
    until("it goes on", lambda: both_settled(api, namespace), seconds=60)
    assert standby.writes()


def test_a_killed_leader_is_followed(candidates: list[Candidate], api: Api, namespace: str) -> None:
    leader, standby = leader_of(candidates)
    leader.operator.kill()
    began = time.monotonic()
    api.apply(manifest(namespace), manager="kubectl")
    until("the other leads", lambda: standby.leads, seconds=10 * TAKEOVER_SECONDS)
    print(f"after SIGKILL: {time.monotonic() - began:.1f} s (bar {TAKEOVER_SECONDS:.0f} s)")
    until(
        "the tier is settled", lambda: settled(api.get("ModelTier", namespace, "gold")), seconds=60
    )


def both_settled(api: Api, namespace: str) -> bool:
    tier, moor = api.get("ModelTier", namespace, "gold"), api.get("GameWorld", namespace, "moor")
    return settled(tier) and world_settled(moor)


class Restless(threading.Thread):
    """Changes tiers all the time, so that there is always something to write."""

    def __init__(self, api: Api, namespace: str, tiers: int) -> None:
        super().__init__(daemon=True)
        self._api = api
        self._namespace = namespace
        self._tiers = tiers
        self.enough = threading.Event()

    def run(self) -> None:
        number = 0
        while not self.enough.wait(0.02):
            number += 1
            name = f"t{number % self._tiers}"
            labels = {"round": str(number)}
            try:
                self._api.apply(
                    manifest(self._namespace, name=name, replicas=0, podLabels=labels),
                    manager="kubectl",
                )
            except ApiError:
                continue


def violations(arrivals: list[Arrival]) -> list[str]:
    """Writes that came before a Lease was renewed."""
    for index, each in enumerate(arrivals):
        renewed = "/leases" in each.path and each.verb == "PUT" and each.status in ([200], [201])
        if renewed:
            return [f"{a.verb} {a.path}" for a in arrivals[:index] if a.write]
    return [f"{each.verb} {each.path}" for each in arrivals if each.write]


def freeze(quick: list[Candidate], chance: random.Random) -> list[str]:
    """Stop the leader past its lease at one of its writes; what it wrote too early once it goes on."""
    left, stopped = chance.randint(1, 20), queue.Queue[int]()

    def stop(index: int, _: object) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(quick[index].operator.pid, signal.SIGSTOP)
            stopped.put(index)

    for index, each in enumerate(quick):
        each.proxy.before = partial(stop, index)
    index = stopped.get(timeout=60)
    leader, standby = quick[index], quick[1 - index]
    try:
        until("the other leads", lambda: standby.leads, seconds=30)
        time.sleep(chance.uniform(0.0, 0.3))
    finally:
        resumed = time.monotonic()
        os.kill(leader.operator.pid, signal.SIGCONT)
    time.sleep(1.0)
    since = [each for each in tuple(leader.proxy.arrivals) if each.at > resumed]
    assert leader.operator.alive()
    return violations(since)


def freezes(quick: list[Candidate], api: Api, namespace: str, seed: int, count: int) -> None:
    restless = Restless(api, namespace, tiers=20)
    restless.start()
    chance = random.Random(seed)
    found = []
    try:
        for _ in range(count):
            for each in quick:
                each.proxy.reset()
            found += freeze(quick, chance)
    finally:
        restless.enough.set()
        restless.join()
    written = sum(len(each.writes()) for each in quick)
    print(f"{count} freezes, {len(found)} writes too early, {written} writes in the last round")
    assert found == []


def test_a_frozen_leader_writes_nothing_until_it_has_renewed_its_lease(
    quick: list[Candidate], api: Api, namespace: str, seed: int
) -> None:
    freezes(quick, api, namespace, seed, SAMPLE)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_a_leader_frozen_a_hundred_times_writes_nothing_too_early(
    quick: list[Candidate], api: Api, namespace: str, seed: int
) -> None:
    freezes(quick, api, namespace, seed, ALL)
