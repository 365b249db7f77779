"""Calls of ConceptService, for tests."""

from typing import Any

from gameai.knowledge.v1 import concepts_pb2 as pb
from gameai.knowledge.v1 import concepts_pb2_grpc
from gameai_contract.knowledge import MEMORY_AUDIENCE

from support.memory import Served
from support.tokens import metadata_of

MOOR = "games/moor"


class Concepts:
    """A stub with short calls; `world` is that of all of them, empty: all worlds."""

    def __init__(self, service: Served, world: str = MOOR, account: str = "") -> None:
        self._stub = concepts_pb2_grpc.ConceptServiceStub(service.channel)
        self._world = world
        self._metadata = metadata_of(account, MEMORY_AUDIENCE)

    def call(self, rpc: str, **fields: Any) -> Any:
        request = getattr(pb, f"{rpc}Request")(world=self._world, **fields)
        return getattr(self._stub, rpc)(request, timeout=20, metadata=self._metadata)

    def evolve(
        self, summary: str, expected: int = 0, name: str = "Ilda Venn", **fields: Any
    ) -> pb.EvolveConceptResponse:
        attributes = fields.pop("attributes", {})
        kind = fields.pop("kind", "person")
        concept = pb.Concept(kind=kind, name=name, summary=summary, attributes=attributes)
        found: pb.EvolveConceptResponse = self.call(
            "EvolveConcept", concept=concept, expected_version=expected, **fields
        )
        return found

    def get(self, name: str = "Ilda Venn", **fields: Any) -> pb.ConceptVersion:
        found: pb.ConceptVersion = self.call(
            "GetConcept", kind="person", name=name, **fields
        ).version
        return found

    def search(self, text: str, **fields: Any) -> list[str]:
        hits = self.call("SearchConcepts", text=text, **fields).hits
        return [each.version.concept.summary for each in hits]
