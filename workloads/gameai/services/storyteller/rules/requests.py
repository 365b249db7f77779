"""PURE: what requests may hold."""

import re
from unicodedata import normalize

from gameai.errors import InvalidArgumentError
from gameai.services.storyteller.rules import records
from gameai.storyteller.v1 import storyteller_pb2 as pb

MOST_GOAL, MOST_STAGES, MOST_STAGE = 1000, 16, 400
MOST_SITUATION, MOST_HAPPENED, MOST_QUESTION = 2000, 2000, 1000
MOST_PARTICIPANTS, MOST_PARTICIPANT, MOST_CHANGES = 32, 64, 8
# Of a concept of the memory.
MOST_NAME, MOST_SUMMARY = 128, 2000
PAGE, MOST_PAGE, TRUST, MOST_TRUST = 50, 100, 50, 100
# Longer than the life of any world, either way.
_MOST_SECONDS = 1 << 53
_MOST_VERSION = (1 << 31) - 1
_SLUG = re.compile(r"[a-z0-9-]{1,64}")
_BEAT = re.compile(r"[a-z0-9-]{1,128}")
_KIND = re.compile(r"[a-z0-9._-]{1,64}")
_REQUEST = re.compile(r"[A-Za-z0-9._:-]{1,64}")


def arc(given: pb.Arc) -> pb.Arc:
    """An arc to write. Raises `InvalidArgumentError`, as all of this module."""
    if not 0 < len(given.stages) <= MOST_STAGES:
        raise InvalidArgumentError(
            f"arc.stages must be 1 to {MOST_STAGES} beats that the arc takes without a language model, not {len(given.stages)}",
            field="arc.stages",
        )
    return pb.Arc(
        name=arc_name(given.name, "arc.name"),
        goal=text(given.goal, "arc.goal", MOST_GOAL),
        stages=[text(each, "arc.stages", MOST_STAGE) for each in given.stages],
        closed=given.closed,
    )


def arc_name(value: str, field: str) -> str:
    """The name of an arc."""
    return _matching(value, field, _SLUG, "1 to 64 lower-case letters, digits and '-'")


def beat_name(value: str, field: str) -> str:
    """The name of a beat."""
    return _matching(value, field, _BEAT, "the name of a beat, as PlanBeat and ListBeats return it")


def request_id(value: str) -> str:
    """The identity of a request."""
    return _matching(
        value, "request_id", _REQUEST, "1 to 64 letters, digits, and '.', '_', ':', '-'"
    )


def position(value: str) -> str:
    """The name after which a page begins; empty: from the beginning."""
    return value and _matching(value, "after_name", _BEAT, "the last name of the page before")


def own_name(value: str) -> bool:
    """Whether an arc or a beat has a name that calls can name."""
    return bool(_BEAT.fullmatch(value))


def text(value: str, field: str, most: int) -> str:
    """A text of some length."""
    kept = value.replace("\0", " ").strip()
    if not 0 < len(kept) <= len(value) <= most:
        raise InvalidArgumentError(
            f"{field} must have 1 to {most} characters, not {len(value)}", field=field
        )
    return kept


def count(given: int) -> int:
    """The length of a page."""
    return number("count", given or PAGE, 1, MOST_PAGE)


def trust(request: pb.AnswerQuestionRequest) -> int:
    """The least trust of a source."""
    if not request.HasField("minimum_trust"):
        return TRUST
    return number("minimum_trust", request.minimum_trust, 0, MOST_TRUST)


def period(request: pb.RecountHistoryRequest) -> tuple[int, int]:
    """The seconds of world time to recount."""
    begin = number("from_world_seconds", request.from_world_seconds, -_MOST_SECONDS, _MOST_SECONDS)
    if request.until_world_seconds < begin:
        raise InvalidArgumentError(
            "until_world_seconds must not be before from_world_seconds", field="until_world_seconds"
        )
    return begin, number("until_world_seconds", request.until_world_seconds, begin, _MOST_SECONDS)


def check_state(state: int) -> None:
    """A state of beats, or none."""
    if state not in pb.BeatState.values():
        raise InvalidArgumentError(f"state {state} is not known", field="state")


def outcome(request: pb.ResolveBeatRequest) -> str:
    """What happened; empty: the beat is dropped."""
    _check_parts(request)
    if not request.expected_version:
        raise InvalidArgumentError(
            "expected_version must be that of the beat. A beat of version 0 is not recorded: call PlanBeat again with the same"
            " request_id",
            field="expected_version",
        )
    version(request.expected_version, 1)
    if request.happened:
        return text(request.happened, "happened", MOST_HAPPENED)
    if not request.dropped:
        raise InvalidArgumentError(
            "give happened, what became of the beat, or dropped: true", field="happened"
        )
    if request.participants or request.changes:
        raise InvalidArgumentError(
            "a beat that is dropped has no participants and no changes", field="changes"
        )
    return ""


def _check_parts(request: pb.ResolveBeatRequest) -> None:
    """Participants and changes, before anything is written."""
    if len(request.participants) > MOST_PARTICIPANTS or len(request.changes) > MOST_CHANGES:
        raise InvalidArgumentError(
            f"at most {MOST_PARTICIPANTS} participants and {MOST_CHANGES} changes are allowed",
            field="participants" if len(request.participants) > MOST_PARTICIPANTS else "changes",
        )
    for name in request.participants:
        text(name, "participants", MOST_PARTICIPANT)
    for change in request.changes:
        _check_change(change)
    if len({_same_name(each) for each in request.changes}) < len(request.changes):
        raise InvalidArgumentError(
            "changes must be of different concepts: write one summary for each", field="changes"
        )


def _check_change(change: pb.ConceptChange) -> None:
    _matching(
        change.kind, "changes.kind", _KIND, "1 to 64 lower-case letters, digits, '.', '_', '-'"
    )
    if change.kind in records.KINDS:
        raise InvalidArgumentError(
            f"changes.kind must not be {change.kind}: use WriteArc and ResolveBeat",
            field="changes.kind",
        )
    if not text(change.name, "changes.name", MOST_NAME).isprintable():
        raise InvalidArgumentError(
            "changes.name must have printable characters only", field="changes.name"
        )
    text(change.summary, "changes.summary", MOST_SUMMARY)


def _same_name(change: pb.ConceptChange) -> tuple[str, str]:
    """Names that look the same are one concept."""
    return change.kind, " ".join(normalize("NFKC", change.name).split())


def version(given: int, least: int) -> int:
    """The version that a request changes."""
    return number("expected_version", given, least, _MOST_VERSION)


def number(field: str, value: int, least: int, most: int) -> int:
    """A number within its limits."""
    if not least <= value <= most:
        raise InvalidArgumentError(
            f"{field} must be from {least} to {most}, not {value}", field=field
        )
    return value


def _matching(value: str, field: str, form: re.Pattern[str], words: str) -> str:
    if not form.fullmatch(value):
        raise InvalidArgumentError(f"{field} must be {words}", field=field)
    return value
