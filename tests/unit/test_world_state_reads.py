"""What readers of world-state are sent."""

from dataclasses import replace

import pytest
from gameai.services.world_state.rules import table
from gameai.services.world_state.rules.table import Filter, Table, Target
from gameai.services.world_state.rules.watch import Answers, Watch
from gameai.world_state.v1 import world_state_pb2 as pb
from support.live_world_state import REGIONS, rule, rules, stored


def facts(*given: pb.FactRule, revision: int = 5, **values: int) -> Table:
    of = {Target(fact="danger", region=region): stored(value) for region, value in values.items()}
    return Table(revision=revision, token="t", rules_token="r", rules=rules(*given), values=of)


def test_facts_are_read_by_region_and_name_in_order() -> None:
    given = facts(rule(), rule("bridge", per_region=False), moor=3)
    assert [(each.name, each.region) for each in table.every(given, REGIONS, Filter(), 0)] == [
        ("bridge", ""),
        ("danger", "coast"),
        ("danger", "moor"),
    ]
    only = Filter(regions=("moor",), facts=("danger", "gone"))
    (found,) = table.every(given, REGIONS, only, 0)
    assert (found.region, found.present, found.cause, found.revision) == ("moor", 3, "a test", 5)


@pytest.mark.parametrize(
    ("wanted", "since", "regions"),
    [
        (Filter(), 4, ["moor", "coast"]),
        (Filter(), 5, []),
        (Filter(regions=("coast",)), 4, ["coast"]),
        (Filter(facts=("danger",)), 4, ["moor", "coast"]),
        (Filter(facts=("fog",)), 4, []),
    ],
)
def test_what_has_changed_is_read_without_the_rest(
    wanted: Filter, since: int, regions: list[str]
) -> None:
    # A region that was removed from the setting keeps its value.
    given = facts(rule(), rule("fog"), moor=3, coast=4, north=5)
    found = table.changed(given, REGIONS, wanted, since, 0)
    assert [each.region for each in found] == regions


def test_rules_come_in_pages() -> None:
    given = facts(rule("b"), rule("a"), rule("c"))
    (first, second), token = table.page(given, "", 2)
    assert (first.name, second.name, token) == ("a", "b", "b")
    (third,), token = table.page(given, token, 2)
    assert (third.name, token) == ("c", "")


def test_a_watcher_gets_everything_at_first_and_after_a_restore() -> None:
    watch = Watch()
    assert watch.since(facts(rule(), revision=5)) == -1
    assert watch.since(facts(rule(), revision=7)) == 5
    # All was read again: there may be other rules, or values of before that are newer now.
    assert watch.since(replace(facts(rule(), revision=9), loaded="other")) == -1
    assert watch.since(replace(facts(rule(), revision=10), loaded="other")) == 9


def test_readers_of_the_same_share_an_answer() -> None:
    answers, given = Answers(REGIONS), facts(rule(), moor=3)
    at_us, first = answers.facts(given, Filter(), 4, 0)
    assert ([(each.region, each.value) for each in first], at_us) == ([("moor", 3)], 0)
    assert answers.facts(given, Filter(), 4, 9)[1] is first
    assert not answers.facts(given, Filter(regions=("coast",)), 4, 0)[1]
    _, every = answers.facts(given, Filter(), -1, 9)
    assert [each.region for each in every] == ["coast", "moor"]
    assert answers.facts(facts(rule(), moor=4), Filter(), 4, 0)[1][0].value == 4


def test_an_answer_is_made_again_when_it_is_old_or_there_are_many() -> None:
    answers, given = Answers(REGIONS), facts(rule(), moor=3)
    _, first = answers.facts(given, Filter(), -1, 0)
    assert answers.facts(given, Filter(), -1, 60_000_000)[1] is first
    assert answers.facts(given, Filter(), -1, 60_000_001)[0] == 60_000_001
    _, first = answers.facts(given, Filter(), -1, 60_000_001)
    # The clock was set back.
    assert answers.facts(given, Filter(), -1, 5)[0] == 5
    for each in range(20):
        answers.facts(given, Filter(facts=(f"f-{each}",)), -1, 5)
    assert answers.facts(given, Filter(), -1, 5)[1] is not first
