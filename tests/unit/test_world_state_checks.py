"""What requests of world-state may hold."""

from typing import Any

import pytest
from gameai.errors import InvalidArgumentError, NotFoundError
from gameai.services.world_state.rules import checks
from gameai.services.world_state.rules.drift import Dated
from gameai.services.world_state.rules.table import Filter, Rule, Target
from gameai.world_state.v1 import world_state_pb2 as pb
from support.live_world_state import REGIONS, declared, killing, proposal, rule

STORM = pb.Condition(field="sky", equals="SKY_STORM")


def reacting(**given: Any) -> pb.FactRule:
    return rule(
        reactions=[
            pb.Reaction(**{"event": "EntityKilled", "region_field": "region", "add": 1, **given})
        ]
    )


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (declared(), "the request changes nothing: give rules or removed_facts"),
        (declared(*[rule()] * 65), "rules must have 0 to 64 entries, not 65"),
        (declared(removed_facts=["x"] * 65), "removed_facts must have 0 to 64 entries, not 65"),
        (declared(rule("X")), "rules[0].name must be 1 to 64 lower-case letters"),
        (declared(rule(), rule()), "rules[1] repeats an earlier one"),
        (declared(removed_facts=["a", "a"]), "removed_facts[1] repeats an earlier one"),
        (declared(removed_facts=["A"]), "removed_facts[0] must be 1 to 64 lower-case"),
        (
            declared(rule(), removed_facts=["danger"]),
            "removed_facts[0]: danger is among rules too: declare it or remove it",
        ),
        (declared(rule(description="")), "rules[0].description must have 1 to 512 characters"),
        (declared(rule(unit="x" * 33)), "rules[0].unit must have 0 to 32 characters"),
        (declared(rule(maximum=10**13)), "rules[0].maximum must be within 10^12 of zero"),
        (declared(rule(maximum=0)), "rules[0].maximum must be above minimum, 0"),
        (declared(rule(initial=101)), "rules[0].initial must be 0 to 100, within the bounds"),
        (
            declared(rule(drift_per_hour=1, drift_to=101)),
            "rules[0].drift_to must be 0 to 100, within the bounds, not 101",
        ),
        (
            declared(rule(drift_per_hour=10**6 + 1)),
            "rules[0].drift_per_hour must be 0 to 1000000, not 1000001",
        ),
        (declared(rule(drift_to=5)), "rules[0].drift_to needs drift_per_hour: set it, or leave"),
        (
            declared(rule(proposals=False, max_step=5)),
            "rules[0].max_step bounds proposals: set proposals, or leave out max_step",
        ),
        (declared(rule(reactions=[killing()] * 17)), "rules[0].reactions must have 0 to 16"),
        (
            declared(reacting(event="EntityKiled")),
            "ClockChanged, EntityKilled, ObjectChanged",
        ),
        (
            declared(reacting(region_field="weapon")),
            "rules[0].reactions[0].region_field must be one of killer, victim, victim_archetype, region, the",
        ),
        (
            declared(rule(per_region=False, reactions=[killing()])),
            "rules[0].reactions[0].region_field is for a fact per_region: set per_region",
        ),
        (
            declared(reacting(conditions=[pb.Condition()] * 5)),
            "rules[0].reactions[0].conditions must have 0 to 4 entries, not 5",
        ),
        (
            declared(reacting(conditions=[pb.Condition(field="sky", equals="x")])),
            "rules[0].reactions[0].conditions[0].field must be one of killer, victim",
        ),
        (
            declared(reacting(conditions=[pb.Condition(field="weapon")])),
            "rules[0].reactions[0].conditions[0].equals must have 1 to 128 characters",
        ),
        (
            declared(reacting(conditions=[pb.Condition(field="weapon", equals="axe")])),
            "rules[0].reactions[0].conditions[0].equals must be a whole number that the field holds, true or false, not 'axe'",
        ),
        (
            declared(
                reacting(
                    event="WeatherChanged", conditions=[pb.Condition(field="sky", equals="axe")]
                )
            ),
            "rules[0].reactions[0].conditions[0].equals must be one of SKY_UNSPECIFIED, ",
        ),
        (
            declared(rule(reactions=[pb.Reaction(event="PhaseChanged")])),
            "rules[0].reactions[0] changes nothing: give add or set",
        ),
        (
            declared(rule(reactions=[pb.Reaction(event="PhaseChanged", set=101)])),
            "rules[0].reactions[0].set must be 0 to 100, within the bounds, not 101",
        ),
        (
            declared(reacting(add=10**13)),
            "rules[0].reactions[0].add must be within 10^12 of zero",
        ),
    ],
)
def test_a_declaration_that_cannot_be_is_refused(given: pb.DeclareFactsRequest, says: str) -> None:
    with pytest.raises(InvalidArgumentError) as error:
        checks.declaration(given)
    assert says in str(error.value)


def test_a_whole_declaration_is_taken() -> None:
    storm = pb.Reaction(event="WeatherChanged", region_field="region", set=9, conditions=[STORM])
    whole = rule(unit="points", drift_per_hour=5, drift_to=1, max_step=3)
    whole.reactions.extend([killing(), storm, pb.Reaction(event="PhaseChanged", add=-1)])
    checks.declaration(declared(whole, removed_facts=["fog"]))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ([], "proposals must have 1 to 64 entries, not 0"),
        ([proposal()], "proposals[0] changes nothing: give add or set"),
        ([proposal(fact="?", add=1)], "proposals[0].fact must be 1 to 64"),
        ([proposal("x" * 65, add=1)], "proposals[0].region must have 0 to 64"),
        ([proposal(cause="", add=1)], "proposals[0].cause must have 1 to 64"),
        ([proposal(set=10**13)], "proposals[0].set must be within 10^12 of zero"),
        ([proposal(add=1), proposal(set=1)], "proposals[1] repeats an earlier one"),
    ],
)
def test_a_proposal_that_cannot_be_is_refused(given: list[pb.Proposal], says: str) -> None:
    with pytest.raises(InvalidArgumentError) as error:
        checks.proposals(pb.ProposeFactsRequest(proposals=given))
    assert says in str(error.value)


def test_a_reader_is_shown_what_is_not_known() -> None:
    with pytest.raises(NotFoundError, match=r"regions\[0\]: 'mor' is not known; did you mean moor"):
        checks.regions_of(pb.GetSnapshotRequest(regions=["mor"]), REGIONS)
    with pytest.raises(NotFoundError, match=r"facts\[0\]: 'x' is not known: declare it with Decl"):
        checks.wanted(pb.GetSnapshotRequest(facts=["x"]), ["danger"])


def test_a_reader_names_each_region_and_fact_once() -> None:
    asked = pb.WatchFactsRequest(regions=["moor", "coast"], facts=["danger"])
    checks.regions_of(asked, REGIONS)
    assert checks.wanted(asked, ["danger"]) == Filter(regions=("coast", "moor"), facts=("danger",))
    with pytest.raises(InvalidArgumentError, match=r"regions\[1\] repeats an earlier one"):
        checks.regions_of(pb.GetSnapshotRequest(regions=["moor", "moor"]), REGIONS)
    with pytest.raises(InvalidArgumentError, match=r"facts\[1\] repeats an earlier one"):
        checks.wanted(pb.GetSnapshotRequest(facts=["danger", "danger"]), ["danger"])


def test_changes_are_those_of_a_known_fact() -> None:
    known = {
        each.name: Rule(body=each, base=Dated(value=0, at_us=0), revision=1)
        for each in (rule(), rule("bridge", per_region=False))
    }
    request = pb.ListChangesRequest(fact="danger", region="moor")
    assert checks.target(request, REGIONS, known) == Target(fact="danger", region="moor")
    request = pb.ListChangesRequest(fact="bridge")
    assert checks.target(request, REGIONS, known) == Target(fact="bridge", region="")
    for given, kind, says in (
        (pb.ListChangesRequest(fact="x"), NotFoundError, "fact: 'x' is not known"),
        (
            pb.ListChangesRequest(fact="danger", region="mor"),
            InvalidArgumentError,
            r"region 'mor' is not in the setting regions of the service \(coast, moor\); did you",
        ),
        (pb.ListChangesRequest(fact="danger"), InvalidArgumentError, "for each region: name one"),
        (
            pb.ListChangesRequest(fact="bridge", region="moor"),
            InvalidArgumentError,
            "leave region empty",
        ),
    ):
        with pytest.raises(kind, match=says):
            checks.target(given, REGIONS, known)
