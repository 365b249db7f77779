"""PURE: what is given to the language model of lore and history, within a budget of characters."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest

from gameai.knowledge.v1 import history_pb2, knowledge_pb2
from gameai.storyteller.v1 import storyteller_pb2 as pb

MOST_TEXT = 1500
_MOST_EXCERPT = 400


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """A text, where it is from, and how near it is to what was searched: a cosine, 0 where only words were compared."""

    text: str
    citation: pb.Citation
    similarity: float = 0.0


def of_hit(hit: knowledge_pb2.Hit) -> Source:
    """A chunk of lore."""
    found = hit.provenance
    chunk = pb.Chunk(
        source=found.source,
        document=found.document,
        section=found.section,
        begin_byte=found.begin_byte,
        end_byte=found.end_byte,
        document_sha256=found.document_sha256,
    )
    return _source(hit.content, pb.Citation(chunk=chunk, trust=hit.trust), hit.similarity)


def of_event(found: history_pb2.RecordedEvent, similarity: float = 0.0) -> Source:
    """An event of the world's history."""
    event = found.event
    who = f" ({', '.join(event.participants)})" if event.participants else ""
    citation = pb.Citation(event_sequence=found.sequence, trust=event.confidence)
    return _source(
        f"World second {event.world_seconds}: {event.summary}{who}", citation, similarity
    )


def chosen(lore: Sequence[Source], history: Sequence[Source], budget: int) -> list[Source]:
    """The best of both in turn, the nearest first, as many as have room in `budget` characters; at least one where there is any."""
    lists = sorted(
        (history, lore), key=lambda each: -max((s.similarity for s in each[:1]), default=0)
    )
    pairs = chain.from_iterable(zip_longest(*lists))
    return _fitting((each for each in pairs if each is not None), budget)


def period(events: Sequence[history_pb2.RecordedEvent], budget: int) -> tuple[list[Source], bool]:
    """The most important events that have room, in the order of world time, and whether some have none."""
    ranked = sorted(events, key=lambda each: (-each.event.importance, each.sequence))
    kept = len(_fitting(map(of_event, ranked), budget))
    told = sorted(ranked[:kept], key=lambda each: (each.event.world_seconds, each.sequence))
    return [of_event(each) for each in told], kept < len(events)


def _fitting(sources: Iterable[Source], budget: int) -> list[Source]:
    found: list[Source] = []
    for each in sources:
        if found and len(each.text) > budget:
            break
        found.append(each)
        budget -= len(each.text)
    return found


def _source(text: str, citation: pb.Citation, similarity: float) -> Source:
    text = " ".join(text.split())
    citation.excerpt = text[:_MOST_EXCERPT]
    return Source(text=text[:MOST_TEXT], citation=citation, similarity=similarity)
