"""Events of the wire: what is taken, what is refused, and what is sent back."""

import dataclasses
import datetime
from typing import Any

import pytest
from gameai.errors import InvalidArgumentError
from gameai.knowledge.events import (
    LEAST_SECONDS,
    MOST_SECONDS,
    Appended,
    Checked,
    Event,
    Evidence,
    Found,
    Recorded,
    Window,
)
from gameai.knowledge.records import Status
from gameai.knowledge.rpc import history_wire as wire
from gameai.knowledge.store.event_statements import FUNCTION, NAME, SEARCH
from gameai.knowledge.v1 import history_pb2 as pb


def message(**fields: Any) -> pb.Event:
    given: dict[str, Any] = {"key": "k", "kind": "day", "summary": "A day passed."}
    return pb.Event(**(given | fields))


EVENT = Event(key="k", kind="day", summary="A day passed.", world_seconds=0)


def test_an_event_gets_its_defaults() -> None:
    assert wire.events([message()]) == [EVENT]
    assert (EVENT.confidence, EVENT.importance, EVENT.evidence) == (100, 50, Evidence.WITNESSED)


def digest(given: pb.Event) -> bytes:
    [event] = wire.events([given])
    return Checked(event=event, summary=event.summary, reasons=()).digest


@pytest.mark.parametrize(
    ("evidence", "confidence"),
    [
        (pb.EVIDENCE_UNSPECIFIED, 100),
        (pb.EVIDENCE_SYSTEM, 100),
        (pb.EVIDENCE_REPORTED, 70),
        (pb.EVIDENCE_RUMOUR, 30),
    ],
)
def test_a_rumour_has_less_confidence_unless_it_is_said(
    evidence: pb.Evidence, confidence: int
) -> None:
    assert wire.events([message(evidence=evidence)])[0].confidence == confidence
    assert wire.events([message(evidence=evidence, confidence=5)])[0].confidence == 5


def test_a_participant_has_one_form_of_each_character() -> None:
    [event] = wire.events([message(participants=[" Zoe\u0308 ", "\uff21nn\u200b"])])
    assert event.participants == ("Zo\u00eb", "Ann")


def test_everything_of_an_event_is_taken_and_sent_back() -> None:
    given = message(
        world_seconds=-5,
        participants=["Ann", "Bo"],
        evidence=pb.EVIDENCE_RUMOUR,
        confidence=0,
        importance=100,
    )
    [found] = wire.events([given])
    recorded = Recorded(
        sequence=7,
        event=found,
        account="games/moor-world",
        recorded_at=datetime.datetime(2026, 11, 22, tzinfo=datetime.UTC),
        status=Status.QUARANTINED,
        reasons=("RoleMarkers",),
    )
    sent = wire.recorded_message(recorded)
    assert sent.event == given
    live = dataclasses.replace(recorded, status=Status.LIVE)
    assert not wire.recorded_message(live).reasons, "they are of what is held"
    assert (sent.sequence, sent.account, list(sent.reasons)) == (
        7,
        recorded.account,
        ["RoleMarkers"],
    )
    assert sent.recorded_at.ToJsonString() == "2026-11-22T00:00:00Z"
    hit = wire.hit_message(Found(recorded=recorded, score=0.5, similarity=0.25))
    assert (hit.event, hit.score, hit.similarity) == (sent, 0.5, 0.25)


def test_an_appended_event_says_what_became_of_it() -> None:
    found = wire.appended_message(Appended(sequence=3, known=True, status=Status.QUARANTINED))
    assert found == pb.AppendedEvent(sequence=3, known=True, state=pb.EVENT_STATE_HELD)


def test_every_field_counts_for_whether_an_event_is_the_same() -> None:
    others = [
        message(world_seconds=1),
        message(kind="night"),
        message(summary="A night."),
        message(participants=["a"]),
        message(evidence=pb.EVIDENCE_SYSTEM),
        message(confidence=99),
        message(importance=51),
    ]
    assert len({digest(each) for each in (message(), *others)}) == len(others) + 1
    assert digest(message(evidence=pb.EVIDENCE_WITNESSED)) == digest(message())
    # It is stored: another one would refuse a call that is repeated after an upgrade.
    assert digest(message()).hex()[:16] == "8c94d32cc108c6cb"


def test_an_event_with_a_reason_is_held() -> None:
    assert Checked(event=EVENT, summary="s", reasons=()).status is Status.LIVE
    assert Checked(event=EVENT, summary="s", reasons=("x",)).status is Status.QUARANTINED


@pytest.mark.parametrize(
    ("events", "field", "words"),
    [
        ([], "events", "events must be 1 to 32, not 0"),
        ([message(key=f"k{n}") for n in range(33)], "events", "not 33"),
        (
            [message(key=f"k{n}", summary="x" * 2000) for n in range(9)],
            "events",
            "have 18000 characters",
        ),
        ([message(participants=["a@example.com"])], "events[0].participants", "no personal data"),
        ([message(key="a b")], "events[0].key", "1 to 64 letters, digits"),
        ([message(), message()], "events[1].key", "is used twice"),
        ([message(summary=" ")], "events[0].summary", "1 to 2000 characters, not 1"),
        ([message(summary="x" * 2001)], "events[0].summary", "not 2001"),
        ([message(kind="War")], "events[0].kind", "lower-case letters"),
        ([message(), message(key="l", kind="")], "events[1].kind", "events[1].kind must be"),
        ([message(confidence=101)], "events[0].confidence", "from 0 to 100, not 101"),
        ([message(importance=101)], "events[0].importance", "from 0 to 100, not 101"),
        ([message(world_seconds=1 << 60)], "events[0].world_seconds", "must be from"),
        ([message(participants=[" "])], "events[0].participants", "names of 1 to 64"),
        ([message(participants=["Kim>"])], "events[0].participants", "without < and >"),
        ([message(participants=["a\nb"])], "events[0].participants", "printable"),
        ([message(participants=["a" * 65])], "events[0].participants", "names of 1 to 64"),
        ([message(participants=["a"] * 33)], "events[0].participants", "at most 32, not 33"),
        ([message(evidence=9)], "events[0].evidence", "evidence 9 is not known"),
    ],
)
def test_a_wrong_event_names_its_field(events: list[pb.Event], field: str, words: str) -> None:
    with pytest.raises(InvalidArgumentError, match=r".") as raised:
        wire.events(events)
    assert raised.value.field == field
    assert words in str(raised.value)


def test_a_nul_becomes_a_blank() -> None:
    assert wire.events([message(summary="a\0b")])[0].summary == "a b"


def test_a_page_has_its_defaults_and_takes_everything() -> None:
    plain = wire.page(pb.ListEventsRequest())
    assert (plain.after, plain.count, plain.held, plain.participant) == (0, 50, False, "")
    assert plain.window == Window(from_seconds=LEAST_SECONDS, until_seconds=MOST_SECONDS)
    full = wire.page(
        pb.ListEventsRequest(
            after_sequence=3,
            count=100,
            from_world_seconds=0,
            until_world_seconds=0,
            kinds=["war"],
            participant="Ann",
            minimum_confidence=10,
            held=True,
        )
    )
    assert full.window == Window(from_seconds=0, until_seconds=0, confidence=10)
    assert (full.after, full.count, full.kinds, full.participant, full.held) == (
        3, 100, ("war",), "Ann", True,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"count": 101}, "count"),
        ({"after_sequence": -1}, "after_sequence"),
        ({"kinds": ["a"] * 17}, "kinds"),
        ({"kinds": ["A"]}, "kinds"),
        ({"participant": "a\nb"}, "participant"),
        ({"minimum_confidence": 101}, "minimum_confidence"),
        ({"from_world_seconds": 2, "until_world_seconds": 1}, "from_world_seconds"),
        ({"until_world_seconds": -(1 << 60)}, "until_world_seconds"),
    ],
)
def test_a_wrong_page_names_its_field(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidArgumentError) as raised:
        wire.page(pb.ListEventsRequest(**fields))
    assert raised.value.field == field


def test_a_search_has_text_window_and_count() -> None:
    text, window, count = wire.search(pb.SearchEventsRequest(text="a\0", minimum_confidence=5))
    assert (text, window.confidence, count) == ("a ", 5, 10)
    for wrong in ("", " ", "x" * 4097):
        with pytest.raises(InvalidArgumentError, match="text must have 1 to 4096"):
            wire.search(pb.SearchEventsRequest(text=wrong))


def test_what_is_forgotten_must_be_named() -> None:
    assert wire.before_seconds(pb.ForgetEventsRequest(participant="Ann")) is None
    assert wire.before_seconds(pb.ForgetEventsRequest(before_world_seconds=0)) == 0
    assert wire.before_seconds(pb.ForgetEventsRequest(keys=["a"])) is None
    with pytest.raises(InvalidArgumentError, match="keys must be at most 100"):
        wire.before_seconds(pb.ForgetEventsRequest(keys=["a"] * 101))
    with pytest.raises(InvalidArgumentError, match="set participant, before_world_seconds or keys"):
        wire.before_seconds(pb.ForgetEventsRequest())


def test_a_search_reads_the_events_of_one_world_alone() -> None:
    assert FUNCTION.count("FROM memory.story_events") == FUNCTION.count("world_id = $1 AND") == 2
    assert "JOIN memory.story_events USING (sequence) WHERE world_id = $1" in FUNCTION
    assert NAME in SEARCH
