"""ConceptService over gRPC: what is known of persons, places and the like, and how it changed."""

from collections.abc import Mapping

from gameai.errors import FullError, InvalidArgumentError, NotFoundError
from gameai.knowledge.concepts import (
    MOST_SUMMARY_CHARACTERS,
    MOST_VALUE_CHARACTERS,
    Content,
    Evolution,
    Evolved,
    Named,
)
from gameai.knowledge.embedding.intake import Intake
from gameai.knowledge.embedding.queries import QueryVectors
from gameai.knowledge.ingestion.suspicion import reasons_of, words
from gameai.knowledge.rpc import concept_wire, wire
from gameai.knowledge.rpc.admission import (
    Context,
    Gatekeeper,
    check_author,
    check_reader,
    check_reviewer,
)
from gameai.knowledge.rpc.asking import taken, twice
from gameai.knowledge.rpc.faults import OTHER_MODEL, versioned, written
from gameai.knowledge.store import concepts as store
from gameai.knowledge.store.connections import Connection, Connections
from gameai.knowledge.store.events import OtherModelError
from gameai.knowledge.v1 import concepts_pb2 as pb
from gameai.knowledge.v1 import concepts_pb2_grpc


class ConceptService(concepts_pb2_grpc.ConceptServiceServicer):
    """Keeps concepts. A text that addresses the model which will read it is refused: a service can write another one."""

    def __init__(
        self,
        connections: Connections,
        vectors: QueryVectors,
        intake: Intake,
        model: str,
        gatekeeper: Gatekeeper,
    ) -> None:
        self._connections = connections
        self._vectors = vectors
        self._intake = intake
        self._model = model
        self._gatekeeper = gatekeeper

    async def EvolveConcept(
        self, request: pb.EvolveConceptRequest, context: Context
    ) -> pb.EvolveConceptResponse:
        """Write a version."""
        rights = self._gatekeeper.rights(context)
        given = request.concept
        concept = concept_wire.named(request.world, given.kind, given.name, "concept.")
        check_author(rights, concept.world)
        sent = concept_wire.content(request)
        expected = concept_wire.expected(request)

        def prepared() -> tuple[Evolution, bytes]:
            stored = _checked(concept, sent)
            made = Evolution(concept=concept, expected=expected, stored=stored)
            return made, self._intake.vectors([made.embedded])[0]

        with written():
            evolution, vector = await self._intake.do(rights.account, prepared)
        found = await self._evolved(evolution, vector, rights.account)
        return pb.EvolveConceptResponse(version=found.version, known=found.known)

    async def GetConcept(
        self, request: pb.GetConceptRequest, context: Context
    ) -> pb.GetConceptResponse:
        """The version that holds."""
        concept = concept_wire.named(request.world, request.kind, request.name)
        check_reader(self._gatekeeper.rights(context), concept.world)
        async with taken(self._connections) as connection:
            found = await store.get(connection, concept, concept_wire.as_of(request))
        if found is None:
            then = request.HasField("as_of_world_seconds")
            raise NotFoundError(concept_wire.absent(concept, then=then), field="name")
        return pb.GetConceptResponse(version=concept_wire.version_message(found))

    async def ListConceptVersions(
        self, request: pb.ListConceptVersionsRequest, context: Context
    ) -> pb.ListConceptVersionsResponse:
        """A page of versions."""
        concept = concept_wire.named(request.world, request.kind, request.name)
        check_reader(self._gatekeeper.rights(context), concept.world)
        after, count = concept_wire.page(request)
        async with taken(self._connections) as connection:
            found = await store.versions(connection, concept, after, count)
        return pb.ListConceptVersionsResponse(versions=map(concept_wire.version_message, found))

    async def ListConcepts(
        self, request: pb.ListConceptsRequest, context: Context
    ) -> pb.ListConceptsResponse:
        """A page of concepts."""
        wanted = concept_wire.listing(request)
        check_reader(self._gatekeeper.rights(context), wanted.world)
        async with taken(self._connections) as connection:
            found = await store.listed(connection, wanted)
        return pb.ListConceptsResponse(
            versions=map(concept_wire.version_message, found[: wanted.count]),
            more=len(found) > wanted.count,
        )

    async def SearchConcepts(
        self, request: pb.SearchConceptsRequest, context: Context
    ) -> pb.SearchConceptsResponse:
        """The nearest concepts."""
        world = wire.world(request.world)
        rights = self._gatekeeper.rights(context)
        check_reader(rights, world)
        text, kinds, count = concept_wire.search(request)
        seconds = concept_wire.as_of(request)
        [vector] = await self._vectors.of([text], rights.account)
        async with taken(self._connections) as connection:
            found = await store.search(
                connection, world, text, vector, kinds=kinds, seconds=seconds, count=count
            )
        return pb.SearchConceptsResponse(
            hits=map(concept_wire.hit_message, found), degraded=vector is None
        )

    async def ForgetConcept(
        self, request: pb.ForgetConceptRequest, context: Context
    ) -> pb.ForgetConceptResponse:
        """Delete a concept."""
        concept = concept_wire.named(request.world, request.kind, request.name)
        rights = self._gatekeeper.rights(context)
        check_reviewer(rights)
        check_reader(rights, concept.world)
        async with taken(self._connections) as connection:
            count = await store.forget(connection, concept)
        return pb.ForgetConceptResponse(forgotten=count)

    async def _evolved(self, evolution: Evolution, vector: bytes, account: str) -> Evolved:
        concept = evolution.concept
        what = f"concept {concept.kind} {concept.name!r}"

        async def write(connection: Connection) -> Evolved:
            return await store.evolve(
                connection, evolution, vector, account=account, model=self._model
            )

        try:
            with versioned(what, evolution.expected, "ForgetConcept"):
                return await twice(self._connections, write)
        except OtherModelError as error:
            raise FullError(OTHER_MODEL) from error


def _checked(concept: Named, sent: Content) -> Content:
    """The content as it is stored. Raises `InvalidArgumentError`."""
    summary, attributes = _plain(sent)
    # As sent and as stored: what is removed can bring words together. Values also by themselves, as others may read them.
    forms = (
        _parts(concept, sent.summary, sent.attributes),
        _parts(concept, summary, attributes),
    )
    why = next(filter(None, map(reasons_of, dict.fromkeys(forms))), ())
    if why:
        raise InvalidArgumentError(
            f"concept addresses the model that will read it ({', '.join(why)}): write what is to be known, and no orders",
            field="concept.summary",
        )
    return Content(
        summary=summary,
        attributes=attributes,
        from_seconds=sent.from_seconds,
        cause=sent.cause,
    )


def _parts(concept: Named, summary: str, attributes: Mapping[str, str]) -> tuple[str, ...]:
    pairs = (f"{words(key)}: {value}" for key, value in attributes.items())
    return (words(concept.kind), concept.name, summary, *pairs, *attributes.values())


def _plain(sent: Content) -> tuple[str, dict[str, str]]:
    """Summary and attributes as they are stored. Raises `InvalidArgumentError`."""
    summary = wire.plain(sent.summary, "concept.summary", MOST_SUMMARY_CHARACTERS)
    if not summary:
        raise InvalidArgumentError("concept.summary has no visible text", field="concept.summary")
    attributes = {
        key: wire.plain(value, "concept.attributes", MOST_VALUE_CHARACTERS)
        for key, value in sent.attributes.items()
    }
    return summary, attributes
