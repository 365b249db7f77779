"""What serves of a tier while something changes: its ready pods, and a watcher that reports when they are too few."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from gameai_devcluster.api import Api, ApiError, Json
from gameai_devcluster.testing.waiting import condition

# What the Deployment controller notes on a ReplicaSet: the number of the Deployment that it scaled for.
DESIRED = "deployment.kubernetes.io/desired-replicas"


def ready_pods(api: Api, namespace: str, name: str) -> list[Json]:
    """Pods that would get questions."""
    return [
        pod
        for pod in api.list("Pod", namespace)
        if pod["metadata"]["labels"].get("gameai.dev/tier") == name
        and "deletionTimestamp" not in pod["metadata"]
        and condition(pod, "Ready").get("status") == "True"
    ]


def steady(api: Api, namespace: str, name: str) -> int:
    """Ready pods without those that a roll-out has in excess for a moment: its controller removes them by itself."""
    pods = ready_pods(api, namespace, name)
    sets = api.list("ReplicaSet", namespace)
    sides = [f"{name}-on-demand", f"{name}-spot"]
    return sum(kept(api.find("Deployment", namespace, side), sets, pods) for side in sides)


def kept(deployment: Json | None, sets: list[Json], pods: list[Json]) -> int:
    """Ready pods of a Deployment that neither it nor its controllers have decided to remove.

    Neither a number that has just been raised nor a pod that has just become ready takes back what was decided before:
    a ReplicaSet's own number counts, the pods that it has counted itself, and the number that it was last scaled for.
    """
    if deployment is None:
        return 0
    mine = [each for each in sets if owned(each, deployment) and each["spec"]["replicas"]]
    limits = [int(each["metadata"]["annotations"][DESIRED]) for each in mine]
    ready = [
        min(
            int(each["spec"]["replicas"]),
            int(each.get("status", {}).get("availableReplicas", 0)),
            sum(owned(pod, each) for pod in pods),
        )
        for each in mine
    ]
    return min([int(deployment["spec"]["replicas"]), sum(ready), *limits])


def owned(thing: Json, owner: Json) -> bool:
    uid = owner["metadata"]["uid"]
    return any(each["uid"] == uid for each in thing["metadata"].get("ownerReferences", []))


@dataclass
class Watcher:
    """Looks at a tier's ready pods all the time, and remembers when they were fewer than allowed."""

    api: Api
    namespace: str
    name: str
    wanted: int
    bound: int = 0
    dips: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    ended: threading.Event = field(default_factory=threading.Event)
    step: str = "start"

    def look(self) -> None:
        while not self.ended.wait(0.1):
            with self.lock, suppress(ApiError):
                ready = len(ready_pods(self.api, self.namespace, self.name))
                if ready < self.bound:
                    self.dips.append(f"{ready} ready of at least {self.bound}, after {self.step}")
                    return

    def allow(self, wanted: int, step: str, act: Callable[[], object]) -> None:
        """Act; from now on there must be as many as are ready, or as were or are wanted, whichever is least."""
        with self.lock:
            ready = steady(self.api, self.namespace, self.name)
            self.bound, self.step = min(ready, self.wanted, wanted), f"{self.step} → {step}"
            self.wanted = wanted
            act()

    def lose(self, act: Callable[[], int]) -> None:
        """Have pods lost, as many as `act` says: a change under way counted on them, and cannot call itself back."""
        with self.lock:
            lost = act()
            self.bound = max(0, self.bound - lost)
            self.step = f"{self.step} → {lost} lost"


@contextmanager
def watched(api: Api, namespace: str, name: str, wanted: int) -> Iterator[Watcher]:
    watcher = Watcher(api, namespace, name, wanted)
    thread = threading.Thread(target=watcher.look)
    thread.start()
    try:
        yield watcher
    finally:
        watcher.ended.set()
        thread.join()
