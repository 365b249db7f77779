"""What one tenant's objects can do to the operator, and with it to everybody else: nothing that others notice."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from gameai_contract.names import PART_OF
from gameai_devcluster import install
from gameai_devcluster.api import Api, Json
from gameai_devcluster.operators import Launch, Operator
from gameai_devcluster.testing.waiting import condition, until, world_settled
from support.live import world

MEBI = 1 << 20
READ, OVER = "ArchetypesRead", "ArchetypesBudget"


@dataclass
class Seen:
    """The latest that the event loop was, in seconds, and the most memory, in bytes, while one looked."""

    lag_seconds: float = 0.0
    rss_bytes: int = 0


@contextmanager
def watching(operator: Operator) -> Iterator[Seen]:
    seen, stop = Seen(), threading.Event()
    process = psutil.Process(operator.pid)

    def look() -> None:
        while not stop.wait(0.1):
            asked = time.monotonic()
            lag = operator.metric("gameai_operator_loop_lag_seconds")
            # An answer comes from the same loop.
            seen.lag_seconds = max(seen.lag_seconds, lag, time.monotonic() - asked)
            seen.rss_bytes = max(seen.rss_bytes, process.memory_info().rss)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join()


def configmap(namespace: str, name: str, data: dict[str, str]) -> Json:
    labels = dict(PART_OF)
    metadata = {"name": name, "namespace": namespace, "labels": labels}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def slow(number: int) -> str:
    """A legal document of some 100 KiB: it takes a second to read."""
    fields = ", ".join(f"f{each}: {{}}" for each in range(32))
    kinds = "".join(f" a{n}x{number}:\n  cache: {{fields: {{{fields}}}}}\n" for n in range(360))
    return f"version: 1\narchetypes:\n{kinds}"


def reasons(api: Api, namespace: str) -> list[str]:
    worlds = api.list("GameWorld", namespace)
    return [condition(each, "ArchetypesValid").get("reason", "") for each in worlds]


def test_archetypes_of_one_namespace_neither_stop_the_loop_nor_fill_the_memory(
    api: Api, namespace: str, operator_kubeconfig: Path, folder: Path
) -> None:
    greedy = f"{namespace}-greedy"
    install.namespace(api, greedy)
    launch = Launch(kubeconfig=operator_kubeconfig, log=folder / "attacked.log")
    operator = Operator(launch).wait_ready()
    try:
        time.sleep(1)
        before = psutil.Process(operator.pid).memory_info().rss
        with watching(operator) as seen:
            for number in range(80):
                junk = {"big.yaml": f"{number} " + "x" * 1000 * 1024}
                api.create(configmap(greedy, f"junk-{number}", junk))
            for number in range(14):
                api.create(configmap(greedy, f"npcs-{number:02}", {"a.yaml": slow(number)}))
                named = {"archetypes": {"configMap": {"name": f"npcs-{number:02}"}}}
                api.create(world(greedy, f"w{number:02}", **named))
            api.create(world(namespace, "innocent"))
            until(
                "the other tenant's world is settled",
                lambda: world_settled(api.get("GameWorld", namespace, "innocent")),
                seconds=30,
            )
            until(
                "every document is read or refused",
                lambda: set(reasons(api, greedy)) <= {READ, OVER},
                seconds=120,
            )
        assert seen.lag_seconds < 1.0
        assert seen.rss_bytes - before <= 64 * MEBI
        found = reasons(api, greedy)
        assert found.count(OVER) > 0, "the budget is 1 MiB of documents"
        assert found[: found.count(READ)] == [READ] * found.count(READ), "by name: always the same"
    finally:
        operator.kill()
        for kind in ("GameWorld", "ConfigMap"):
            for each in api.list(kind, greedy):
                api.delete(kind, greedy, each["metadata"]["name"])
