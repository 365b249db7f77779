"""Calls of RelationService, for tests."""

from typing import Any

from gameai.knowledge.v1 import relations_pb2 as pb
from gameai.knowledge.v1 import relations_pb2_grpc
from gameai_contract.knowledge import MEMORY_AUDIENCE

from support.memory import Served
from support.tokens import metadata_of

MOOR = "games/moor"


def person(name: str) -> pb.ConceptName:
    return pb.ConceptName(kind="person", name=name)


def relation(subject: str, kind: str, target: str, strength: int = 0) -> pb.Relation:
    return pb.Relation(subject=person(subject), kind=kind, object=person(target), strength=strength)


class Relations:
    """A stub with short calls between persons; `world` is that of all of them, empty: all worlds."""

    def __init__(self, service: Served, world: str = MOOR, account: str = "") -> None:
        self._stub = relations_pb2_grpc.RelationServiceStub(service.channel)
        self._world = world
        self._metadata = metadata_of(account, MEMORY_AUDIENCE)

    def call(self, rpc: str, **fields: Any) -> Any:
        request = getattr(pb, f"{rpc}Request")(world=self._world, **fields)
        return getattr(self._stub, rpc)(request, timeout=20, metadata=self._metadata)

    def write(
        self,
        subject: str,
        kind: str,
        target: str,
        strength: int = 0,
        expected: int = 0,
        **fields: Any,
    ) -> pb.WriteRelationResponse:
        made = relation(subject, kind, target, strength)
        found: pb.WriteRelationResponse = self.call(
            "WriteRelation", relation=made, expected_version=expected, **fields
        )
        return found

    def around(self, name: str, **fields: Any) -> pb.ListRelationsResponse:
        found: pb.ListRelationsResponse = self.call("ListRelations", concept=person(name), **fields)
        return found

    def sentences(self, name: str, **fields: Any) -> list[str]:
        """Subject, kind and object of each."""
        return [
            f"{each.relation.subject.name} {each.relation.kind} {each.relation.object.name}"
            for each in self.around(name, **fields).relations
        ]

    def versions(self, subject: str, kind: str, target: str) -> list[pb.RelationVersion]:
        name = pb.RelationName(subject=person(subject), kind=kind, object=person(target))
        return list(self.call("ListRelationVersions", relation=name).versions)

    def forget(self, subject: str, kind: str, target: str) -> int:
        name = pb.RelationName(subject=person(subject), kind=kind, object=person(target))
        return int(self.call("ForgetRelation", relation=name).forgotten)
