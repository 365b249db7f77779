"""Metric and log definitions; counting is done where things happen."""

import contextlib
import contextvars
import datetime
import json
import logging
import sys
from collections.abc import Iterator
from typing import Any, Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)
PlatformCollector(registry=REGISTRY)
GCCollector(registry=REGISTRY)

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


def _counter(name: str, text: str, *labels: str) -> Counter:
    return Counter(name, text, labels, registry=REGISTRY)


def _gauge(name: str, text: str, *labels: str) -> Gauge:
    return Gauge(name, text, labels, registry=REGISTRY)


def _histogram(name: str, text: str, *labels: str) -> Histogram:
    return Histogram(name, text, labels, registry=REGISTRY, buckets=_SECONDS)


# The work queue under controller-runtime's names, so that existing dashboards fit.
QUEUE_DEPTH = _gauge("workqueue_depth", "Keys in the queue.", "name")
QUEUE_ADDS = _counter("workqueue_adds_total", "Keys added.", "name")
QUEUE_WAIT = _histogram(
    "workqueue_queue_duration_seconds",
    "Seconds from enqueueing to the start of the reconcile.",
    "name",
)
QUEUE_WORK = _histogram(
    "workqueue_work_duration_seconds", "Duration of a reconcile, in seconds.", "name"
)
QUEUE_RETRIES = _counter("workqueue_retries_total", "Keys requeued after a failure.", "name")
RECONCILES = _counter(
    "controller_runtime_reconcile_total", "Reconciles by result.", "controller", "result"
)
ACTIVE_WORKERS = _gauge("controller_runtime_active_workers", "Workers at work.", "controller")

LEADER = _gauge("gameai_operator_leader", "1 while this process holds the lease.")
WRITES = _counter("gameai_operator_writes_total", "Writes sent to the API server.", "verb", "kind")
INTERRUPTED_PODS = _counter(
    "gameai_operator_interrupted_pods_total",
    "Pods that were deleted because their node was about to be interrupted.",
)
API_ERRORS = _counter(
    "gameai_operator_api_errors_total",
    "Failed requests by HTTP status; 0 means that no response came.",
    "status",
)
WATCH_EVENTS = _counter("gameai_operator_watch_events_total", "Processed watch events.", "kind")
WATCH_RESTARTS = _counter(
    "gameai_operator_watch_restarts_total", "Restarts of the watch after it ended by itself."
)
REWINDS = _counter(
    "gameai_operator_rewinds_total",
    "Number of times that resourceVersions went backwards, for example after a restore of etcd.",
)
RESYNC_GHOSTS = _counter(
    "gameai_operator_resync_ghosts_total",
    "Cached objects that a comparison with a LIST did not find. Stays 0 unless events are lost.",
    "kind",
)
RESYNC_UNSEEN = _counter(
    "gameai_operator_resync_unseen_total",
    "Listed objects that no watch event had reported.",
    "kind",
)
EVENTS_DROPPED = _counter(
    "gameai_operator_events_dropped_total",
    "Kubernetes Events that were dropped: the queue was full, or the API server rejected them.",
)
OBJECTS = _gauge("gameai_operator_objects", "Objects in the cache.")
LOOP_LAG = _gauge("gameai_operator_loop_lag_seconds", "Lag of the event loop, in seconds.")

# Of ModelTiers and GameWorlds, by kind, namespace and name.
_NUMBERS = {
    "wanted_replicas": "Desired replicas of a tier.",
    "ready_replicas": "Ready pods of a tier.",
    "lent_replicas": "On-demand pods that stand in for spot replicas without a node.",
    "cost_usd_per_hour": "Cost of the scheduled pods of a tier, in USD per hour.",
    "wanted_cost_usd_per_hour": "Cost of the desired replicas of a tier, in USD per hour.",
}


class Objects(Protocol):
    """What is known of our own objects: pairs of (kind, namespace, name) and facts with `numbers` and `conditions`."""

    @property
    def left_out(self) -> int:
        """Objects beyond the limit, which have no series."""

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        """Pairs of key and facts."""


class ObjectCollector:
    """Reads the facts when metrics are asked for, so that what is gone leaves no series behind."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Every series."""
        labels = ("kind", "namespace", "name")
        families = {
            name: GaugeMetricFamily(f"gameai_operator_object_{name}", text, labels=labels)
            for name, text in _NUMBERS.items()
        }
        conditions = GaugeMetricFamily(
            "gameai_operator_object_condition",
            "1 for the current status and reason of each condition.",
            labels=(*labels, "type", "status", "reason"),
        )
        for key, facts in self._objects:
            for name, value in facts.numbers:
                families[name].add_metric(key, value)
            for condition in facts.conditions:
                conditions.add_metric((*key, *condition), 1.0)
        yield from families.values()
        yield conditions
        yield GaugeMetricFamily(
            "gameai_operator_objects_without_metrics",
            "Objects without their own series, because there are more than 2,000.",
            value=float(self._objects.left_out),
        )


def show_objects(objects: Objects) -> None:
    """Report what is known of our own objects."""
    REGISTRY.register(ObjectCollector(objects))


SCRAPE_ERRORS = Counter(
    "gameai_scaler_scrape_errors_total",
    "Gateways, GPU exporters and tier agents that could not be scraped, or whose name could not be resolved.",
    registry=REGISTRY,
)
SCALINGS = Counter(
    "gameai_scaler_changes_total", "Changes of replicas, by signal.", ["reason"], registry=REGISTRY
)
KEDA_REQUESTS = Counter(
    "gameai_scaler_keda_requests_total",
    "Requests of KEDA, by method and gRPC status code.",
    ["method", "code"],
    registry=REGISTRY,
)
_DESIRED = Gauge(
    "gameai_scaler_desired_replicas",
    "Replicas by the last decision.",
    ["namespace", "name"],
    registry=REGISTRY,
)
_BLIND = Gauge(
    "gameai_scaler_blind",
    "1 while a tier has no fresh signals, so that none of its replicas is removed.",
    ["namespace", "name"],
    registry=REGISTRY,
)


_AT_MAXIMUM = Gauge(
    "gameai_scaler_at_maximum",
    "1 while a tier needs more replicas than spec.scaling.maxReplicas allows.",
    ["namespace", "name"],
    registry=REGISTRY,
)


def show_scaling(namespace: str, name: str, desired: int, *, blind: bool, at_maximum: bool) -> None:
    """Report a decision."""
    _DESIRED.labels(namespace, name).set(desired)
    _BLIND.labels(namespace, name).set(int(blind))
    _AT_MAXIMUM.labels(namespace, name).set(int(at_maximum))


def forget_scaling(namespace: str, name: str) -> None:
    """A tier is gone, or not scaled any more."""
    for metric in (_DESIRED, _BLIND, _AT_MAXIMUM):
        with contextlib.suppress(KeyError):
            metric.remove(namespace, name)


KEY: contextvars.ContextVar[str] = contextvars.ContextVar("key", default="")
RECONCILE_ID: contextvars.ContextVar[str] = contextvars.ContextVar("reconcile_id", default="")


class JsonFormatter(logging.Formatter):
    """One JSON object per line, with the key and the reconcile that it belongs to."""

    def format(self, record: logging.LogRecord) -> str:
        """The line for one record."""
        at = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
        entry: dict[str, Any] = {
            "time": at.isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        entry |= {"key": KEY.get(), "reconcile": RECONCILE_ID.get()} if KEY.get() else {}
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)


def configure_logging(level: str) -> None:
    """JSON lines on standard error; kopf, which logs every event, at WARNING."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.getLogger("kopf").setLevel(logging.WARNING)
    # It warns at each start that signals are ours, which is intended.
    logging.getLogger("kopf._core.reactor.running").setLevel(logging.ERROR)
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
