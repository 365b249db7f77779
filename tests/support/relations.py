"""Calls of RelationService, for tests."""

from typing import Any

from gameai.knowledge.v1 import relations_pb2 as pb
from gameai.knowledge.v1 import relations_pb2_grpc
from gameai_contract.knowledge import MEMORY_AUDIENCE

from support.memory import Served
from support.tokens import token

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
        subject = f"system:serviceaccount:{account.replace('/', ':')}"
        given = token(sub=subject, aud=[MEMORY_AUDIENCE]) if account else ""
        self._metadata = (("authorization", f"Bearer {given}"),) if given else ()

    def write(
        self,
        subject: str,
        kind: str,
        target: str,
        strength: int = 0,
        expected: int = 0,
        **fields: Any,
    ) -> pb.WriteRelationResponse:
        request = pb.WriteRelationRequest(
            world=self._world,
            relation=relation(subject, kind, target, strength),
            expected_version=expected,
            **fields,
        )
        found: pb.WriteRelationResponse = self._stub.WriteRelation(
            request, timeout=20, metadata=self._metadata
        )
        return found

    def around(self, name: str, **fields: Any) -> pb.ListRelationsResponse:
        request = pb.ListRelationsRequest(world=self._world, concept=person(name), **fields)
        found: pb.ListRelationsResponse = self._stub.ListRelations(
            request, timeout=20, metadata=self._metadata
        )
        return found

    def sentences(self, name: str, **fields: Any) -> list[str]:
        """Subject, kind and object of each."""
        return [
            f"{each.relation.subject.name} {each.relation.kind} {each.relation.object.name}"
            for each in self.around(name, **fields).relations
        ]

    def versions(self, subject: str, kind: str, target: str) -> list[pb.RelationVersion]:
        name = pb.RelationName(subject=person(subject), kind=kind, object=person(target))
        request = pb.ListRelationVersionsRequest(world=self._world, relation=name)
        found = self._stub.ListRelationVersions(request, timeout=20, metadata=self._metadata)
        return list(found.versions)

    def forget(self, subject: str, kind: str, target: str) -> int:
        name = pb.RelationName(subject=person(subject), kind=kind, object=person(target))
        request = pb.ForgetRelationRequest(world=self._world, relation=name)
        found: pb.ForgetRelationResponse = self._stub.ForgetRelation(
            request, timeout=20, metadata=self._metadata
        )
        return found.forgotten
