"""The decisions of world-state."""

from typing import Any

import pytest
from gameai.bus.subjects import name_id
from gameai.errors import (
    FailedPreconditionError,
    FullError,
)
from gameai.events.v1.events_pb2 import (
    ClockChanged,
    EntityKilled,
    PhaseChanged,
    WeatherChanged,
)
from gameai.services.world_state.rules import decision, drift, reactions
from gameai.services.world_state.rules.decision import Step, Written
from gameai.services.world_state.rules.drift import Dated, Drift
from gameai.services.world_state.rules.table import Stored, Target
from gameai.weather.v1.weather_pb2 import SKY_CLEAR, SKY_STORM
from gameai.world_state.v1 import world_state_pb2 as pb
from support.live_world_state import (
    HOUR,
    REGIONS,
    dated,
    declared,
    killed,
    killing,
    proposal,
    rule,
    rules,
    stored,
)

MOOR = Target(fact="danger", region="moor")
COAST = Target(fact="danger", region="coast")
NUMBERS = {name_id(each): each for each in REGIONS}


@pytest.mark.parametrize(
    ("value", "per_hour", "to", "hours", "present"),
    [
        (50, 0, 0, 100, 50),
        (50, 6, 0, 0, 50),
        (50, 6, 0, 0.166, 50),
        (50, 6, 0, 0.167, 49),
        (50, 6, 0, 2, 38),
        (50, 6, 0, 100, 0),
        (10, 1, 90, 4, 14),
        (10, 1, 90, 400, 90),
        (-5, 10, -100, 1, -15),
        (50, 6, 50, 3, 50),
        (50, 6, 0, -1, 50),
    ],
)
def test_a_value_drifts_in_whole_steps_to_its_end(
    value: int, per_hour: int, to: int, hours: float, present: int
) -> None:
    found = drift.present(dated(value), Drift(per_hour=per_hour, to=to), int(hours * HOUR))
    assert found == present


@pytest.mark.parametrize("step_us", [HOUR // 1000, HOUR // 100, HOUR // 7, HOUR])
def test_rebasing_at_any_time_changes_no_later_value(step_us: int) -> None:
    falling = Drift(per_hour=7, to=0)
    given, now = dated(50), 0
    while now < 5 * HOUR:
        now += step_us
        given = drift.rebased(given, falling, now)
        # Each rebase rounds up by less than a microsecond.
        before = drift.present(dated(50), falling, now - 100)
        assert drift.present(dated(50), falling, now) <= given.value <= before
    assert drift.present(given, falling, now + 8 * HOUR) == 0


def test_a_clock_that_was_set_back_holds_up_no_drift_after_the_next_change() -> None:
    falling = Drift(per_hour=1, to=0)
    assert drift.rebased(dated(5, 10 * HOUR), falling, HOUR) == dated(5, HOUR)


def step(amount: int, target: Target = MOOR, *, sets: bool = False, cause: str = "x") -> Step:
    return Step(target=target, amount=amount, sets=sets, cause=cause)


@pytest.mark.parametrize(
    ("steps", "values", "expected"),
    [
        ([step(5)], {}, [(MOOR, 5, 0)]),
        ([step(5)], {MOOR: stored(3)}, [(MOOR, 8, 3)]),
        ([step(500)], {MOOR: stored(3)}, [(MOOR, 100, 3)]),
        ([step(-500)], {MOOR: stored(3)}, [(MOOR, 0, 3)]),
        ([step(7, sets=True)], {MOOR: stored(3)}, [(MOOR, 7, 3)]),
        ([step(5), step(2), step(1, COAST)], {}, [(MOOR, 7, 0), (COAST, 1, 0)]),
        ([step(5), step(-5)], {MOOR: stored(3)}, []),
        ([step(0)], {}, []),
        ([step(5)], {MOOR: stored(100)}, []),
        ([], {}, []),
    ],
)
def test_steps_change_values_within_their_bounds(
    steps: list[Step], values: dict[Target, Stored], expected: list[tuple[Target, int, int]]
) -> None:
    found = decision.written(steps, rules(rule()), values, HOUR)
    assert [(each.target, each.dated.value, each.previous) for each in found] == expected


def test_a_value_that_is_set_drifts_from_that_time() -> None:
    known = rules(rule(drift_per_hour=6))
    (found,) = decision.written([step(50, sets=True)], known, {MOOR: stored(9)}, HOUR // 12)
    assert found == Written(target=MOOR, dated=dated(50, HOUR // 12), previous=9, cause="x")
    (found,) = decision.written([step(50)], known, {MOOR: stored(9)}, HOUR // 12)
    assert found.dated == dated(59, 0)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (proposal(fact="x", add=1), "fact 'x' is not declared: declare it with DeclareFacts"),
        (proposal("", add=1), "danger has a value for each region: name one"),
        (
            proposal("north", add=1),
            "region 'north' is not in the setting regions of the service (coast, moor)",
        ),
        (
            proposal("moor", "bridge", add=1),
            "bridge is a fact of the world: leave region empty",
        ),
        (proposal(fact="law", add=1), "law changes by events alone: set proposals in its rule"),
        (
            proposal(add=1, expected_revision=4),
            "danger has the revision 5, not 4: read it again",
        ),
        (proposal(set=19), "danger is 3: a proposal may change it by at most 10, not by 16"),
        (proposal(add=-11), "danger is 3: a proposal may change it by at most 10, not by 11"),
    ],
)
def test_a_proposal_is_refused_with_a_reason(given: pb.Proposal, reason: str) -> None:
    known = rules(rule(max_step=10), rule("bridge", per_region=False), rule("law", proposals=False))
    values = {MOOR: stored(3)}
    found = decision.proposed(given, known, REGIONS, values, 0)
    assert found == reason
    target = Target(fact=given.fact, region=given.region)
    there = decision.exists(target, known, REGIONS)
    verdict = decision.verdict(target if there else None, found, known, values, {}, 6, 0)
    assert (verdict.outcome, verdict.reason) == (pb.OUTCOME_REFUSED, reason)
    assert verdict.HasField("fact") == there
    assert verdict.fact.present == (3 if target == MOOR else 0)


@pytest.mark.parametrize(
    ("given", "outcome", "present", "revision"),
    [
        (proposal(add=3, expected_revision=5), pb.OUTCOME_CHANGED, 6, 6),
        (proposal(set=200), pb.OUTCOME_CLAMPED, 100, 6),
        (proposal(set=3), pb.OUTCOME_UNCHANGED, 3, 5),
        (proposal("coast", add=-1), pb.OUTCOME_UNCHANGED, 0, 1),
    ],
)
def test_a_verdict_has_the_fact_as_it_is_then(
    given: pb.Proposal, outcome: int, present: int, revision: int
) -> None:
    known, values = rules(rule()), {MOOR: stored(3)}
    found = decision.proposed(given, known, REGIONS, values, 0)
    assert isinstance(found, Step)
    changes = {each.target: each for each in decision.written([found], known, values, 0)}
    verdict = decision.verdict(found.target, found, known, values, changes, 6, 0)
    assert (verdict.outcome, verdict.fact.present, verdict.fact.revision) == (
        outcome,
        present,
        revision,
    )


def test_a_declaration_writes_what_is_other_and_removes_what_is_there() -> None:
    known = rules(rule(), rule("fog"))
    request = declared(rule(), rule("law"), removed_facts=["fog", "never"])
    found = decision.declare(request, known, {}, 6, HOUR)
    assert [(each.body.name, each.base, each.revision) for each in found.rules] == [
        ("law", dated(0, HOUR), 6)
    ]
    assert (found.removed, found.values) == (["fog"], {})


@pytest.mark.parametrize(
    ("changed", "base", "values"),
    [
        (rule(initial=50, drift_per_hour=6, description="Other."), dated(50), {}),
        (rule(initial=40, drift_per_hour=6, description="Other."), dated(40, HOUR), {}),
        (rule(initial=50, drift_per_hour=7), dated(44, HOUR), {MOOR: 24}),
        (rule(initial=50, drift_per_hour=6, maximum=20, drift_to=1), dated(20, HOUR), {MOOR: 20}),
    ],
)
def test_values_stay_under_a_new_rule_within_its_bounds(
    changed: pb.FactRule, base: Dated, values: dict[Target, int]
) -> None:
    known = rules(rule(initial=50, drift_per_hour=6))
    other = Target(fact="fog", region="moor")
    given = {MOOR: stored(30), other: stored(1)}
    found = decision.declare(declared(changed), known, given, 6, HOUR)
    assert found.rules[0].base == base
    assert {target: each.dated.value for target, each in found.values.items()} == values
    assert all(each.revision == 6 for each in found.values.values())


def test_whether_a_fact_is_per_region_cannot_be_changed() -> None:
    with pytest.raises(FailedPreconditionError, match=r"rules\[0\]: per_region of danger"):
        decision.declare(declared(rule(per_region=False)), rules(rule()), {}, 6, 0)


def everywhere(name: str) -> pb.FactRule:
    return rule(name, reactions=[pb.Reaction(event="PhaseChanged", add=1)])


@pytest.mark.parametrize(
    ("known", "given", "says"),
    [
        (
            [rule(f"f-{each}") for each in range(128)],
            rule("more"),
            "the world would have 129 facts per_region, and the limit is 128",
        ),
        (
            [rule(f"f-{each}", per_region=False) for each in range(128)],
            rule("more", per_region=False),
            "the world would have 129 facts of the world, and the limit is 128",
        ),
        (
            [everywhere(f"f-{each}") for each in range(15)],
            everywhere("more"),
            "an event PhaseChanged would change up to 1024 facts, and the limit is 1000",
        ),
        (
            [
                rule(
                    f"f-{each}",
                    description="x" * 512,
                    reactions=[killing(1, *[pb.Condition(equals="x" * 128)] * 4)] * 16,
                )
                for each in range(56)
            ],
            rule("more"),
            "bytes, and the limit is 524288: remove some first",
        ),
    ],
)
def test_the_rules_of_a_world_are_bounded(
    known: list[pb.FactRule], given: pb.FactRule, says: str
) -> None:
    with pytest.raises(FullError, match=says):
        decision.declare(declared(given), rules(*known), {}, 6, 0)
    decision.declare(
        declared(given, removed_facts=[known[0].name, known[1].name]), rules(*known), {}, 6, 0
    )


STORM = pb.Condition(field="sky", equals="SKY_STORM")


@pytest.mark.parametrize(
    ("given", "event", "expected"),
    [
        ([rule(reactions=[killing(10)])], killed(), [(MOOR, 10, False)]),
        ([rule(reactions=[killing(10)])], killed("north"), []),
        ([rule(reactions=[killing(10)])], ClockChanged(), []),
        (
            [rule(reactions=[killing(1), killing(2)])],
            killed(),
            [(MOOR, 1, False), (MOOR, 2, False)],
        ),
        ([everywhere("danger")], PhaseChanged(), [(COAST, 1, False), (MOOR, 1, False)]),
        (
            [rule("fog", per_region=False, reactions=[pb.Reaction(event="PhaseChanged", set=7)])],
            PhaseChanged(),
            [(Target(fact="fog", region=""), 7, True)],
        ),
        (
            [rule(reactions=[killing(10, pb.Condition(field="weapon", equals="3"))])],
            killed(weapon=3),
            [(MOOR, 10, False)],
        ),
        (
            [rule(reactions=[killing(10, pb.Condition(field="weapon", equals="3"))])],
            killed(weapon=4),
            [],
        ),
        (
            [rule(reactions=[killing(10, pb.Condition(field="victim_archetype", equals="guard"))])],
            killed(victim_archetype=name_id("guard")),
            [(MOOR, 10, False)],
        ),
        ([rule(reactions=[killing(10, pb.Condition(field="gone", equals="3"))])], killed(), []),
    ],
)
def test_an_event_changes_the_facts_whose_rules_say_so(
    given: list[pb.FactRule], event: Any, expected: list[tuple[Target, int, bool]]
) -> None:
    found = reactions.steps(rules(*given), event, NUMBERS)
    assert [(each.target, each.amount, each.sets) for each in found] == expected
    assert all(each.cause == event.DESCRIPTOR.name for each in found)


def test_a_condition_may_name_the_value_of_an_enum() -> None:
    storm = pb.Reaction(event="WeatherChanged", region_field="region", set=9, conditions=[STORM])
    known = rules(rule(reactions=[storm]))
    event = WeatherChanged(region=name_id("moor"), sky=SKY_STORM)
    assert [each.amount for each in reactions.steps(known, event, NUMBERS)] == [9]
    event.sky = SKY_CLEAR
    assert reactions.steps(known, event, NUMBERS) == []


def test_regions_that_the_world_lacks_are_known_where_a_rule_reads_them() -> None:
    known = rules(rule(reactions=[killing()]), everywhere("fog"))
    assert reactions.unknown_regions(known, killed("north"), NUMBERS) == {name_id("north")}
    assert reactions.unknown_regions(known, killed(), NUMBERS) == set()
    assert reactions.unknown_regions(known, PhaseChanged(), NUMBERS) == set()
    strict = rules(rule(reactions=[killing(1, pb.Condition(field="weapon", equals="3"))]))
    assert reactions.unknown_regions(strict, killed("north"), NUMBERS) == set()


def test_a_field_of_a_later_release_names_no_region() -> None:
    later = pb.Reaction(event="EntityKilled", region_field="place", add=1)
    known = rules(rule(reactions=[later]))
    assert reactions.steps(known, killed(), NUMBERS) == []
    assert reactions.unknown_regions(known, killed(), NUMBERS) == {0}


@pytest.mark.parametrize(
    ("event", "field", "text", "value"),
    [
        (EntityKilled, "region", "moor", name_id("moor")),
        (EntityKilled, "victim_archetype", "0", 0),
        (EntityKilled, "weapon", "3", 3),
        (EntityKilled, "weapon", "3.5", None),
        (EntityKilled, "weapon", "9" * 20, None),
        (WeatherChanged, "centidegrees", "-50", -50),
        (WeatherChanged, "sky", "SKY_STORM", SKY_STORM),
        (WeatherChanged, "sky", "storm", None),
        (EntityKilled, "weapon", "-5", None),
        (EntityKilled, "weapon", str(2**32), None),
        (ClockChanged, "effective_us", "moor", None),
        (pb.FactRule, "per_region", "true", 1),
        (pb.FactRule, "per_region", "yes", None),
        (pb.FactRule, "description", "x", None),
    ],
)
def test_the_value_of_a_condition_is_read_by_the_type_of_its_field(
    event: Any, field: str, text: str, value: int | None
) -> None:
    assert reactions.expected(reactions.fields_of(event)[field], text) == value


def test_events_of_the_service_itself_and_of_the_bus_cause_no_reactions() -> None:
    assert {"EntityKilled", "WeatherChanged", "PhaseChanged"} <= reactions.EVENTS.keys()
    assert not {"FactChanged", "DeadLettered"} & reactions.EVENTS.keys()
