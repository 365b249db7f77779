"""EDGE: what the storyteller reads of the memory, and what it keeps there."""

import asyncio
import contextlib
from collections.abc import Iterator
from itertools import islice

from grpc import StatusCode

from gameai import client, errors
from gameai.client import AskError, Memory
from gameai.errors import FullError, InvalidArgumentError, ServiceFault, UnavailableError
from gameai.knowledge.v1 import concepts_pb2, history_pb2
from gameai.services.storyteller.rules import records, sources
from gameai.services.storyteller.rules.sources import Source
from gameai.storyteller.v1 import storyteller_pb2 as pb

_HITS = 8
_KNOWN = 5
_PAGE = 100
MOST_EVENTS = 500
# Of one arc, whatever their state.
MOST_BEATS = 500
_TRIES = 3
NO_MEMORY = "this world has no memory that the storyteller may ask: set spec.knowledgeBaseRef of the GameWorld, and see its condition KnowledgeReady"


class Archive:
    """Lore, history, arcs and beats of one world. Raises `UnavailableError` where the memory does not answer, and other `ServiceFault`."""

    def __init__(self, memory: Memory | None) -> None:
        self._given = memory

    async def found(self, text: str, trust: int, budget: int) -> list[Source]:
        """Lore and events that are nearest to a text, within a budget of characters."""
        with _faults():
            lore, history = await asyncio.gather(
                self._memory.search(text, count=_HITS, minimum_trust=trust),
                self._memory.search_events(text, count=_HITS, minimum_confidence=trust),
            )
        return sources.chosen(
            [sources.of_hit(each) for each in lore.hits],
            [sources.of_event(each.event, each.similarity) for each in history],
            budget,
        )

    async def period(self, begin: int, end: int) -> tuple[list[history_pb2.RecordedEvent], bool]:
        """The events between two seconds of world time, in the order in which they were appended, and whether there are more."""
        events: list[history_pb2.RecordedEvent] = []
        after, more = 0, True
        while more and len(events) < MOST_EVENTS:
            with _faults():
                page = await self._memory.list_events(
                    after_sequence=after,
                    count=_PAGE,
                    from_world_seconds=begin,
                    until_world_seconds=end,
                )
            events += page.events
            after, more = page.next_after_sequence, page.more
        return events, more

    async def known(self, text: str) -> list[str]:
        """Sentences on the persons, places and the like that are nearest to a text."""
        with _faults():
            hits = await self._memory.search_concepts(text, count=_KNOWN * 2)
        concepts = (each.version.concept for each in hits)
        own = (records.ARC_KIND, records.BEAT_KIND)
        found = (f"{each.name}: {each.summary}" for each in concepts if each.kind not in own)
        return list(islice(found, _KNOWN))

    async def arc(self, name: str) -> pb.Arc | None:
        """An arc; None if absent."""
        with _faults():
            found = await self._memory.concept(records.ARC_KIND, name)
        return None if found is None or not found.world else records.arc_of(found)

    async def arcs(self, after: str, count: int) -> tuple[list[pb.Arc], bool]:
        """A page of arcs."""
        with _faults():
            page = await self._memory.list_concepts(
                kinds=[records.ARC_KIND], after=(records.ARC_KIND, after), count=count
            )
        return [records.arc_of(each) for each in page.versions if each.world], page.more

    async def write_arc(self, arc: pb.Arc, expected: int, now: int) -> pb.Arc:
        """Write a version of an arc, once however often it is asked for; the arc as it is kept."""
        return records.arc_of(await self._write(records.arc_concept(arc), expected, now))

    async def beat(self, name: str) -> pb.Beat | None:
        """A beat; None if absent."""
        with _faults():
            found = await self._memory.concept(records.BEAT_KIND, name)
        return None if found is None or not found.world else records.beat_of(found)

    async def beats(
        self, arc: str, state: int, after: str, count: int
    ) -> tuple[list[pb.Beat], bool]:
        """A page of an arc's beats, of one state or (0) all."""
        attributes = {"arc": arc}
        if state:
            attributes["state"] = records.STATE_NAMES[state]
        with _faults():
            page = await self._memory.list_concepts(
                kinds=[records.BEAT_KIND],
                attributes=attributes,
                after=(records.BEAT_KIND, after),
                count=count,
            )
        return [records.beat_of(each) for each in page.versions if each.world], page.more

    async def all_beats(self, arc: str) -> list[pb.Beat]:
        """All beats of an arc. Raises `FullError` where there are too many for another one."""
        found: list[pb.Beat] = []
        more = True
        while more:
            page, more = await self.beats(arc, 0, found[-1].name if found else "", _PAGE)
            found += page
            if len(found) >= MOST_BEATS:
                raise FullError(
                    f"arc {arc} has {MOST_BEATS} beats, as many as an arc may have: begin another arc, or have a reviewer of the"
                    " memory delete some with ForgetConcept",
                    field="arc",
                )
        return found

    async def write_beat(self, beat: pb.Beat, expected: int, now: int, cause: int = 0) -> pb.Beat:
        """Write a version of a beat, once however often it is asked for; the beat as it is kept."""
        concept = records.beat_concept(beat)
        return records.beat_of(await self._write(concept, expected, now, cause))

    async def written_beat(self, beat: pb.Beat, expected: int) -> pb.Beat | None:
        """The beat as it is kept where it was written before as the version behind `expected`; else None."""
        found = await self._written(records.beat_concept(beat), expected)
        return None if found is None else records.beat_of(found)

    async def append(self, event: history_pb2.Event) -> int:
        """Append an event, once for each key; its number. Raises `InvalidArgumentError` where the memory holds it for a review."""
        with _faults():
            [appended] = await self._memory.append_events(event)
        if appended.state != history_pb2.EVENT_STATE_LIVE:
            raise InvalidArgumentError(
                "happened or a participant addresses the language model that will read it, or a review has rejected it:"
                " write what happened, and no orders",
                field="happened",
            )
        return appended.sequence

    async def change(self, change: pb.ConceptChange, now: int, cause: int) -> None:
        """Write a version of a concept of the world that an event caused, unless that was done before; its attributes stay."""
        for left in reversed(range(_TRIES)):
            with _faults():
                before = await self._memory.concept(change.kind, change.name)
            own = before is not None and bool(before.world)
            if before is not None and own and before.cause_sequence == cause:
                return
            concept = concepts_pb2.Concept(
                kind=change.kind,
                name=change.name,
                summary=change.summary,
                attributes=before.concept.attributes if before is not None else {},
            )
            expected = before.version if before is not None and own else 0
            try:
                await self._evolve(concept, expected, now, cause)
            except errors.ConflictError:
                if not left:
                    raise
            else:
                return

    @property
    def _memory(self) -> Memory:
        if self._given is None:
            raise UnavailableError(NO_MEMORY)
        return self._given

    async def _write(
        self, concept: concepts_pb2.Concept, expected: int, now: int, cause: int = 0
    ) -> concepts_pb2.ConceptVersion:
        try:
            await self._evolve(concept, expected, now, cause)
        except errors.ConflictError:
            # The memory recognises a repeated call only at the same time of the world.
            found = await self._written(concept, expected)
            if found is None:
                raise
            return found
        # As it is kept: without personal data.
        found = await self._written(concept, expected)
        if found is None:
            raise errors.ConflictError(
                f"{concept.kind} {concept.name} was changed again: read it",
                field="expected_version",
            )
        return found

    async def _written(
        self, concept: concepts_pb2.Concept, expected: int
    ) -> concepts_pb2.ConceptVersion | None:
        with _faults():
            found = await self._memory.concept(concept.kind, concept.name)
        if found is None or not found.world or found.version != expected + 1:
            return None
        digest = found.concept.attributes.get(records.DIGEST)
        return found if digest == concept.attributes[records.DIGEST] else None

    async def _evolve(
        self, concept: concepts_pb2.Concept, expected: int, now: int, cause: int
    ) -> None:
        with _faults():
            await self._memory.evolve_concept(
                concept, expected_version=expected, world_seconds=now, cause_sequence=cause
            )


@contextlib.contextmanager
def _faults() -> Iterator[None]:
    """Errors of the memory as errors of this service."""
    try:
        yield
    except AskError as error:
        raise _fault(error) from error


def _fault(error: AskError) -> ServiceFault:
    if isinstance(error, client.QuestionError):
        return InvalidArgumentError(f"the memory: {error.message}")
    if isinstance(error, client.ConflictError):
        return errors.ConflictError(error.message, field="expected_version")
    if error.code is StatusCode.FAILED_PRECONDITION:
        return FullError(f"the memory: {error.message}")
    return UnavailableError(f"the memory: {error.message}")
