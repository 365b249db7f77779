"""PURE: events of the wire to events, and back."""

import re
from collections.abc import Sequence
from types import MappingProxyType

from gameai.errors import InvalidArgumentError
from gameai.knowledge.events import (
    CONFIDENCE,
    LEAST_SECONDS,
    MOST_APPENDED,
    MOST_APPENDED_CHARACTERS,
    MOST_KINDS,
    MOST_PAGE,
    MOST_PARTICIPANT_CHARACTERS,
    MOST_PARTICIPANTS,
    MOST_SECONDS,
    MOST_SUMMARY_CHARACTERS,
    PAGE,
    Appended,
    Event,
    Evidence,
    Found,
    Page,
    Recorded,
    Window,
)
from gameai.knowledge.ingestion.cleaning import clean
from gameai.knowledge.ingestion.redaction import redact
from gameai.knowledge.records import MOST_HITS, Status
from gameai.knowledge.rpc.wire import kind, number, search_text
from gameai.knowledge.v1 import history_pb2 as pb

_KEY = re.compile(r"[A-Za-z0-9._:-]{1,64}")
_EVIDENCE = MappingProxyType(
    {
        pb.EVIDENCE_UNSPECIFIED: Evidence.WITNESSED,
        pb.EVIDENCE_WITNESSED: Evidence.WITNESSED,
        pb.EVIDENCE_REPORTED: Evidence.REPORTED,
        pb.EVIDENCE_RUMOUR: Evidence.RUMOUR,
        pb.EVIDENCE_SYSTEM: Evidence.SYSTEM,
    }
)
_OF_EVIDENCE = MappingProxyType({value: known for known, value in _EVIDENCE.items() if known})
_STATES = MappingProxyType(
    {
        Status.LIVE: pb.EVENT_STATE_LIVE,
        Status.QUARANTINED: pb.EVENT_STATE_HELD,
        Status.REJECTED: pb.EVENT_STATE_REJECTED,
    }
)
_PERCENT = 100
_COUNT = 10


def events(given: Sequence[pb.Event]) -> list[Event]:
    """The events of a call. Raises `InvalidArgumentError` with the field and what it takes."""
    if not 1 <= len(given) <= MOST_APPENDED:
        raise InvalidArgumentError(
            f"events must be 1 to {MOST_APPENDED}, not {len(given)}", field="events"
        )
    found = [_event(each, f"events[{index}]") for index, each in enumerate(given)]
    characters = sum(each.characters for each in found)
    if characters > MOST_APPENDED_CHARACTERS:
        raise InvalidArgumentError(
            f"events have {characters} characters of summaries and participants, at most {MOST_APPENDED_CHARACTERS} are allowed:"
            " send them in several calls",
            field="events",
        )
    keys = [each.key for each in found]
    twice = next((index for index, key in enumerate(keys) if key in keys[:index]), None)
    if twice is not None:
        raise InvalidArgumentError(
            f"events[{twice}].key {keys[twice]!r} is used twice in this call",
            field=f"events[{twice}].key",
        )
    return found


def _event(given: pb.Event, where: str) -> Event:
    if not _KEY.fullmatch(given.key):
        raise InvalidArgumentError(
            f"{where}.key must be 1 to 64 letters, digits, '.', '_', ':', '-': a random UUID will do",
            field=f"{where}.key",
        )
    if not 0 < len(given.summary.strip()) <= len(given.summary) <= MOST_SUMMARY_CHARACTERS:
        raise InvalidArgumentError(
            f"{where}.summary must have 1 to {MOST_SUMMARY_CHARACTERS} characters, not {len(given.summary)}",
            field=f"{where}.summary",
        )
    if given.evidence not in _EVIDENCE:
        raise InvalidArgumentError(
            f"{where}.evidence {given.evidence} is not known", field=f"{where}.evidence"
        )
    evidence = _EVIDENCE[given.evidence]
    confidence = given.confidence if given.HasField("confidence") else CONFIDENCE[evidence]
    importance = given.importance if given.HasField("importance") else _PERCENT // 2
    return Event(
        key=given.key,
        world_seconds=_seconds(f"{where}.world_seconds", given.world_seconds),
        kind=kind(given.kind, f"{where}.kind"),
        summary=given.summary.replace("\0", " "),
        participants=_participants(f"{where}.participants", given.participants),
        evidence=evidence,
        confidence=number(f"{where}.confidence", confidence, 0, _PERCENT),
        importance=number(f"{where}.importance", importance, 0, _PERCENT),
    )


def _participants(field: str, given: Sequence[str]) -> tuple[str, ...]:
    if len(given) > MOST_PARTICIPANTS:
        raise InvalidArgumentError(
            f"{field} must be at most {MOST_PARTICIPANTS}, not {len(given)}", field=field
        )
    return tuple(participant(field, each) for each in given)


def participant(field: str, value: str) -> str:
    """The name of a participant, in one form of each character. Raises `InvalidArgumentError`."""
    name = clean(value)
    whole = name and len(name) <= MOST_PARTICIPANT_CHARACTERS and name.isprintable()
    if not whole or set(value) & set("<>"):
        raise InvalidArgumentError(
            f"{field} takes names of 1 to {MOST_PARTICIPANT_CHARACTERS} printable characters without < and >",
            field=field,
        )
    if redact(name) != name:
        raise InvalidArgumentError(
            f"{field} takes no personal data such as e-mail addresses: use an identifier of the character",
            field=field,
        )
    return name


def _seconds(field: str, value: int) -> int:
    return number(field, value, LEAST_SECONDS, MOST_SECONDS)


def page(request: pb.ListEventsRequest) -> Page:
    """What a page is to hold. Raises `InvalidArgumentError`."""
    if len(request.kinds) > MOST_KINDS:
        raise InvalidArgumentError(
            f"kinds must be at most {MOST_KINDS}, not {len(request.kinds)}", field="kinds"
        )
    given = request.participant
    return Page(
        window=_window(request),
        after=number("after_sequence", request.after_sequence, 0, 1 << 62),
        count=number("count", request.count or PAGE, 1, MOST_PAGE),
        kinds=tuple(kind(each, "kinds") for each in request.kinds),
        participant=participant("participant", given) if given else "",
        held=request.held,
    )


def search(request: pb.SearchEventsRequest) -> tuple[str, Window, int]:
    """Text, window and number of hits. Raises `InvalidArgumentError`."""
    text = search_text(request.text)
    return text, _window(request), number("count", request.count or _COUNT, 1, MOST_HITS)


def _window(request: pb.ListEventsRequest | pb.SearchEventsRequest) -> Window:
    has_first, has_last = (
        request.HasField("from_world_seconds"),
        request.HasField("until_world_seconds"),
    )
    first = request.from_world_seconds if has_first else LEAST_SECONDS
    last = request.until_world_seconds if has_last else MOST_SECONDS
    window = Window(
        from_seconds=_seconds("from_world_seconds", first),
        until_seconds=_seconds("until_world_seconds", last),
        confidence=number("minimum_confidence", request.minimum_confidence, 0, _PERCENT),
    )
    if window.from_seconds > window.until_seconds:
        raise InvalidArgumentError(
            "from_world_seconds must not be after until_world_seconds", field="from_world_seconds"
        )
    return window


def before_seconds(request: pb.ForgetEventsRequest) -> int | None:
    """World time before which events are forgotten; None: not by time.

    Raises `InvalidArgumentError`, also for a request that names nothing.
    """
    if len(request.keys) > MOST_PAGE:
        raise InvalidArgumentError(f"keys must be at most {MOST_PAGE}", field="keys")
    if request.HasField("before_world_seconds"):
        return _seconds("before_world_seconds", request.before_world_seconds)
    if not (request.participant or request.keys):
        raise InvalidArgumentError(
            "set participant, before_world_seconds or keys", field="participant"
        )
    return None


def appended_message(found: Appended) -> pb.AppendedEvent:
    """The message of an event that was appended."""
    return pb.AppendedEvent(sequence=found.sequence, known=found.known, state=_STATES[found.status])


def recorded_message(found: Recorded) -> pb.RecordedEvent:
    """The message of an event of a history."""
    event = found.event
    made = pb.RecordedEvent(
        sequence=found.sequence,
        event=pb.Event(
            key=event.key,
            world_seconds=event.world_seconds,
            kind=event.kind,
            summary=event.summary,
            participants=event.participants,
            evidence=_OF_EVIDENCE[event.evidence],
            confidence=event.confidence,
            importance=event.importance,
        ),
        account=found.account,
        reasons=found.reasons if found.status is Status.QUARANTINED else (),
    )
    made.recorded_at.FromDatetime(found.recorded_at)
    return made


def hit_message(found: Found) -> pb.EventHit:
    """The message of a hit."""
    return pb.EventHit(
        event=recorded_message(found.recorded), score=found.score, similarity=found.similarity
    )
