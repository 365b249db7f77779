import json
from typing import Any

import pytest
from gameai_contract.names import CONFIG_KEY
from gameai_contract.world_time import MICROSECOND, Anchor, parse_time, world_time
from gameai_operator.world.clock import (
    LEAD_SECONDS,
    MOST_PENDING,
    clock_status,
    published,
    reported,
    started,
    turning,
)
from gameai_operator.world.config import configuration
from support import worlds

T0 = parse_time(worlds.CREATED)
HOUR = 3600 * MICROSECOND


def clock(**changes: Any) -> dict[str, Any]:
    return {"dayLengthMinutes": 48, "speed": "1", "paused": False} | changes


def turned(anchors: tuple[Anchor, ...] | None, now: int, **spec: Any) -> tuple[Anchor, ...]:
    return turning(worlds.world(**spec), anchors, now).anchors


FIRST = turned(None, T0)


def test_a_new_worlds_clock_starts_with_the_world() -> None:
    assert [each.effective_at for each in FIRST] == [T0]
    assert FIRST[0].speed == 1


def test_a_world_made_hibernated_stands_still_from_the_start() -> None:
    assert turned(None, T0 + HOUR, state="Hibernated")[0].speed == 0


def test_nothing_changes_while_the_spec_does_not() -> None:
    assert turned(FIRST, T0 + HOUR) == FIRST


@pytest.mark.parametrize(
    ("spec", "speed"),
    [
        ({"clock": clock(speed="2.5")}, "2.5"),
        ({"clock": clock(paused=True)}, "0"),
        ({"state": "Hibernated"}, "0"),
        ({"clock": clock(dayLengthMinutes=90)}, "1"),
    ],
)
def test_a_change_takes_effect_so_much_later_without_a_jump(
    spec: dict[str, Any], speed: str
) -> None:
    now = T0 + HOUR + 1
    anchors = turned(FIRST, now, **spec)
    assert str(anchors[-1].speed) == speed
    assert anchors[-1].effective_at - now >= LEAD_SECONDS * MICROSECOND
    assert anchors[-1].effective_at - now < (LEAD_SECONDS + 1) * MICROSECOND
    assert anchors[-1].effective_at % MICROSECOND == 0
    assert anchors[-1].world == world_time(FIRST, anchors[-1].effective_at)


def test_another_spelling_of_the_same_rate_is_no_change() -> None:
    assert turned(FIRST, T0 + HOUR, clock=clock(speed="2", dayLengthMinutes=96)) == FIRST
    still = turned(FIRST, T0 + HOUR, clock=clock(paused=True))
    assert turned(still, T0 + 2 * HOUR, state="Hibernated") == still


def test_a_change_on_a_change_comes_after_it_and_drops_none_that_pods_may_have_read() -> None:
    once = turned(FIRST, T0 + HOUR, clock=clock(speed="2"))
    twice = turned(once, T0 + HOUR + MICROSECOND, clock=clock(speed="3"))
    assert twice[:2] == once
    assert twice[2].effective_at >= once[1].effective_at


def test_anchors_of_the_past_go_when_a_new_one_comes_but_for_that_in_force() -> None:
    once = turned(FIRST, T0 + HOUR, clock=clock(speed="2"))
    later = turned(once, T0 + 3 * HOUR, clock=clock(speed="3"))
    assert later[0] == once[1]
    assert len(later) == 2


def test_too_many_changes_wait_for_the_first_to_take_effect() -> None:
    anchors = FIRST
    for number in range(MOST_PENDING):
        anchors = turned(anchors, T0 + HOUR + number, clock=clock(speed=str(number + 2)))
    found = turning(worlds.world(clock=clock(speed="9")), anchors, T0 + HOUR)
    assert found.anchors == anchors
    assert found.requeue_after_seconds == pytest.approx(LEAD_SECONDS)


def test_an_operator_whose_clock_is_behind_adds_no_anchor_before_the_last() -> None:
    once = turned(FIRST, T0 + HOUR, clock=clock(speed="2"))
    back = turned(once, T0, clock=clock(speed="3"))
    assert back[-1].effective_at == once[-1].effective_at


def test_status_shows_the_newest_anchor_and_those_before_it() -> None:
    once = turned(FIRST, T0 + HOUR, clock=clock(speed="2"))
    written = clock_status(once)
    assert written["speed"] == "2"
    assert [each["speed"] for each in written["earlier"]] == ["1"]
    assert "earlier" not in clock_status(FIRST)
    world = worlds.world(status={"clock": written})
    assert reported(world.status.clock) == once
    assert reported(None) == ()


def test_what_only_status_shows_counts_where_nothing_is_published() -> None:
    once = turned(FIRST, T0 + HOUR, clock=clock(speed="2"))
    status = {"clock": clock_status(once)}
    spec: dict[str, Any] = {"status": status, "clock": clock(speed="2")}
    assert turned(None, T0 + 2 * HOUR, **spec) == once
    # Published is only the first: the anchor in status may be overdue, so it is chosen again.
    again = turned(FIRST, T0 + 2 * HOUR, **spec)
    assert again[-1].effective_at >= T0 + 2 * HOUR + LEAD_SECONDS * MICROSECOND


def config_map(text: str, *, ours: bool = True) -> dict[str, Any]:
    data: dict[str, Any] = {f"f:{CONFIG_KEY}": {}} if ours else {}
    entry = {
        "manager": "gameai-operator",
        "operation": "Apply",
        "fieldsV1": {"f:data": data},
    }
    return {"metadata": {"managedFields": [entry]}, "data": {CONFIG_KEY: text}}


def test_published_anchors_are_read_back_from_the_configuration() -> None:
    text = configuration(worlds.world(), (), (), FIRST)
    assert published(config_map(text)) == FIRST


@pytest.mark.parametrize("text", ["", "{}", '{"clock": {"anchors": [{}]}}', "[]"])
def test_a_configuration_that_is_none_publishes_nothing(text: str) -> None:
    assert published(config_map(text)) is None


@pytest.mark.parametrize("seconds", ["x", None])
def test_an_anchor_that_is_none_publishes_nothing(seconds: Any) -> None:
    anchor = FIRST[0].document() | {"worldSeconds": seconds}
    assert published(config_map(json.dumps({"clock": {"anchors": [anchor]}}))) is None


def test_what_a_hand_wrote_is_not_believed() -> None:
    text = configuration(worlds.world(), (), (), FIRST)
    assert published(config_map(text, ours=False)) is None
    assert published({"metadata": {}, "data": {}}) is None


def made(**spec: Any) -> tuple[str, str]:
    started = turning(worlds.world(**spec), None, T0 + HOUR).started
    assert started is not None
    return started


def test_a_world_that_begins_says_from_when_and_why() -> None:
    reason, message = made()
    assert reason == "Created"
    assert worlds.CREATED in message
    assert "spec.clock.startAt" in message
    assert turning(worlds.world(), FIRST, T0 + HOUR).started is None


def test_a_restored_world_goes_on_from_the_start_that_its_spec_names() -> None:
    early = "2026-03-01T08:00:00Z"
    (anchor,) = turned(None, T0, clock=clock(startAt=early))
    assert anchor.effective_at == parse_time(early)
    assert made(clock=clock(startAt=early))[0] == "StartAt"
    late = "2036-03-01T08:00:00Z"
    assert [e.effective_at for e in turned(None, T0, clock=clock(startAt=late))] == [T0]
    assert "in the future" in made(clock=clock(startAt=late))[1]
    # The schema refuses it since; a world that has it must not be without a WorldView for that.
    assert "not a valid start of a clock" in made(clock=clock(startAt="0000-01-01T00:00:00Z"))[1]
    assert turned(FIRST, T0 + HOUR, clock=clock(startAt=early)) == FIRST, (
        "a clock that goes on stays"
    )


def test_a_start_that_comes_too_late_is_reported() -> None:
    early = "2026-03-01T08:00:00Z"
    world = worlds.world(clock=clock(startAt=early))
    assert started(world, turning(world, FIRST, T0 + HOUR)).reason == "StartAtNotUsed"
    (fresh,) = [turning(world, None, T0)]
    first = started(world, fresh)
    before = {"type": "ClockStarted", "status": "True", "reason": first.reason}
    entry = {**before, "message": first.message, "lastTransitionTime": worlds.CREATED}
    later = worlds.world(clock=clock(startAt=early), status={"conditions": [entry]})
    assert started(later, turning(later, fresh.anchors, T0 + HOUR)).reason == "StartAt"


def test_what_was_said_of_the_start_stays() -> None:
    going = turning(worlds.world(), FIRST, T0 + HOUR)
    assert started(worlds.world(), going).reason == "Continued"
    before = {"type": "ClockStarted", "status": "True", "reason": "Created", "message": "m"}
    status = {"conditions": [{**before, "lastTransitionTime": worlds.CREATED}]}
    assert started(worlds.world(status=status), going).message == "m"
    assert started(worlds.world(), turning(worlds.world(), None, T0)).reason == "Created"


def test_anchors_survive_a_restore_without_owners_and_managed_fields() -> None:
    text = configuration(worlds.world(), (), (), FIRST)
    restored: dict[str, Any] = {"annotations": {"gameai.dev/manifest-hash": "x"}}
    data = {CONFIG_KEY: text}
    assert published({"metadata": restored, "data": data}) == FIRST
    owner = {"kind": "Release", "name": "r", "uid": "u", "controller": True}
    foreign = restored | {"ownerReferences": [owner]}
    assert published({"metadata": foreign, "data": data}) is None


def test_anchors_in_status_that_cannot_be_used_are_none() -> None:
    """A user with rights on status may write anything there; the world begins instead of failing at every pass."""
    unusable = {
        "effectiveAt": worlds.CREATED,
        "worldSeconds": "0",
        "speed": "1",
        "dayLengthMinutes": 0,
    }
    world = worlds.world(status={"clock": unusable})
    assert reported(world.status.clock) == ()
    assert turning(world, None, T0).started is not None


def test_a_document_that_is_nested_without_end_publishes_nothing() -> None:
    assert published(config_map("[" * 200_000)) is None
