"""Kubernetes Events: one per change of state, sent beside the work, at most once, never in its way."""

import asyncio
import datetime
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from gameai_operator import telemetry
from gameai_operator.controller.conditions import Transition
from gameai_operator.controller.errors import ApiError, NotLeadingError
from gameai_operator.controller.manifest import FIELD_MANAGER, digest, timestamp

# Types of transitions that are no condition: a change of replicas, and the deletion of pods whose node ends.
SCALED, INTERRUPTED = "Scaled", "Interrupted"
_MOST_WAITING = 1000
_SECONDS_BETWEEN = 0.1
_LOG = logging.getLogger(__name__)

Send = Callable[[str, Mapping[str, Any]], Awaitable[Any]]


def event(
    root: Mapping[str, Any], transition: Transition, now: datetime.datetime
) -> dict[str, Any] | None:
    """The Event of a transition; None for one that says nothing new (a start, or a return to quiet)."""
    kind = _type(transition)
    if kind is None:
        return None
    metadata = root["metadata"]
    stamp = timestamp(now)
    parts = [transition.type, transition.reason, transition.message, now.isoformat()]
    identity = digest([metadata["uid"], *parts])
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "name": f"{metadata['name']}.{identity}",
            "namespace": metadata["namespace"],
        },
        "involvedObject": {
            "apiVersion": root["apiVersion"],
            "kind": root["kind"],
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "uid": metadata["uid"],
            "resourceVersion": metadata["resourceVersion"],
        },
        "type": kind,
        "reason": transition.reason,
        "message": transition.message,
        "source": {"component": FIELD_MANAGER},
        "reportingComponent": FIELD_MANAGER,
        "reportingInstance": FIELD_MANAGER,
        "action": "Reconcile",
        "firstTimestamp": stamp,
        "lastTimestamp": stamp,
        "eventTime": None,
        "count": 1,
    }


def _type(transition: Transition) -> str | None:
    """Ready reports arrivals, losses and faults; the others what may be wrong while Ready is True."""
    if transition.type == SCALED:
        return "Normal"
    if transition.type == INTERRUPTED:
        return "Warning"
    if transition.type == "Degraded":
        return "Warning" if transition.word == "True" else None
    if transition.type in ("Stalled", "Reconciling"):
        return (
            "Warning" if transition.word == "True" and transition.reason != "RollingOut" else None
        )
    if transition.type != "Ready":
        return None
    if transition.word == "True":
        return None if transition.reason == "Degraded" else "Normal"
    quiet = transition.reason == "Starting" and transition.before != "True"
    return None if quiet else "Warning"


class Recorder:
    """Sends Events one after another; where more wait than it may hold, the newest is dropped and counted."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._waiting: asyncio.Queue[dict[str, Any]] = asyncio.Queue(_MOST_WAITING)

    def offer(self, document: dict[str, Any]) -> None:
        """Take an Event to be sent."""
        try:
            self._waiting.put_nowait(document)
        except asyncio.QueueFull:
            telemetry.EVENTS_DROPPED.inc()

    async def run(self) -> None:
        """Send forever; a failed Event is not sent again."""
        while True:
            document = await self._waiting.get()
            try:
                await self._send(document["metadata"]["namespace"], document)
            except (ApiError, NotLeadingError) as error:
                telemetry.EVENTS_DROPPED.inc()
                _LOG.info("an Event was not sent: %s", error)
            await asyncio.sleep(_SECONDS_BETWEEN)
