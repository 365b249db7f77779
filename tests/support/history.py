"""Events of worlds, and calls of HistoryService, for tests."""

import itertools
from typing import Any

from gameai.knowledge.v1 import history_pb2 as pb
from gameai.knowledge.v1 import history_pb2_grpc
from gameai_contract.knowledge import MEMORY_AUDIENCE

from support.memory import Served
from support.tokens import metadata_of

_KEYS = itertools.count(1)
MOOR = "games/moor"
DAYS: tuple[tuple[int, str, str, list[str]], ...] = (
    (100, "battle", "The bridge of Carrow burned when the riders of Orr came at night.", ["orr"]),
    (200, "wedding", "Ilda Venn married the ferryman of Tam on the lake.", ["ilda", "tam"]),
    (300, "harvest", "The harvest failed and wheat was sold for silver.", []),
)


class History:
    """A stub with short calls; `world` is that of all of them."""

    def __init__(self, service: Served, world: str = MOOR, account: str = "") -> None:
        self._stub = history_pb2_grpc.HistoryServiceStub(service.channel)
        self._world = world
        self._metadata = metadata_of(account, MEMORY_AUDIENCE)

    def call(self, name: str, **fields: Any) -> Any:
        request = getattr(pb, f"{name}Request")(world=self._world, **fields)
        return getattr(self._stub, name)(request, timeout=20, metadata=self._metadata)

    def append(self, *events: pb.Event) -> list[pb.AppendedEvent]:
        return list(self.call("AppendEvents", events=events).events)

    def all(self, **fields: Any) -> list[pb.RecordedEvent]:
        return list(self.call("ListEvents", **fields).events)

    def search(self, text: str, **fields: Any) -> list[pb.EventHit]:
        return list(self.call("SearchEvents", text=text, **fields).hits)


def event(summary: str = "A day passed.", **fields: Any) -> pb.Event:
    given: dict[str, Any] = {"key": f"event-{next(_KEYS)}", "kind": "day", "world_seconds": 1}
    return pb.Event(summary=summary, **(given | fields))


def days() -> list[pb.Event]:
    return [
        event(summary, world_seconds=when, kind=kind, participants=names)
        for when, kind, summary, names in DAYS
    ]
