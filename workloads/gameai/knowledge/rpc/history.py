"""HistoryService over gRPC: events of worlds."""

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager

from gameai_contract.knowledge import Rights

from gameai.errors import ExhaustedError, FullError, InvalidArgumentError
from gameai.knowledge.embedding.intake import Intake
from gameai.knowledge.embedding.queries import QueryVectors
from gameai.knowledge.events import (
    MOST_EVENTS,
    MOST_PAGE,
    MOST_SUMMARY_CHARACTERS,
    Appended,
    Checked,
    Event,
)
from gameai.knowledge.ingestion.suspicion import reasons_of, words
from gameai.knowledge.records import Status
from gameai.knowledge.rpc import history_wire, wire
from gameai.knowledge.rpc.admission import (
    Context,
    Gatekeeper,
    check_reviewer,
    check_world,
    check_writer,
)
from gameai.knowledge.rpc.asking import taken, twice
from gameai.knowledge.rpc.faults import OTHER_MODEL, written
from gameai.knowledge.store import events as store
from gameai.knowledge.store import searching
from gameai.knowledge.store.connections import Connection, Connections
from gameai.knowledge.v1 import history_pb2 as pb
from gameai.knowledge.v1 import history_pb2_grpc


class HistoryService(history_pb2_grpc.HistoryServiceServicer):
    """Keeps what happened in worlds. Without an embedder nothing is appended: its vector would be missing for good."""

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
        # One deletion at a time: it may hold a connection for a minute.
        self._forgetting = False

    async def AppendEvents(
        self, request: pb.AppendEventsRequest, context: Context
    ) -> pb.AppendEventsResponse:
        """Write events, all or none."""
        rights = self._gatekeeper.rights(context)
        world = _world(request.world)
        check_writer(rights, world)
        given = history_wire.events(request.events)
        known = await self._known(world, given)
        with written():
            checked, vectors = await self._intake.do(
                rights.account, lambda: _prepared(given, known, self._intake)
            )

        async def write(connection: Connection) -> list[Appended]:
            return await store.append(
                connection, world, checked, vectors, account=rights.account, model=self._model
            )

        try:
            found = await twice(self._connections, write)
        except store.KeyReusedError as error:
            field = f"events[{error.index}].key"
            raise InvalidArgumentError(
                f"{field} {checked[error.index].event.key!r} was used for another event: use a new key for each event",
                field=field,
            ) from error
        except store.FullError as error:
            raise FullError(
                f"world {world!r} would have more than {MOST_EVENTS} events: delete old ones with ForgetEvents"
            ) from error
        except store.OtherModelError as error:
            raise FullError(OTHER_MODEL) from error
        return pb.AppendEventsResponse(events=map(history_wire.appended_message, found))

    async def ListEvents(
        self, request: pb.ListEventsRequest, context: Context
    ) -> pb.ListEventsResponse:
        """A page of a history."""
        rights = self._gatekeeper.rights(context)
        world = _world(request.world)
        check_world(rights, world)
        wanted = history_wire.page(request)
        if wanted.held:
            check_reviewer(rights)
        async with self._of_world(world) as (connection, number):
            found = await store.page(connection, number, wanted) if number is not None else []
        return pb.ListEventsResponse(
            events=map(history_wire.recorded_message, found),
            next_after_sequence=found[-1].sequence if found else wanted.after,
            more=len(found) == wanted.count,
        )

    async def SearchEvents(
        self, request: pb.SearchEventsRequest, context: Context
    ) -> pb.SearchEventsResponse:
        """The nearest events."""
        world = _world(request.world)
        rights = self._gatekeeper.rights(context)
        check_world(rights, world)
        text, window, count = history_wire.search(request)
        [vector] = await self._vectors.of([text], rights.account)
        async with self._of_world(world) as (connection, number):
            found = (
                await store.search(connection, number, text, vector, window, count)
                if number is not None
                else []
            )
        return pb.SearchEventsResponse(
            hits=map(history_wire.hit_message, found), degraded=vector is None
        )

    async def ReviewEvents(
        self, request: pb.ReviewEventsRequest, context: Context
    ) -> pb.ReviewEventsResponse:
        """Release or reject."""
        rights = self._gatekeeper.rights(context)
        check_reviewer(rights)
        world = _world(request.world)
        check_world(rights, world)
        if not 1 <= len(request.sequences) <= MOST_PAGE:
            raise InvalidArgumentError(f"sequences must be 1 to {MOST_PAGE}", field="sequences")
        reviewer = _reviewer(rights, request.reviewer)
        verdict = Status.LIVE if request.release else Status.REJECTED
        async with self._of_world(world) as (connection, number):
            count = (
                await store.review(connection, number, request.sequences, verdict, reviewer)
                if number is not None
                else 0
            )
        return pb.ReviewEventsResponse(reviewed=count)

    async def ForgetEvents(
        self, request: pb.ForgetEventsRequest, context: Context
    ) -> pb.ForgetEventsResponse:
        """Delete for good."""
        rights = self._gatekeeper.rights(context)
        check_reviewer(rights)
        world = _world(request.world)
        check_world(rights, world)
        before = history_wire.before_seconds(request)
        participant = request.participant
        if participant:
            participant = history_wire.participant("participant", participant)
        if self._forgetting:
            raise ExhaustedError("another deletion runs; call again")
        self._forgetting = True
        try:
            async with self._of_world(world, store.FORGET_SECONDS) as (connection, number):
                count = (
                    await store.forget(
                        connection,
                        number,
                        participant=participant,
                        before_seconds=before,
                        keys=request.keys,
                    )
                    if number is not None
                    else 0
                )
        finally:
            self._forgetting = False
        return pb.ForgetEventsResponse(forgotten=count)

    async def _known(self, world: str, events: Sequence[Event]) -> Collection[str]:
        """Keys that were appended before: nothing of them is checked or embedded again."""
        async with self._of_world(world) as (connection, number):
            if number is None:
                return ()
            return await store.known_keys(connection, number, [each.key for each in events])

    @asynccontextmanager
    async def _of_world(
        self, name: str, seconds: float | None = None
    ) -> AsyncIterator[tuple[Connection, int | None]]:
        """A connection, and the number of the world; None where nothing was written to it yet."""
        async with taken(self._connections, seconds) as connection:
            yield connection, await searching.world_number(connection, name)


def _world(given: str) -> str:
    if not given:
        raise InvalidArgumentError("world must be namespace/name of a GameWorld", field="world")
    return wire.world(given)


def _prepared(
    events: Sequence[Event], known: Collection[str], intake: Intake
) -> tuple[list[Checked], list[bytes]]:
    """The events as they are stored, with a vector for each that is new; empty for the others."""
    checked = [
        _checked(each, index, new=each.key not in known) for index, each in enumerate(events)
    ]
    texts = [each.summary for each in checked if each.event.key not in known]
    vectors = iter(intake.vectors(texts))
    return checked, [b"" if each.key in known else next(vectors) for each in events]


def _checked(event: Event, index: int, *, new: bool) -> Checked:
    """The event as it is stored. Raises `InvalidArgumentError` where nothing of its summary is left."""
    field = f"events[{index}].summary"
    summary = wire.plain(event.summary, field, MOST_SUMMARY_CHARACTERS)
    if not summary:
        raise InvalidArgumentError(f"{field} has no visible text", field=field)
    if not new:
        return Checked(event=event, summary=summary, reasons=())
    # All of it reaches a reader.
    why = reasons_of((event.summary, "\n".join(event.participants), words(event.kind, event.key)))
    return Checked(event=event, summary=summary, reasons=why)


def _reviewer(rights: Rights, name: str) -> str:
    if not (rights.account or name):
        raise InvalidArgumentError("reviewer must not be empty: who decides?", field="reviewer")
    return rights.account or wire.name(name, "reviewer")
