"""EDGE: what the storyteller reads of the memory, and what it keeps there."""

import asyncio
import contextlib
import logging
from collections.abc import Iterator, Mapping
from itertools import chain, islice
from types import MappingProxyType

from grpc import StatusCode

from gameai import client, errors
from gameai.client import AskError, Memory
from gameai.errors import FullError, InvalidArgumentError, ServiceFault, UnavailableError
from gameai.knowledge.v1 import concepts_pb2, history_pb2, relations_pb2
from gameai.services.storyteller.rules import prompts, records, requests, sources
from gameai.services.storyteller.rules.records import KeptBeat
from gameai.services.storyteller.rules.sources import Source
from gameai.storyteller.v1 import storyteller_pb2 as pb

_LOG = logging.getLogger(__name__)
_HITS = 8
# Beats are near to each other's situations: the persons and places are behind them.
_NEAR = 50
# Of one concept: some may name beats, or be those of another concept.
_RELATIONS = 2 * prompts.MOST_RELATIONS
_PAGE = 100
MOST_EVENTS = 500
# Of one arc, whatever their state.
MOST_BEATS = 500
_TRIES = 3
NO_MEMORY = "this world has no memory that the storyteller may ask: set spec.knowledgeBaseRef of the GameWorld, and see its condition KnowledgeReady (on a laptop: memory.endpoint of --config)"

NO_RIGHTS = (
    "the storyteller calls it with the token of its world, which its pods have from template revision 4 on: see KnowledgeReady"
    " of the GameWorld"
)
_KINDS: Mapping[StatusCode, type[ServiceFault]] = MappingProxyType(
    {
        StatusCode.FAILED_PRECONDITION: FullError,
        StatusCode.RESOURCE_EXHAUSTED: errors.ExhaustedError,
    }
)


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

    async def period(
        self, begin: int, end: int, trust: int
    ) -> tuple[list[history_pb2.RecordedEvent], bool]:
        """The events between two seconds of world time in the order of their numbers, and whether there are more."""
        events: list[history_pb2.RecordedEvent] = []
        after, more = 0, True
        while more and len(events) < MOST_EVENTS:
            with _faults():
                page = await self._memory.list_events(
                    after_sequence=after,
                    count=_PAGE,
                    from_world_seconds=begin,
                    until_world_seconds=end,
                    minimum_confidence=trust,
                )
            events += page.events
            after, more = page.next_after_sequence, page.more
        return events, more

    async def known(self, text: str) -> list[str]:
        """Sentences on the persons, places and the like that are nearest to a text, and on what they are to others."""
        with _faults():
            hits = await self._memory.search_concepts(text, count=_NEAR)
        every = (each.version.concept for each in hits)
        concepts = list(
            islice((e for e in every if e.kind not in records.KINDS), prompts.MOST_CONCEPTS)
        )
        pages = await asyncio.gather(*map(self._relations, concepts))
        related = records.relation_texts(chain.from_iterable(pages), prompts.MOST_RELATIONS)
        return [*(f"{each.name}: {each.summary}" for each in concepts), *related]

    async def _relations(self, concept: concepts_pb2.Concept) -> list[relations_pb2.Relation]:
        """What a concept is to others. A plan without that is better than none."""
        try:
            found = await self._memory.relations(concept.kind, concept.name, count=_RELATIONS)
        except AskError as error:
            _LOG.warning("a beat is planned without relations of a concept: %s", error.message)
            return []
        return [each.relation for each in found.relations]

    async def arc(self, name: str) -> pb.Arc | None:
        """An arc; None if absent."""
        found = await self._own(records.ARC_KIND, name)
        return None if found is None else records.arc_of(found)

    async def arcs(self, after: str, count: int) -> tuple[list[pb.Arc], bool]:
        """A page of arcs."""
        found, more = await self._listed(records.ARC_KIND, {}, after, count)
        return [records.arc_of(each) for each in found], more

    async def write_arc(self, arc: pb.Arc, expected: int, now: int) -> pb.Arc:
        """Write a version of an arc, once however often it is asked for; the arc as it is kept."""
        before = await self._own(records.ARC_KIND, arc.name) if expected else None
        if before is not None:
            now = max(now, before.from_world_seconds)
        return records.arc_of(await self._write(records.arc_concept(arc), expected, now))

    async def kept_beat(self, name: str) -> KeptBeat | None:
        """A beat with its digest; None if absent."""
        found = await self._own(records.BEAT_KIND, name)
        return None if found is None else records.kept_beat(found)

    async def beats(
        self, arc: str, state: int, after: str, count: int
    ) -> tuple[list[pb.Beat], bool]:
        """A page of an arc's beats, of one state or (0) all."""
        wanted = records.beats_of(arc, state)
        found, more = await self._listed(records.BEAT_KIND, wanted, after, count)
        return [records.kept_beat(each).beat for each in found], more

    async def all_beats(self, arc: str) -> list[pb.Beat]:
        """All beats of an arc. Raises `FullError` where there are too many for another one."""
        found, _ = await self.beats(arc, 0, "", MOST_BEATS)
        if len(found) >= MOST_BEATS:
            raise FullError(
                f"arc {arc} has {MOST_BEATS} beats, as many as an arc may have: begin another arc, or have a reviewer of the"
                " memory delete some with ForgetConcept",
                field="arc",
            )
        return found

    async def write_beat(self, kept: KeptBeat, now: int, cause: int = 0) -> pb.Beat:
        """Write the version of a beat that follows its own, once however often it is asked for; the beat as it is kept."""
        concept = records.beat_concept(kept)
        return records.kept_beat(await self._write(concept, kept.beat.version, now, cause)).beat

    async def append(self, event: history_pb2.Event) -> int:
        """Append an event, once for each key; its number, 0 where the memory holds it for a review."""
        with _faults():
            [appended] = await self._memory.append_events(event)
        return appended.sequence if appended.state == history_pb2.EVENT_STATE_LIVE else 0

    async def sequence(self, key: str, second: int) -> int:
        """The number of the event of a key that happened at a second of world time; 0 where there is none."""
        after, more = 0, True
        while more:
            with _faults():
                page = await self._memory.list_events(
                    after_sequence=after,
                    count=_PAGE,
                    from_world_seconds=second,
                    until_world_seconds=second,
                )
            for each in page.events:
                if each.event.key == key:
                    return each.sequence
            after, more = page.next_after_sequence, page.more and bool(page.events)
        return 0

    async def change(self, change: pb.ConceptChange, now: int, cause: int) -> None:
        """Write a version of a concept of the world that an event caused, unless that was done before; its attributes stay."""
        for left in reversed(range(_TRIES)):
            with _faults():
                before = await self._memory.concept(change.kind, change.name)
            own = before if before is not None and before.world else None
            if own is not None and await self._done(own, change, now, cause):
                return
            concept = concepts_pb2.Concept(
                kind=change.kind,
                name=change.name,
                summary=change.summary,
                attributes=before.concept.attributes if before is not None else {},
            )
            expected, at = (own.version, max(now, own.from_world_seconds)) if own else (0, now)
            try:
                await self._evolve(concept, expected, at, cause)
            except errors.ConflictError as error:
                if not left:
                    # To the caller a conflict is one of the beat.
                    raise UnavailableError(f"{error}: call again") from error
            else:
                return

    async def _done(
        self,
        latest: concepts_pb2.ConceptVersion,
        change: pb.ConceptChange,
        now: int,
        cause: int,
    ) -> bool:
        """Whether a change was written before: one of the latest versions has its event, or says the same from then on."""
        concept, after = latest.concept, max(0, latest.version - _PAGE)
        with _faults():
            found = await self._memory.concept_versions(
                concept.kind, concept.name, after_version=after, count=_PAGE
            )
        if cause and any(each.cause_sequence == cause for each in found):
            return True
        # While its event waited for a review, the event had no number, or another one.
        return any(
            not each.cause_sequence
            and each.from_world_seconds >= now
            and records.alike(each.concept.summary, change.summary)
            for each in found
        )

    async def _own(self, kind: str, name: str) -> concepts_pb2.ConceptVersion | None:
        """A concept of the world; those of all worlds are nothing of the storyteller's."""
        with _faults():
            found = await self._memory.concept(kind, name)
        return found if found is not None and found.world else None

    async def _listed(
        self, kind: str, attributes: Mapping[str, str], after: str, count: int
    ) -> tuple[list[concepts_pb2.ConceptVersion], bool]:
        """A page of the world's concepts of a kind, whatever others wrote between them, and whether there are more."""
        found: list[concepts_pb2.ConceptVersion] = []
        more = True
        while more and len(found) < count:
            with _faults():
                page = await self._memory.list_concepts(
                    kinds=[kind], attributes=attributes, after=(kind, after), count=_PAGE
                )
            more = page.more and bool(page.versions)
            own = [each for each in page.versions if each.world]
            found += [each for each in own if requests.own_name(each.concept.name)]
            after = page.versions[-1].concept.name if page.versions else after
        return found[:count], more or len(found) > count

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
        # As it is kept: without personal data. Later versions do not matter.
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
            found = await self._memory.concept_versions(
                concept.kind, concept.name, after_version=expected, count=1
            )
        wanted = concept.attributes[records.DIGEST]
        same = (each for each in found if each.concept.attributes.get(records.DIGEST) == wanted)
        return next(same, None)

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
    message = f"the memory: {error.message}"
    if isinstance(error, client.QuestionError):
        return InvalidArgumentError(message)
    if isinstance(error, client.ConflictError):
        return errors.ConflictError(error.message, field="expected_version")
    if error.code in (StatusCode.PERMISSION_DENIED, StatusCode.UNAUTHENTICATED):
        return errors.PermissionDeniedError(f"{message}; {NO_RIGHTS}")
    kind = _KINDS.get(error.code, UnavailableError)
    return kind(message)
