"""Evidence of a failure: one folder, and the three most relevant lines."""

import contextlib
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from gameai_devcluster.api import Api, ApiError, Json, path
from gameai_devcluster.testing.waiting import condition

_OURS = ("ModelTier", "GameWorld", "KnowledgeBase")
_OTHERS = (
    "Deployment",
    "StatefulSet",
    "Job",
    "Service",
    "ConfigMap",
    "PodDisruptionBudget",
    "NetworkPolicy",
    "Lease",
)
_ERROR = re.compile(r'"level": ?"(error|critical)"|Traceback|Error\b|panic:', re.IGNORECASE)
_LOG_LINES = 500


def collect(api: Api, namespaces: list[str], folder: Path) -> list[str]:
    """Write pods, logs, events, objects and the operator's metrics into a folder; the three most relevant lines."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    telling: list[tuple[int, str]] = []
    for namespace in namespaces:
        below = folder / namespace
        below.mkdir()
        telling += _objects(api, namespace, below)
        telling += _events(api, namespace, below)
        telling += _pods(api, namespace, below)
    (folder / "nodes.yaml").write_text(yaml.safe_dump(api.list("Node")))
    return [line for _, line in sorted(set(telling))[:3]]


def _objects(api: Api, namespace: str, folder: Path) -> Iterator[tuple[int, str]]:
    for kind in (*_OURS, *_OTHERS):
        with contextlib.suppress(ApiError):
            found = api.list(kind, namespace)
            (folder / f"{kind}.yaml").write_text(yaml.safe_dump(found, sort_keys=False))
            yield from _not_ready(kind, namespace, found if kind in _OURS else [])


def _not_ready(kind: str, namespace: str, found: list[Any]) -> Iterator[tuple[int, str]]:
    for each in found:
        ready = condition(each, "Ready")
        if ready.get("status") != "True":
            name = f"{kind} {namespace}/{each['metadata']['name']}"
            yield 1, f"{name}: {ready.get('reason')}: {ready.get('message')}"


def _events(api: Api, namespace: str, folder: Path) -> Iterator[tuple[int, str]]:
    events = sorted(
        api.list("Event", namespace),
        key=lambda e: e.get("lastTimestamp") or e.get("eventTime") or "",
    )
    lines = [_event(each) for each in events]
    (folder / "events.txt").write_text("\n".join(lines))
    warnings = [line for line in lines if " Warning " in line]
    for line in warnings[-2:]:
        yield 2, line


def _event(event: Json) -> str:
    when = event.get("lastTimestamp") or event.get("eventTime")
    about = event["involvedObject"]
    return f"{when} {event.get('type')} {about.get('kind')}/{about.get('name')} {event.get('reason')}: {event.get('message')}"


def _pods(api: Api, namespace: str, folder: Path) -> Iterator[tuple[int, str]]:
    for pod in api.list("Pod", namespace):
        name = pod["metadata"]["name"]
        (folder / f"pod-{name}.json").write_text(json.dumps(pod, indent=1))
        for status in pod.get("status", {}).get("containerStatuses", ()):
            yield from _state(f"pod {namespace}/{name}", status)
        for container in pod["spec"]["containers"]:
            log = _log(api, pod, container["name"], folder)
            last = [line for line in log.splitlines() if _ERROR.search(line)][-1:]
            for line in last:
                yield 3, f"log of {namespace}/{name}: {line.strip()[:300]}"
        if _is_operator(pod):
            _metrics(api, pod, folder)


def _state(name: str, status: Json) -> Iterator[tuple[int, str]]:
    waiting = status["state"].get("waiting")
    if waiting and waiting.get("reason") != "ContainerCreating":
        yield 0, f"{name}: waiting: {waiting.get('reason')}: {waiting.get('message', '')}"
    ended: Any = status.get("lastState", {}).get("terminated") or status["state"].get("terminated")
    if ended and ended.get("exitCode"):
        yield 0, f"{name}: ended with {ended['exitCode']} ({ended.get('reason')})"


def _log(api: Api, pod: Json, container: str, folder: Path) -> str:
    name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
    text = ""
    for previous in ("false", "true"):
        query = {"container": container, "tailLines": _LOG_LINES, "previous": previous}
        with contextlib.suppress(ApiError):
            said = api.text(f"{path('Pod', namespace, name)}/log", query)
            suffix = "-previous" if previous == "true" else ""
            (folder / f"log-{name}-{container}{suffix}.txt").write_text(said)
            text += said
    return text


def _is_operator(pod: Json) -> bool:
    labels = pod["metadata"].get("labels", {})
    return bool(labels.get("app.kubernetes.io/name") == "gameai-operator")


def _metrics(api: Api, pod: Json, folder: Path) -> None:
    name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
    with contextlib.suppress(ApiError):
        where = f"/api/v1/namespaces/{namespace}/pods/{name}:8080/proxy/metrics"
        (folder / f"metrics-{name}.txt").write_text(api.text(where))
