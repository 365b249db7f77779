"""Facts of a world on a real database: declared, changed by proposals and events, read and watched."""

import asyncio

import psycopg
import pytest
from gameai.bus.log import Log
from gameai.bus.subjects import name_id
from gameai.testing.bus import MemoryLog
from gameai.world_state.v1 import world_state_pb2 as pb
from grpc import StatusCode, aio
from support.bus import MOOR, worlds
from support.live_world_state import (
    HOUR,
    WorldState,
    killed,
    killing,
    proposal,
    rule,
    serving,
)

CHANGED, CLAMPED = pb.OUTCOME_CHANGED, pb.OUTCOME_CLAMPED
UNCHANGED, REFUSED = pb.OUTCOME_UNCHANGED, pb.OUTCOME_REFUSED


async def test_a_kill_raises_the_danger_of_its_region(facts: WorldState) -> None:
    await facts.declare(rule(initial=5, reactions=[killing(10)]))
    await facts.happen(killed(), killed(), killed("elsewhere"))
    await facts.until(25)
    assert await facts.present("coast") == 5
    await facts.happen(killed())
    await facts.until(35)
    found = await facts.chain(5, 35)
    danger = {"fact": name_id("danger"), "region": name_id("moor")}
    assert all(getattr(each, key) == value for each in found for key, value in danger.items())
    newest, *_, oldest = await facts.changes()
    assert (newest.value, newest.previous, newest.cause) == (35, 25, "EntityKilled")
    assert (oldest.previous, oldest.world_us) == (5, 7_000_000)
    assert oldest.revision < newest.revision


async def test_each_event_takes_effect_once_though_the_service_is_replaced(
    database: str, log: Log
) -> None:
    async with serving(database, log, MOOR) as first:
        await first.declare(rule(maximum=10_000, reactions=[killing(1)]))
        await first.happen(*[killed()] * 200)
        async with asyncio.timeout(20):
            while await first.present() < 20:
                await asyncio.sleep(0.01)
    async with serving(database, log, MOOR) as second:
        await second.until(200)
        await second.happen(killed())
        await second.until(201)
        await second.chain(0, 201)


async def test_events_are_consumed_once_the_world_says_so(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gameai.kit.kit._BUS_SECONDS", 0.05)
    allowed = asyncio.Event()
    async with serving(database, MemoryLog(), MOOR, consumes=allowed.is_set) as facts:
        await facts.declare(rule(reactions=[killing(1)]))
        await facts.happen(killed())
        await facts.propose(proposal("coast", add=1))
        # What changes without events is published meanwhile.
        assert len(await facts.events(1)) == 1
        assert await facts.present() == 0
        allowed.set()
        await facts.until(1)


async def test_proposals_have_verdicts_of_their_own(facts: WorldState) -> None:
    first = await facts.declare(
        rule(max_step=50),
        rule("bridge", per_region=False, maximum=1),
        rule("law", proposals=False),
    )
    found = await facts.propose(
        proposal(add=30),
        proposal("coast", set=50),
        proposal("", "bridge", set=7),
        proposal(fact="law", add=1),
        proposal("mor", add=1),
        proposal(fact="dangr", add=1),
    )
    outcomes = [each.outcome for each in found.verdicts]
    assert outcomes == [CHANGED, CHANGED, CLAMPED, REFUSED, REFUSED, REFUSED]
    assert [each.fact.present for each in found.verdicts[:3]] == [30, 50, 1]
    assert [each.reason for each in found.verdicts[3:]] == [
        "law changes by events alone: set proposals in its rule",
        "region 'mor' is not in the setting regions of the service (coast, moor); did you mean moor?",
        "fact 'dangr' is not declared; did you mean danger?",
    ]
    assert found.revision == first + 1
    again = await facts.propose(
        proposal(add=0, expected_revision=found.revision),
        proposal("coast", add=1, expected_revision=first),
        proposal("", "bridge", set=1),
    )
    assert [each.outcome for each in again.verdicts] == [UNCHANGED, REFUSED, UNCHANGED]
    assert "has the revision 2, not 1: read it again" in again.verdicts[1].reason
    assert again.revision == found.revision
    (large,) = (await facts.propose(proposal(set=90))).verdicts
    assert large.reason == "danger is 30: a proposal may change it by at most 50, not by 60"


async def test_the_same_proposal_takes_effect_once(facts: WorldState) -> None:
    await facts.declare(rule())
    request = pb.ProposeFactsRequest(
        request_id="6b0d5c6e-9c0f-4d38-8f53-1d1d3a8ad0a1", proposals=[proposal(add=3)]
    )
    answers = [await facts.stub.ProposeFacts(request) for _ in range(3)]
    assert [each.verdicts[0].fact.present for each in answers] == [3, 3, 3]
    assert await facts.present() == 3


async def test_adds_of_many_callers_have_an_exact_sum(facts: WorldState) -> None:
    await facts.declare(rule(maximum=1000))
    await asyncio.gather(*(facts.propose(proposal(add=1)) for _ in range(60)))
    assert await facts.present() == 60
    assert [each.value for each in await facts.events(60)] == list(range(1, 61))


async def test_a_value_drifts_with_the_time_of_the_world(facts: WorldState) -> None:
    await facts.declare(rule(initial=50, drift_per_hour=6, drift_to=0))
    facts.worlds.now_us += 2 * HOUR
    assert await facts.present() == 38
    # Half a step has passed, and counts.
    facts.worlds.now_us += HOUR // 12
    (found,) = (await facts.propose(proposal(add=10))).verdicts
    assert (found.fact.value, found.fact.present) == (48, 48)
    facts.worlds.now_us += HOUR // 12
    assert await facts.present() == 47
    facts.worlds.now_us += 100 * HOUR
    assert await facts.present() == 0
    # A rule that has changed keeps what has drifted, within its bounds.
    await facts.declare(rule(initial=50, minimum=10, drift_per_hour=1, drift_to=90))
    assert await facts.present() == 10
    facts.worlds.now_us += 4 * HOUR
    assert await facts.present() == 14


async def test_a_declaration_replaces_its_rule_and_a_removal_the_values(
    facts: WorldState,
) -> None:
    first = await facts.declare(rule(), rule("fog"))
    assert await facts.declare(rule(), rule("fog")) == first
    await facts.propose(proposal(add=3))
    await facts.declare(rule(maximum=2), removed=("fog", "never"))
    assert await facts.present() == 2
    rules = (await facts.stub.ListRules(pb.ListRulesRequest())).rules
    assert [(each.name, each.maximum) for each in rules] == [("danger", 2)]
    with pytest.raises(aio.AioRpcError, match="per_region of danger cannot be changed") as error:
        await facts.declare(rule(per_region=False))
    assert error.value.code() is StatusCode.FAILED_PRECONDITION
    await facts.declare(removed=("danger",))
    await facts.declare(rule())
    assert await facts.present() == 0
    assert await facts.changes() == []


async def test_the_last_hundred_changes_of_a_fact_are_kept(facts: WorldState) -> None:
    await facts.declare(rule(maximum=1000))
    for _ in range(105):
        await facts.propose(proposal(add=1))
    await facts.propose(proposal("coast", add=1))
    found = await facts.changes()
    assert [each.value for each in found] == list(range(105, 5, -1))
    assert [each.value for each in await facts.changes("coast")] == [1]


async def test_worlds_have_facts_of_their_own(facts: WorldState) -> None:
    await facts.declare(rule())
    await facts.propose(proposal(add=3))
    (other,) = worlds(1)
    name = f"{other.namespace}/{other.name}"
    assert not (await facts.snapshot(name)).facts
    (found,) = (await facts.propose(proposal(add=1), world=name)).verdicts
    assert found.outcome == REFUSED


async def test_a_reader_names_regions_and_facts(facts: WorldState) -> None:
    await facts.declare(rule(), rule("bridge", per_region=False), rule("fog"))
    found = await facts.snapshot(regions=["coast"], facts=["bridge", "danger"])
    assert [(each.name, each.region) for each in found.facts] == [
        ("bridge", ""),
        ("danger", "coast"),
    ]
    assert (found.revision, found.world_us, found.stale) == (1, 7_000_000, False)
    with pytest.raises(aio.AioRpcError, match=r"facts\[0\]: 'dangr' is not known; did you") as at:
        await facts.snapshot(facts=["dangr"])
    assert at.value.code() is StatusCode.NOT_FOUND


async def test_a_full_batch_of_events_may_change_every_fact_that_an_event_may(
    database: str,
) -> None:
    everywhere = pb.Reaction(event="EntityKilled", add=1)
    async with serving(database, MemoryLog(), MOOR) as facts:
        await facts.declare(*(rule(f"f-{each}", reactions=[everywhere]) for each in range(15)))
        await facts.happen(*[killed()] * 64)
        await facts.until(64, fact="f-14")


async def test_a_batch_waits_for_another_change_and_does_not_end_as_a_dead_letter(
    database: str,
) -> None:
    async with (
        serving(database, MemoryLog(), MOOR) as facts,
        await psycopg.AsyncConnection.connect(database) as other,
    ):
        await facts.declare(rule(reactions=[killing(1)]))
        await other.execute("SELECT FROM svc_world_state.head FOR UPDATE")
        await facts.happen(killed())
        # Five tries, and more.
        await asyncio.sleep(12.0)
        await other.rollback()
        await facts.until(1)


async def test_the_limit_of_facts_is_said(facts: WorldState) -> None:
    for start in (0, 64):
        await facts.declare(*(rule(f"f-{each}") for each in range(start, start + 64)))
    with pytest.raises(aio.AioRpcError, match="129 facts per_region, and the limit is 128") as at:
        await facts.declare(rule("more"))
    assert at.value.code() is StatusCode.FAILED_PRECONDITION
    await facts.declare(rule("more"), removed=("f-0",))
