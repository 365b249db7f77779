"""EDGE: the memory of a world's knowledge base: searches, events, concepts and relations, with the token of the caller."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import grpc
from gameai_contract.names import CONFIG_ENVIRONMENT, MEMORY_TOKEN_ENVIRONMENT
from gameai_contract.world_config import ConfigError, parse

from gameai.client.memory_connection import GRACE_SECONDS, MemoryConnection
from gameai.client.reply import AccessError
from gameai.knowledge.v1 import concepts_pb2, history_pb2, relations_pb2
from gameai.knowledge.v1 import knowledge_pb2 as pb

DEADLINE_SECONDS = 2.0
# Texts that are written are checked and embedded, one call after the other.
WRITE_DEADLINE_SECONDS = GRACE_SECONDS


class Memory:
    """A client of one memory; belongs to one event loop.

    `address` is `host:port`, or the Path of a world's configuration, which names it; of a headless Service all pods are called
    in turn. `world` is `namespace/name`; empty: only
    the lore of all worlds. `token_file` is a projected ServiceAccount token of audience `gameai-memory`, read again for
    each call; None for a memory on a laptop. Memories do not encrypt connections, so a token needs `insecure`.

    Raises ValueError for an address of another form, and for a `token_file` without `insecure`.
    """

    def __init__(
        self,
        address: str | Path,
        *,
        world: str = "",
        token_file: str | Path | None = None,
        insecure: bool = False,
    ) -> None:
        if token_file and not insecure:
            raise ValueError(
                "memories do not encrypt connections: the token would cross the network in clear. "
                "Give insecure=True where you trust the network between here and the memory"
            )
        self._world = world
        self._connection = MemoryConnection(address, Path(token_file) if token_file else None)

    @classmethod
    def of_world(cls, *, insecure: bool = False) -> Self:
        """The client for a service of a world, from what the operator gives its pod: address, world, token.

        The address is read again for each call: it appears and changes with `spec.knowledgeBaseRef` of the GameWorld. Until
        there is one, calls raise `NoAnswerError`. Raises `ConfigError` in a pod of a template older than revision 4, and
        ValueError without `insecure`.
        """
        file = Path(os.environ.get(CONFIG_ENVIRONMENT, ""))
        token = os.environ.get(MEMORY_TOKEN_ENVIRONMENT)
        if not file.is_file() or not token:
            raise ConfigError(
                f"{CONFIG_ENVIRONMENT} and {MEMORY_TOKEN_ENVIRONMENT} must be set, as the operator does for a "
                "world's services; elsewhere give Memory an address, world and token_file"
            )
        config = parse(file.read_text())
        world = f"{config.namespace}/{config.world}"
        return cls(file, world=world, token_file=token, insecure=insecure)

    async def __aenter__(self) -> Self:
        """Connects with the first call."""
        self._connection.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it; calls that are open end."""
        await self._connection.close()

    async def search(
        self,
        text: str,
        *,
        count: int = 10,
        minimum_trust: int | None = None,
        audience: Sequence[str] = (),
        timeout_seconds: float = DEADLINE_SECONDS,
    ) -> pb.SearchResponse:
        """Find chunks of lore and of the world's history, by meaning and by words; best first.

        Raises `QuestionError` for what no memory would take, `AccessError` where the caller may not, and `NoAnswerError`
        where nothing came in time.
        """
        request = pb.SearchRequest(
            text=text,
            world=self._world,
            count=count,
            minimum_trust=minimum_trust,
            audience=_names("audience", audience),
        )
        found: pb.SearchResponse = await self._connection.call(
            "knowledge", "Search", request, timeout_seconds
        )
        return found

    async def append_events(
        self, *events: history_pb2.Event, timeout_seconds: float = WRITE_DEADLINE_SECONDS
    ) -> Sequence[history_pb2.AppendedEvent]:
        """Write 1 to 32 events to the world's history, all or none. A repeated call with the same keys changes nothing.

        Raises as `search` does; after `NoAnswerError` the events may have been written: call again with the same keys.
        """
        request = history_pb2.AppendEventsRequest(world=self._world, events=events)
        found = await self._connection.call("history", "AppendEvents", request, timeout_seconds)
        return tuple(found.events)

    async def list_events(
        self,
        *,
        after_sequence: int = 0,
        count: int = 50,
        from_world_seconds: int | None = None,
        until_world_seconds: int | None = None,
        minimum_confidence: int = 0,
        timeout_seconds: float = DEADLINE_SECONDS,
    ) -> history_pb2.ListEventsResponse:
        """A page of the world's history in order, or of a period of it, and the position of the next one. Raises as `search` does."""
        request = history_pb2.ListEventsRequest(
            world=self._world,
            after_sequence=after_sequence,
            count=count,
            from_world_seconds=from_world_seconds,
            until_world_seconds=until_world_seconds,
            minimum_confidence=minimum_confidence,
        )
        found: history_pb2.ListEventsResponse = await self._connection.call(
            "history", "ListEvents", request, timeout_seconds
        )
        return found

    async def search_events(
        self,
        text: str,
        *,
        count: int = 10,
        until_world_seconds: int | None = None,
        minimum_confidence: int = 0,
        timeout_seconds: float = DEADLINE_SECONDS,
    ) -> Sequence[history_pb2.EventHit]:
        """Find events of the world's history, best first; with a time those that had happened until then. Raises as `search` does."""
        request = history_pb2.SearchEventsRequest(
            world=self._world,
            text=text,
            count=count,
            until_world_seconds=until_world_seconds,
            minimum_confidence=minimum_confidence,
        )
        found = await self._connection.call("history", "SearchEvents", request, timeout_seconds)
        return tuple(found.hits)

    async def evolve_concept(
        self,
        concept: concepts_pb2.Concept,
        *,
        expected_version: int = 0,
        world_seconds: int = 0,
        cause_sequence: int = 0,
        timeout_seconds: float = WRITE_DEADLINE_SECONDS,
    ) -> int:
        """Write the version of a concept of the world that follows `expected_version` (0: its first), and return its number.

        A version is the whole concept: attributes that it does not have are gone from then on. A version of all worlds does not
        count. Raises as `search` does, and `ConflictError` where another version was written meanwhile. The same call again,
        with the same `expected_version`, writes nothing twice.
        """
        request = concepts_pb2.EvolveConceptRequest(
            world=self._world,
            concept=concept,
            expected_version=expected_version,
            world_seconds=world_seconds,
            cause_sequence=cause_sequence,
        )
        found = await self._connection.call("concepts", "EvolveConcept", request, timeout_seconds)
        return int(found.version)

    async def concept(
        self,
        kind: str,
        name: str,
        *,
        as_of_world_seconds: int | None = None,
        timeout_seconds: float = DEADLINE_SECONDS,
    ) -> concepts_pb2.ConceptVersion | None:
        """A concept as the world sees it now, or saw it then; None where there is none. Its `world` is empty where it is of all worlds.

        Raises as `search` does.
        """
        request = concepts_pb2.GetConceptRequest(
            world=self._world, kind=kind, name=name, as_of_world_seconds=as_of_world_seconds
        )
        try:
            found = await self._connection.call("concepts", "GetConcept", request, timeout_seconds)
        except AccessError as error:
            if error.code is grpc.StatusCode.NOT_FOUND:
                return None
            raise
        version: concepts_pb2.ConceptVersion = found.version
        return version

    async def list_concepts(
        self,
        *,
        kinds: Sequence[str] = (),
        attributes: Mapping[str, str] | None = None,
        after: tuple[str, str] = ("", ""),
        count: int = 50,
        timeout_seconds: float = DEADLINE_SECONDS,
    ) -> concepts_pb2.ListConceptsResponse:
        """A page of concepts as the world sees them, in order of kind and name; `after` is kind and name of the last one of the page before.

        Raises as `search` does.
        """
        request = concepts_pb2.ListConceptsRequest(
            world=self._world,
            kinds=_names("kinds", kinds),
            attributes=attributes or {},
            after_kind=after[0],
            after_name=after[1],
            count=count,
        )
        found: concepts_pb2.ListConceptsResponse = await self._connection.call(
            "concepts", "ListConcepts", request, timeout_seconds
        )
        return found

    async def concept_versions(
        self,
        kind: str,
        name: str,
        *,
        after_version: int = 0,
        count: int = 50,
        timeout_seconds: float = DEADLINE_SECONDS,
    ) -> Sequence[concepts_pb2.ConceptVersion]:
        """A page of the versions of a concept that are the world's own, in order. Raises as `search` does."""
        request = concepts_pb2.ListConceptVersionsRequest(
            world=self._world, kind=kind, name=name, after_version=after_version, count=count
        )
        found = await self._connection.call(
            "concepts", "ListConceptVersions", request, timeout_seconds
        )
        return tuple(found.versions)

    async def search_concepts(
        self,
        text: str,
        *,
        kinds: Sequence[str] = (),
        count: int = 10,
        as_of_world_seconds: int | None = None,
        timeout_seconds: float = DEADLINE_SECONDS,
    ) -> Sequence[concepts_pb2.ConceptHit]:
        """Find concepts as the world sees them, best first. Raises as `search` does."""
        request = concepts_pb2.SearchConceptsRequest(
            world=self._world,
            text=text,
            kinds=_names("kinds", kinds),
            count=count,
            as_of_world_seconds=as_of_world_seconds,
        )
        found = await self._connection.call("concepts", "SearchConcepts", request, timeout_seconds)
        return tuple(found.hits)

    async def write_relation(
        self,
        relation: relations_pb2.Relation,
        *,
        ended: bool = False,
        expected_version: int = 0,
        world_seconds: int = 0,
        cause_sequence: int = 0,
        timeout_seconds: float = DEADLINE_SECONDS,
    ) -> int:
        """Write the version of a relation of the world that follows `expected_version` (0: its first), and return its number.

        It holds, or has ended, from `world_seconds` on. Raises as `evolve_concept` does, and can be repeated as that.
        """
        request = relations_pb2.WriteRelationRequest(
            world=self._world,
            relation=relation,
            ended=ended,
            expected_version=expected_version,
            world_seconds=world_seconds,
            cause_sequence=cause_sequence,
        )
        found = await self._connection.call("relations", "WriteRelation", request, timeout_seconds)
        return int(found.version)

    async def relations(
        self,
        kind: str,
        name: str,
        *,
        kinds: Sequence[str] = (),
        direction: relations_pb2.Direction.ValueType = relations_pb2.DIRECTION_BOTH,
        depth: int = 1,
        count: int = 50,
        as_of_world_seconds: int | None = None,
        timeout_seconds: float = DEADLINE_SECONDS,
    ) -> relations_pb2.ListRelationsResponse:
        """The relations of a concept and of those that are at most `depth` relations away, with these concepts.

        Raises as `search` does, and `AccessError` with NOT_FOUND where the world has no such concept.
        """
        request = relations_pb2.ListRelationsRequest(
            world=self._world,
            concept=relations_pb2.ConceptName(kind=kind, name=name),
            kinds=_names("kinds", kinds),
            direction=direction,
            depth=depth,
            count=count,
            as_of_world_seconds=as_of_world_seconds,
        )
        found: relations_pb2.ListRelationsResponse = await self._connection.call(
            "relations", "ListRelations", request, timeout_seconds
        )
        return found

    async def relation_versions(
        self,
        relation: relations_pb2.RelationName,
        *,
        after_version: int = 0,
        count: int = 50,
        timeout_seconds: float = DEADLINE_SECONDS,
    ) -> Sequence[relations_pb2.RelationVersion]:
        """A page of the versions of a relation that are the world's own, in order. Raises as `search` does."""
        request = relations_pb2.ListRelationVersionsRequest(
            world=self._world, relation=relation, after_version=after_version, count=count
        )
        found = await self._connection.call(
            "relations", "ListRelationVersions", request, timeout_seconds
        )
        return tuple(found.versions)


def _names(field: str, given: Sequence[str]) -> Sequence[str]:
    """A text is a sequence too, of letters: it would find nothing, in silence. Raises TypeError."""
    if isinstance(given, str):
        raise TypeError(f"{field} must be a list of names: write {field}=[{given!r}]")
    return given
