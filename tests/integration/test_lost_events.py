"""Watch events that never come: each one of a workload is dropped once, and a resync makes up for it."""

import random
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from gameai_devcluster import install
from gameai_devcluster.api import Api, Json
from gameai_devcluster.operators import Launch, Operator
from gameai_devcluster.testing.proxy import Answer, Arrival, Proxy, status_answer
from gameai_devcluster.testing.waiting import settled, until, world_settled
from gameai_operator.kinds import WATCHED, kinds
from gameai_operator.settings import Settings
from support import crashing
from support.live import manifest, world

RESYNC_SECONDS = 2.0
SAMPLE = 8
# KEDA is not installed here.
WATCHES = sum(each.supported is None for each in WATCHED.values()) + len(kinds(Settings()))
FLAGS: dict[str, str | float] = {
    "lease_name": "lost",
    "lease_seconds": 1.5,
    "lease_renew_seconds": 1.0,
    "lease_retry_seconds": 0.2,
    "resync_seconds": RESYNC_SECONDS,
}
SERVICES = [{"name": "time-manager"}, {"name": "weather-manager", "replicas": 2}]


class Event(NamedTuple):
    """An event by what it tells, of which object, and how many alike came before it."""

    type: str
    kind: str
    name: str
    nth: int


@dataclass
class Stage:
    """An operator whose watch goes through a sieve, and the undisturbed run."""

    api: Api
    proxy: Proxy
    operator: Operator
    number: int = 0
    gapped: bool = True
    seen: list[Event] = field(default_factory=list)
    dropped: threading.Event = field(default_factory=threading.Event)

    def run(
        self,
        target: Event | None,
        expected: Sequence[list[Json]] = (),
        *,
        gap: bool = False,
    ) -> list[list[Json]]:
        """Create, edit, delete, in a fresh namespace; the state after each. The target never arrives.

        What is expected after a step is waited for: an operator that has not heard yet that a
        parent is gone makes a child again, which the garbage collector then takes away.
        """
        self.number += 1
        namespace = f"lost{self.number:03d}"
        install.namespace(self.api, namespace)
        # A gap of the run before may have ended the watch, which comes back after up to 10 s.
        self.proxy.reset()
        until("every watch stays open", self.watched, seconds=60)
        self.gapped = gap
        self.arm(namespace, target, gap=gap)
        states: list[list[Json]] = []
        for act, ended in ((create, made), (edit, edited), (delete, empty)):
            act(self.api, namespace)
            until(
                f"{act.__name__} without {target}",
                lambda: ended(self.api, namespace),  # noqa: B023 - it is called before the next turn
                seconds=20 * RESYNC_SECONDS,
            )
            if expected:
                states.append(self.snapshot(namespace, expected[len(states)]))
            else:
                states.append(crashing.at_rest(self.api, namespace))
        assert self.operator.alive()
        return states

    def snapshot(self, namespace: str, wanted: list[Json]) -> list[Json]:
        """The state once it is the wanted one; or as it is when the time for that is over."""
        end = time.monotonic() + 10 * RESYNC_SECONDS
        state = crashing.snapshot(self.api, namespace)
        while state != wanted and time.monotonic() < end:
            time.sleep(0.2)
            state = crashing.snapshot(self.api, namespace)
        return state

    def watched(self) -> bool:
        """Whether every watch is open; after a gap, still a while later: one that is ending closes its streams one by one."""
        for _ in range(10 if self.gapped else 1):
            if self.proxy.watches != WATCHES:
                return False
            time.sleep(0.3)
        return True

    def arm(self, namespace: str, target: Event | None, *, gap: bool) -> None:
        """Let everything pass but the target, once; with a `gap`, the watch is cut there and resumed with 410."""
        counts: Counter[tuple[str, str, str]] = Counter()
        self.seen, self.dropped = [], threading.Event()
        self.proxy.reset()

        def sieve(path: str, event: Mapping[str, Any]) -> bool:
            metadata = event["object"].get("metadata", {})
            if metadata.get("namespace") != namespace:
                return True
            name = stable(metadata)
            same = (event["type"], path.rsplit("/", 1)[1], name)
            found = Event(*same, counts[same])
            counts[same] += 1
            self.seen.append(found)
            if found != target or self.dropped.is_set():
                return True
            self.dropped.set()
            if gap:
                self.proxy.fault = expired(self.proxy, path)
                self.proxy.cut_watches()
            return False

        self.proxy.sieve = sieve


def stable(metadata: Mapping[str, Any]) -> str:
    """A pod's name without what chance added to it."""
    labels = metadata.get("labels", {})
    hashed = labels.get("pod-template-hash")
    return f"pod of {labels.get('gameai.dev/service')}" if hashed else str(metadata["name"])


def expired(proxy: Proxy, path: str) -> Any:
    """The next watch of this path gets the answer that its version is too old."""

    def fault(arrival: Arrival) -> Answer | None:
        if arrival.watch and arrival.path == path:
            proxy.fault = None
            return status_answer(410, "Expired")
        return None

    return fault


def create(api: Api, namespace: str) -> None:
    roles = [{"name": "dialogue", "tierRef": {"name": "gold"}}]
    api.apply(manifest(namespace, replicas=1), manager="kubectl")
    api.apply(world(namespace, seed=1, services=SERVICES, roles=roles), manager="kubectl")


def edit(api: Api, namespace: str) -> None:
    """One service goes, the other changes, and the tier scales."""
    services = [{"name": "weather-manager", "settings": {"climate": "Arid"}}]
    api.apply(manifest(namespace, replicas=2), manager="kubectl")
    api.apply(world(namespace, seed=1, services=services), manager="kubectl")


def delete(api: Api, namespace: str) -> None:
    api.delete("GameWorld", namespace, "moor")
    api.delete("ModelTier", namespace, "gold")


def both(api: Api, namespace: str, services: set[str]) -> bool:
    tier, moor = api.get("ModelTier", namespace, "gold"), api.get("GameWorld", namespace, "moor")
    wanted = {f"moor-{each}" for each in services}
    names = {each["metadata"]["name"] for each in api.list("Deployment", namespace)}
    routes = {each["metadata"]["name"] for each in api.list("Service", namespace)}
    return (
        settled(tier)
        and world_settled(moor)
        and names == wanted | {"gold-on-demand"}
        and routes == wanted | {"gold"}
        and not any("deletionTimestamp" in e["metadata"] for e in api.list("Pod", namespace))
    )


def made(api: Api, namespace: str) -> bool:
    return both(api, namespace, {"time-manager", "weather-manager"})


def edited(api: Api, namespace: str) -> bool:
    budgets = {each["metadata"]["name"] for each in api.list("PodDisruptionBudget", namespace)}
    return both(api, namespace, {"weather-manager"}) and budgets == {"gold-on-demand"}


def empty(api: Api, namespace: str) -> bool:
    """Pods aside: a vLLM takes all of its grace to end."""
    kinds = ("GameWorld", "ModelTier", *crashing.CHILDREN, "ReplicaSet")
    found = [each for kind in kinds for each in api.list(kind, namespace)]
    return all(each["metadata"]["name"] in crashing.SYSTEM for each in found)


@pytest.fixture(scope="module")
def stage(api: Api, folder: Path) -> Iterator[Stage]:
    credentials = api.credentials
    assert credentials.ca_file
    proxy = Proxy(credentials.server, credentials.ca_file)
    kubeconfig = install.operator_kubeconfig(api, folder / "lost.kubeconfig", server=proxy.url)
    launch = Launch(kubeconfig=kubeconfig, log=folder / "lost.log", flags=FLAGS)
    made_stage = Stage(api=api, proxy=proxy, operator=Operator(launch).wait_ready())
    yield made_stage
    made_stage.operator.kill()
    proxy.close()


@pytest.fixture(scope="module")
def undisturbed(stage: Stage) -> tuple[list[Event], list[list[Json]]]:
    """The events of an undisturbed run, and its states."""
    states = stage.run(None)
    return list(stage.seen), states


def check(
    stage: Stage, target: Event, states: list[list[Json]], *, gap: bool, seconds: float = 3.0
) -> bool:
    """Whether the event came about at all in this run; if so, all ended as undisturbed."""
    found = stage.run(target, states, gap=gap)
    for expected, state in zip(states, found, strict=True):
        assert state == expected, f"without {target}:\n{crashing.difference(expected, state)}"
    # The last events may still be on their way when everything is gone already.
    return stage.dropped.wait(seconds)


def test_a_seeded_sample_of_lost_events_is_made_up_for_by_a_resync(
    stage: Stage, undisturbed: tuple[list[Event], list[list[Json]]], seed: int
) -> None:
    events, states = undisturbed
    assert len(events) > 30
    came = 0
    # Bursts come in different order each time, so that some event of the reference may not come again.
    for each in random.Random(seed).sample(events, min(len(events), 3 * SAMPLE)):
        if came < SAMPLE:
            came += check(stage, each, states, gap=bool(came % 2))
    assert came == SAMPLE


def test_lost_deletions_are_found_and_counted(
    stage: Stage, undisturbed: tuple[list[Event], list[list[Json]]]
) -> None:
    events, states = undisturbed
    deletions = [
        each
        for each in events
        if each.type == "DELETED" and each.kind in ("services", "gameworlds")
    ]
    assert {each.kind for each in deletions} == {"services", "gameworlds"}
    for each in (deletions[0], deletions[-1]):
        before = stage.operator.metric("gameai_operator_resync_ghosts_total")
        assert check(stage, each, states, gap=False, seconds=60)
        until(
            "the ghost is counted",
            lambda: stage.operator.metric("gameai_operator_resync_ghosts_total") > before,  # noqa: B023 - same turn
            seconds=10 * RESYNC_SECONDS,
        )


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_every_event_is_lost_once_and_made_up_for(
    stage: Stage, undisturbed: tuple[list[Event], list[list[Json]]]
) -> None:
    events, states = undisturbed
    failures, came = [], 0
    for target in events:
        for gap in (False, True):
            try:
                came += check(stage, target, states, gap=gap)
            except AssertionError as error:
                failures.append(f"{target}, gap {gap}: {str(error)[:1500]}")
    print(f"{len(events)} events, {came} losses, {len(failures)} differences")
    assert failures == []
