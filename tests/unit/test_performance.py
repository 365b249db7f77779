"""Measured capacities: what agents report, what status keeps, what counts, and when one is due."""

import datetime
from typing import Any

import pytest
from gameai_contract import tier_agent
from gameai_contract.tier_agent import Phase
from gameai_operator.api.tier import PerformanceStatus
from gameai_operator.scaling.agents import FAMILY, SERIES, Agents, Capacity, Report, Seen, load
from gameai_operator.scaling.decide import questions_per_replica
from gameai_operator.scaling.decided import learned, manifest
from gameai_operator.scaling.exposition import parse
from gameai_operator.scaling.performance import (
    Situation,
    counting,
    due,
    goes_on,
    merged,
    pause_seconds,
)
from gameai_operator.scaling.signals import Sample
from support import tiers

NOW = datetime.datetime(2026, 11, 28, 9, 0, tzinfo=datetime.UTC)
FOUND = Capacity(target_ms=16, requests_per_second=80.0, concurrency=20, idle_p95_ms=9.5)
CALM = Situation(
    now=NOW,
    target_ms=16,
    current=3,
    ready=3,
    needed=1,
    requests=4.0,
    per_replica=8,
    rolling=False,
)


def page(**values: float) -> str:
    names = {
        "running": tier_agent.REQUESTS_RUNNING,
        "waiting": tier_agent.REQUESTS_WAITING,
        "rate": tier_agent.CAPACITY_REQUESTS,
        "concurrency": tier_agent.CAPACITY_CONCURRENCY,
        "idle": tier_agent.CAPACITY_IDLE_P95,
        "target": tier_agent.CAPACITY_TARGET,
    }
    rows = [f"# TYPE {names[name]} gauge\n{names[name]} {value}" for name, value in values.items()]
    return "\n".join(
        [
            f"# TYPE {tier_agent.ENGINE_INFO} gauge",
            f'{tier_agent.ENGINE_INFO}{{engine_hash="abc",gpu_product="NVIDIA A10G",pod="p"}} 1.0',
            f"# TYPE {tier_agent.PHASE} gauge",
            f'{tier_agent.PHASE}{{phase="serving"}} 1.0',
            f'{tier_agent.PHASE}{{phase="measuring"}} 0.0',
            *rows,
        ]
    )


def read(text: str, at: float = 5.0) -> Report:
    agents = Agents()
    agents.take("a", parse(text, at, SERIES, FAMILY))
    return agents.reports({"a": "p"}, at)["a"]


def report(engine: str = "abc", **facts: Any) -> Report:
    given: dict[str, Any] = {
        "at": 5.0,
        "pod": "p",
        "engine_hash": engine,
        "gpu_product": "NVIDIA A10G",
        "phase": Phase.SERVING,
        "running": None,
        "waiting": None,
        "capacity": None,
    }
    return Report(**(given | facts))


def entry(engine: str = "abc", **facts: Any) -> PerformanceStatus:
    given: dict[str, Any] = {
        "template_hash": engine,
        "gpu_product": "NVIDIA A10G",
        "target_ms": 16,
        "requests_per_second": "80.00",
        "concurrency": 20,
        "idle_p95_ms": "9.5",
        "measured_at": "2026-11-27T09:00:00Z",
    }
    return PerformanceStatus(**(given | facts))


def test_a_page_is_read() -> None:
    found = read(page(running=3, waiting=1, rate=80, concurrency=20, idle=0.0095, target=0.016))
    assert found == report(running=3, waiting=1, capacity=FOUND)


@pytest.mark.parametrize(
    "wrong",
    [{"rate": 0}, {"rate": 1e9}, {"concurrency": 0}, {"idle": 0}, {"idle": 1e9}, {"target": 0}],
)
def test_a_capacity_that_cannot_be_is_none(wrong: dict[str, float]) -> None:
    right = {"rate": 80.0, "concurrency": 20.0, "idle": 0.0095, "target": 0.016}
    assert read(page(**(right | wrong))).capacity is None


def test_an_unknown_phase_is_none() -> None:
    assert read(page().replace("serving", "flying")).phase is None


def test_what_an_agent_said_counts_for_a_minute_and_while_it_is_listed() -> None:
    agents = Agents()
    agents.take("a", parse(page(), 5.0, SERIES, FAMILY))
    assert set(agents.reports({"a": "p", "b": "q"}, 65.0)) == {"a"}
    assert agents.reports({"a": "p"}, 65.1) == {}
    agents.listed(["b"])
    assert agents.reports({"a": "p"}, 6.0) == {}


def test_what_stands_at_a_former_address_of_a_pod_is_not_its_agent() -> None:
    agents = Agents()
    agents.take("a", parse(page(), 5.0, SERIES, FAMILY))
    assert agents.reports({"a": "another"}, 5.0) == {}


def test_the_load_of_engines_is_summed_over_those_that_say_it() -> None:
    one, two = report(running=3.0, waiting=1.0), report(running=2.0, waiting=0.0, at=4.0)
    assert load([one, two, report()]) == (Sample(5.0, 4.0), Sample(1.0, 4.0))
    assert load([report()]) == (None, None)


def test_a_measurement_becomes_an_entry_once() -> None:
    made = merged([], [report(capacity=FOUND)], 16, NOW)
    assert made == (entry(measured_at="2026-11-28T09:00:00Z"),)
    later = NOW + datetime.timedelta(hours=1)
    assert merged(made, [report(capacity=FOUND)], 16, later) == made


def test_another_target_replaces_an_entry_by_a_measurement_at_that_target() -> None:
    other = Capacity(target_ms=20, requests_per_second=90.0, concurrency=24, idle_p95_ms=9.5)
    assert merged([entry()], [report(capacity=FOUND)], 20, NOW) == (entry(),)
    [made] = merged([entry()], [report(capacity=other)], 20, NOW)
    assert (made.target_ms, made.concurrency) == (20, 24)


def test_a_report_without_a_hash_or_a_capacity_is_no_entry() -> None:
    assert merged([], [report(""), report("", capacity=FOUND), report()], 16, NOW) == ()


def test_of_engines_that_do_not_run_the_newest_few_are_kept() -> None:
    old = [entry(f"e{n}", measured_at=f"2026-11-{n + 10}T09:00:00Z") for n in range(9)]
    kept = merged(old, [report("e0")], 16, NOW)
    assert [each.template_hash for each in kept] == ["e0", *(f"e{n}" for n in range(2, 9))]


def test_the_slowest_of_the_engines_that_run_counts() -> None:
    slow = entry("def", requests_per_second="40.00", concurrency=10, idle_p95_ms="12.0")
    found = counting([entry(), slow, entry("gone", concurrency=1)], [report(), report("def")], 16)
    assert found == Capacity(
        target_ms=16, requests_per_second=40.0, concurrency=10, idle_p95_ms=12.0
    )


@pytest.mark.parametrize(
    ("why", "running", "expected"),
    [
        ("an engine that was not measured takes nothing away", [report(), report("new")], 20),
        ("nor does the silence of all agents", [], 30),
        ("other engines run than those that were measured", [report("new")], None),
    ],
)
def test_what_was_measured_counts_until_other_engines_run(
    why: str, running: list[Report], expected: int | None
) -> None:
    newest = entry("newest", concurrency=30, measured_at="2026-11-28T08:00:00Z")
    found = counting([entry(), newest], running, 16)
    assert (found and found.concurrency) == expected, why


def test_at_another_target_the_former_measurement_counts_until_there_is_a_new_one() -> None:
    former = counting([entry()], [report()], 20)
    assert former is not None
    assert (former.target_ms, former.concurrency) == (16, 20)
    new = entry("def", target_ms=20, concurrency=24)
    found = counting([entry(), new], [report(), report("def")], 20)
    assert found is not None
    assert found.concurrency == 24


def test_nothing_measured_is_no_capacity() -> None:
    assert counting([], [report()], 16) is None
    assert counting([], [], 16) is None


@pytest.mark.parametrize(
    ("declared", "capacity", "expected"),
    [
        (None, None, 8),
        (None, FOUND, 15),
        (5, FOUND, 5),
        # Without load it misses the target: more replicas would not help.
        (None, Capacity(target_ms=16, requests_per_second=9, concurrency=1, idle_p95_ms=99), 8),
        (None, Capacity(target_ms=16, requests_per_second=9, concurrency=1, idle_p95_ms=9), 1),
    ],
)
def test_a_replica_is_planned_for_77_percent_of_what_it_was_measured_to_serve(
    declared: int | None, capacity: Capacity | None, expected: int
) -> None:
    assert questions_per_replica(declared, capacity) == expected


def reports(*, phase: Phase | None = Phase.SERVING, count: int = 3, **facts: Any) -> dict[str, Any]:
    return {f"10.0.0.{n}:8080": report(phase=phase, **facts) for n in range(count)}


def situation(**changed: Any) -> Situation:
    given = {name: getattr(CALM, name) for name in Situation.__slots__}
    return Situation(**(given | changed))


def test_one_replica_measures_while_the_others_have_room() -> None:
    assert due([], reports(), CALM) == "10.0.0.0:8080"
    assert due([entry()], reports(), CALM) is None
    assert due([entry(target_ms=20)], reports(), CALM) == "10.0.0.0:8080"
    assert due([entry(measured_at="2026-10-01T09:00:00Z")], reports(), CALM) == "10.0.0.0:8080"


def test_after_a_try_that_came_to_nothing_another_one_measures_later() -> None:
    assert [due([], reports(), CALM, tries) for tries in range(4)] == [
        f"10.0.0.{n}:8080" for n in (0, 1, 2, 0)
    ]
    assert [pause_seconds(tries) for tries in (1, 2, 3, 7, 100)] == [
        1800, 3600, 7200, 86_400, 86_400
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("why", "changed", "seen"),
    [
        ("there is one replica only", {"current": 1, "ready": 1}, reports(count=1)),
        ("the tier would not be Ready without it", {"needed": 3}, reports()),
        ("a replica starts", {"current": 4}, reports()),
        ("a replica is not ready", {"ready": 2}, reports()),
        ("an agent is silent", {}, reports(count=2)),
        ("one measures already", {}, {**reports(), "10.0.0.2:8080": report(phase=Phase.MEASURING)}),
        ("the tier rolls", {"rolling": True}, reports()),
        ("the load is not known", {"requests": None}, reports()),
        ("the others have no room", {"requests": 9.0}, reports()),
        ("a minute is too short", {"target_ms": 30_000}, reports()),
        ("the engine has no hash", {}, reports(engine_hash="")),
    ],
)
def test_no_replica_measures_while(why: str, changed: dict[str, Any], seen: dict[str, Any]) -> None:
    assert due([], seen, situation(**changed)) is None, why


def test_no_more_engines_are_measured_than_status_can_hold() -> None:
    engines = {f"10.0.0.{n}:8080": report(f"e{n}") for n in range(9)}
    entries = [entry(f"e{n}") for n in range(8)]
    assert due(entries, engines, situation(current=9, ready=9)) is None
    # The ninth never takes another one's place, so that status does not change with each report.
    ninth = report("e8", capacity=FOUND)
    assert merged(entries, [*engines.values(), ninth], 16, NOW) == tuple(entries)


def test_a_measurement_goes_on_while_the_others_carry_the_load() -> None:
    seen = {**reports(count=2), "10.0.0.9:8080": report(phase=Phase.MEASURING)}
    assert goes_on(seen, situation(ready=2)) == ("10.0.0.9:8080",)
    for changed in ({"requests": 9.0}, {"needed": 3}, {"requests": None}, {"rolling": True}):
        assert goes_on(seen, situation(ready=2, **changed)) == (), changed
    alone = {"10.0.0.9:8080": report(phase=Phase.MEASURING)}
    assert goes_on(alone, situation(current=2, ready=0)) == ()
    assert goes_on(reports(), CALM) == ()


def test_an_old_entry_is_replaced_by_a_new_measurement() -> None:
    old = entry(measured_at="2026-10-01T09:00:00Z", concurrency=5)
    [made] = merged([old], [report(capacity=FOUND)], 16, NOW)
    assert (made.concurrency, made.measured_at) == (20, "2026-11-28T09:00:00Z")


def test_replicas_that_are_measured_are_counted() -> None:
    seen = Seen({**reports(count=2), "10.0.0.9:8080": report(phase=Phase.MEASURING)}, None)
    assert seen.measuring == 1


def test_what_a_former_scaler_learned_is_kept_and_else_what_is_declared() -> None:
    scaling = {"maxReplicas": 5, "players": {"requestsPerPlayerPerMinute": "3"}}
    fresh = tiers.tier(scaling=scaling)
    assert fresh.spec.scaling is not None
    assert learned(fresh, fresh.spec.scaling) == 3.0
    row = {
        "desiredReplicas": 1, "reason": "queue", "message": "", "limited": "DesiredWithinRange",
        "requestsPerPlayerPerMinute": "1.35",
    }  # fmt: skip
    known = tiers.tier(status={"scaling": row}, scaling=scaling)
    assert learned(known, fresh.spec.scaling) == 1.35


def test_a_status_is_applied_to_its_object_alone() -> None:
    made = manifest(tiers.resource(), {"scaling": {}})
    assert made["metadata"] == {"name": "gold", "namespace": "eldermoor"}
    assert set(made) == {"apiVersion", "kind", "metadata", "status"}
