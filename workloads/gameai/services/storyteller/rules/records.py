"""PURE: arcs and beats as concepts of the memory, which keeps their versions, and back."""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import count, islice, takewhile
from typing import Any
from unicodedata import normalize

from gameai.knowledge.v1 import concepts_pb2, relations_pb2
from gameai.storyteller.v1 import storyteller_pb2 as pb

ARC_KIND, BEAT_KIND, EVENT_KIND = "story-arc", "story-beat", "story-beat"
KINDS = (ARC_KIND, BEAT_KIND)
# An attribute of both.
DIGEST = "digest"
# Of a concept of the memory.
_MOST_VALUE = 500
# A citation of a text that has a very long name is left out of the record.
_MOST_CITATIONS = 12
_MOST_STAGE_DIGITS = 2
_STATES: dict[str, "pb.BeatState.ValueType"] = {
    "planned": pb.BEAT_STATE_PLANNED,
    "happened": pb.BEAT_STATE_HAPPENED,
    "dropped": pb.BEAT_STATE_DROPPED,
    "resolving": pb.BEAT_STATE_RESOLVING,
}
_REASONS = dict(pb.DegradedReason.items())
STATE_NAMES: dict[int, str] = {number: name for name, number in _STATES.items()}


RESOLVED = (pb.BEAT_STATE_HAPPENED, pb.BEAT_STATE_DROPPED, pb.BEAT_STATE_RESOLVING)


@dataclass(frozen=True, kw_only=True, slots=True)
class KeptBeat:
    """A beat, and the digest of the request that wrote it, by which a repeated one is recognised."""

    beat: pb.Beat
    digest: str


def beat_name(arc: str, request_id: str) -> str:
    """The beat that a request plans: the same for the same request."""
    return f"{arc}-{_digest(arc, request_id)}"


def event_key(beat: str) -> str:
    """The key of the event that a beat becomes: a beat happens once."""
    return f"beat:{_digest(beat)}"


def plan_digest() -> str:
    """The digest of a plan: whatever a model wrote, the request is the same."""
    return _digest("planned")


def outcome_digest(happened: str) -> str:
    """The digest of an outcome; empty: dropped."""
    return _digest("happened", happened)


def alike(kept: str, given: str) -> bool:
    """Whether a text that the memory keeps in plain form may be one that was given: letters and digits are compared."""
    letters = ("".join(filter(str.isalnum, normalize("NFKC", each))) for each in (kept, given))
    return next(letters) == next(letters)


def arc_concept(arc: pb.Arc) -> concepts_pb2.Concept:
    """The concept that holds an arc. By its digest a repeated request is recognised."""
    attributes = {f"stage-{number:02}": stage for number, stage in enumerate(arc.stages, start=1)}
    if arc.closed:
        attributes["closed"] = "true"
    attributes[DIGEST] = _digest(arc.goal, *arc.stages, str(arc.closed))
    return concepts_pb2.Concept(
        kind=ARC_KIND, name=arc.name, summary=arc.goal, attributes=attributes
    )


def arc_of(found: concepts_pb2.ConceptVersion) -> pb.Arc:
    """The arc that a concept holds. Others may have written it: what has another form is left out."""
    attributes = found.concept.attributes
    texts = (attributes.get(f"stage-{number:02}", "") for number in count(1))
    stages = list(takewhile(bool, texts))
    return pb.Arc(
        name=found.concept.name,
        goal=found.concept.summary,
        stages=stages,
        closed=attributes.get("closed") == "true",
        version=found.version,
    )


def relation_texts(relations: Iterable[relations_pb2.Relation], most: int) -> list[str]:
    """Sentences on what concepts are to each other: each once, the strongest, without those that name an arc or a beat."""
    shown = (
        each
        for each in sorted(relations, key=lambda each: -each.strength)
        if each.subject.kind not in KINDS and each.object.kind not in KINDS
    )
    return list(islice(dict.fromkeys(map(_sentence, shown)), most))


def _sentence(relation: relations_pb2.Relation) -> str:
    kind = re.sub("[._-]+", " ", relation.kind)
    subject, target = relation.subject, relation.object
    if subject.name == target.name:
        return f"{subject.name} ({subject.kind}) {kind} {target.name} ({target.kind})"
    return f"{subject.name} {kind} {target.name}"


def beat_concept(kept: KeptBeat) -> concepts_pb2.Concept:
    """The concept that holds a beat."""
    beat = kept.beat
    attributes = {**beats_of(beat.arc, beat.state), DIGEST: kept.digest}
    if beat.stage:
        attributes["stage"] = str(beat.stage)
    if beat.degraded_reason:
        attributes["degraded"] = pb.DegradedReason.Name(beat.degraded_reason)
    texts = (_citation_text(each) for each in beat.citations)
    numbered = enumerate((each for each in texts if len(each) <= _MOST_VALUE), start=1)
    attributes |= {f"citation-{n:02}": each for n, each in numbered if n <= _MOST_CITATIONS}
    return concepts_pb2.Concept(
        kind=BEAT_KIND, name=beat.name, summary=beat.text, attributes=attributes
    )


def beats_of(arc: str, state: int) -> dict[str, str]:
    """What all beats of an arc, in some state or (0) any, have in common. The memory could take a name for a phone number."""
    found = {"arc-digest": _digest(arc)}
    return {**found, "state": STATE_NAMES[state]} if state else found


def kept_beat(found: concepts_pb2.ConceptVersion) -> KeptBeat:
    """The beat that a concept holds. Others may have written it: what has another form is left out."""
    attributes = found.concept.attributes
    stage = attributes.get("stage", "")
    beat = pb.Beat(
        name=found.concept.name,
        arc=found.concept.name.rpartition("-")[0],
        state=_STATES.get(attributes.get("state", ""), pb.BEAT_STATE_UNSPECIFIED),
        text=found.concept.summary,
        stage=int(stage)
        if stage.isascii() and stage.isdigit() and len(stage) <= _MOST_STAGE_DIGITS
        else 0,
        citations=_citations(
            attributes[key] for key in sorted(attributes) if key.startswith("citation-")
        ),
        degraded_reason=_REASONS.get(
            attributes.get("degraded", ""), pb.DEGRADED_REASON_UNSPECIFIED
        ),
        world_seconds=found.from_world_seconds,
        version=found.version,
        event_sequence=found.cause_sequence,
    )
    return KeptBeat(beat=beat, digest=attributes.get(DIGEST, ""))


def _citation_text(given: pb.Citation) -> str:
    if given.WhichOneof("origin") == "event_sequence":
        return _checked([given.event_sequence, given.trust])
    chunk = given.chunk
    where = [chunk.source, chunk.document, chunk.section, chunk.begin_byte, chunk.end_byte]
    return _checked([*where, given.trust])


def _citations(texts: Iterable[str]) -> list[pb.Citation]:
    found = []
    for text in texts:
        try:
            *fields, check = json.loads(text)
            if _checked(fields) != _checked(fields, check):
                continue
            *where, trust = fields
            if len(where) == 1:
                found.append(pb.Citation(event_sequence=where[0], trust=trust))
            else:
                source, document, section, begin, end = where
                chunk = pb.Chunk(
                    source=source,
                    document=document,
                    section=section,
                    begin_byte=begin,
                    end_byte=end,
                )
                found.append(pb.Citation(chunk=chunk, trust=trust))
        except (ValueError, TypeError):
            continue
    return found


def _checked(fields: Sequence[Any], check: str = "") -> str:
    """The text of a citation. The memory removes what looks like personal data, a date in a name say: the check tells."""
    return json.dumps([*fields, check or _digest(json.dumps(fields))], ensure_ascii=False)


def _digest(*parts: str) -> str:
    """A letter in front, so that no rule of the memory takes it for a number of a card or a phone."""
    return "d" + blake2b("\0".join(parts).encode(), digest_size=8).hexdigest()
