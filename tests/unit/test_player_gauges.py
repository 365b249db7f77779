"""Players as the worlds' own services count them."""

import contextlib
import time
from typing import Any

import pytest
from gameai_operator.api.world import PlayersSource
from gameai_operator.controller.cache import Cache, Entry
from gameai_operator.controller.manifest import Key
from gameai_operator.scaling.demand import Demand
from gameai_operator.scaling.exposition import gauge_total
from gameai_operator.scaling.player_gauges import (
    HELD_SECONDS,
    MOST_PER_NAMESPACE,
    MOST_PER_WORLD,
    MOST_PLAYERS,
    Counted,
    PlayerGauges,
    with_unknown,
)
from gameai_operator.scaling.signals import STALE_SECONDS, Sample, Signals
from support.tier_decisions import a_pod

NOW = 1000.0
MOOR = "eldermoor/moor"
SOURCE = PlayersSource(service="sessions", gauge="online", port=9100)


def gauges(*pods: Any) -> PlayerGauges:
    """One world with these pods, which a scaled tier serves."""
    cache = Cache()
    put(cache, "moor", pods)
    found = PlayerGauges(cache)
    found.follow([Demand(sources={MOOR: SOURCE})], NOW - 2 * STALE_SECONDS)
    found.targets()
    return found


def put(cache: Cache, world: str, pods: Any) -> None:
    root = Key("GameWorld", "eldermoor", world)
    for number, each in enumerate(pods, start=2):
        key = Key("Pod", "eldermoor", each.name)
        cache.put(Entry(key=key, uid=each.uid, version=number, root=root, value=each), 0.0)


def counting(name: str, address: str, **facts: Any) -> Any:
    return a_pod(name=name, uid=name, address=address, **({"group": "sessions"} | facts))


def read(found: PlayerGauges, address: str, text: str, at: float = NOW) -> None:
    found.take(address, found.read(address, text.encode(), at))


def test_living_pods_of_the_service_are_asked() -> None:
    found = gauges(
        counting("a", "10.0.0.1"),
        counting("b", "fd00::1"),
        counting("c", ""),
        counting("d", "10.0.0.4", terminating=True),
        counting("e", "10.0.0.5", dead="Evicted: node was low"),
        counting("f", "10.0.0.6", group="weather-manager"),
    )
    assert found.targets() == ("10.0.0.1:9100", "[fd00::1]:9100")


def test_a_world_that_no_scaled_tier_serves_is_not_asked() -> None:
    found = gauges(counting("a", "10.0.0.1"))
    found.follow([Demand()], NOW)
    assert found.targets() == ()
    with pytest.raises(ValueError, match="not asked any more"):
        read(found, "10.0.0.1:9100", "online 3\n")


def test_one_world_and_one_namespace_have_a_limit() -> None:
    cache = Cache()
    for world in range(10):
        pods = [counting(f"{world}-{n:02}", f"10.0.{world}.{n}") for n in range(30)]
        put(cache, f"w{world}", pods)
    gauge = PlayerGauges(cache)
    gauge.follow([Demand(sources={f"eldermoor/w{world}": SOURCE for world in range(10)})], NOW)
    found = gauge.targets()
    assert len(found) == MOST_PER_NAMESPACE
    assert sum(each.startswith("10.0.0.") for each in found) == MOST_PER_WORLD


def test_a_gauge_is_summed_over_pods_and_labels() -> None:
    found = gauges(counting("a", "10.0.0.1"), counting("b", "10.0.0.2"))
    text = 'online{zone="a"} 30\nonline{zone="b"} 12 1700000000000\nonline_total 999\n'
    read(found, "10.0.0.1:9100", text, NOW - 5)
    read(found, "10.0.0.2:9100", "online 8\n")
    assert found.counted([MOOR], NOW) == Counted(counts={MOOR: Sample(50, NOW)}, unknown=())


@pytest.mark.parametrize("text", ["", "other 3\n", "online_total 3\n", "# online 3\n"])
def test_a_page_without_the_gauge_leaves_the_players_unknown(text: str) -> None:
    found = gauges(counting("a", "10.0.0.1"))
    read(found, "10.0.0.1:9100", "online 8\n")
    read(found, "10.0.0.1:9100", text)
    assert found.counted([MOOR], NOW) == Counted(counts={}, unknown=(MOOR,))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("online NaN\n", "is no number from 0 on"),
        ("online +Inf\n", "is no number from 0 on"),
        ('online{a="1"} 3\nonline{a="2"} -4\n', "is no number from 0 on"),
        ("online many\n", "could not convert"),
        ("online {\n", "cannot be read"),
        ("online 1" + "0" * 400 + "\n", "cannot be read"),
        ("online{" + "a=," * 2000 + "} 1\n", "cannot be read"),
        ("".join(f'online{{a="{n}"}} 1\n' for n in range(201)), "more than 200 series"),
    ],
)
def test_a_gauge_that_is_no_number_is_refused(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        gauge_total(text.encode(), "online")


@pytest.mark.parametrize(
    "line",
    [
        "online 12",
        "  online\t12\r",
        'online{zone="a}b\\"c"} 12 1700000000000',
        'online {zone="a"} 1.2e+01 # {trace="x"} 1',
        "online{}12",
    ],
)
def test_every_form_of_a_line_is_read(line: str) -> None:
    assert gauge_total(line.encode(), "online") == 12.0
    assert gauge_total(f"x 1\n{line}\n{line}".encode(), "online") == 24.0


@pytest.mark.parametrize(
    "line", ["online{} xxxx\n", 'online{a="\\"\n', "online " + " " * 60 + "\n"]
)
def test_a_long_page_is_read_in_a_time_that_grows_with_its_length(line: str) -> None:
    def seconds(page: bytes) -> float:
        began = time.process_time()
        with contextlib.suppress(ValueError):
            gauge_total(page, "online")
        return time.process_time() - began

    page = (line * (262_144 // len(line))).encode()
    assert min(seconds(page) for _ in range(5)) < 0.05


def test_a_world_is_unknown_once_none_of_its_pods_was_read_for_a_minute() -> None:
    found = gauges(counting("a", "10.0.0.1"), counting("b", "10.0.0.2"))
    old = NOW - STALE_SECONDS - 1
    read(found, "10.0.0.1:9100", "online 8\n", old)
    read(found, "10.0.0.2:9100", "online 4\n", NOW - 1)
    assert found.counted([MOOR], NOW).counts[MOOR].value == 12, (
        "a pod that does not answer keeps its count"
    )
    read(found, "10.0.0.2:9100", "online 4\n", old)
    assert found.counted([MOOR], NOW).unknown == (MOOR,)


def test_a_pod_that_does_not_answer_for_five_minutes_does_not_count() -> None:
    found = gauges(counting("a", "10.0.0.1"), counting("b", "10.0.0.2"))
    read(found, "10.0.0.1:9100", "online 8\n", NOW - HELD_SECONDS - 1)
    read(found, "10.0.0.2:9100", "online 4\n")
    assert found.counted([MOOR], NOW).counts[MOOR].value == 4


def test_a_world_is_not_unknown_before_there_was_time_to_read_it() -> None:
    found = gauges(counting("a", "10.0.0.1"))
    found.follow([], NOW)
    found.follow([Demand(sources={MOOR: SOURCE})], NOW)
    assert found.counted([MOOR], NOW + STALE_SECONDS).unknown == ()
    assert found.counted([MOOR], NOW + STALE_SECONDS + 1).unknown == (MOOR,)


def test_a_leader_alone_may_have_the_gauge() -> None:
    found = gauges(counting("a", "10.0.0.1"), counting("b", "10.0.0.2"))
    read(found, "10.0.0.1:9100", "online 8\n")
    read(found, "10.0.0.1:9100", "up 1\n")
    read(found, "10.0.0.2:9100", "online 9\n")
    assert found.counted([MOOR], NOW).counts[MOOR].value == 9


def test_what_a_pod_said_is_forgotten_with_the_pod() -> None:
    found = gauges(counting("a", "10.0.0.1"))
    read(found, "10.0.0.1:9100", "online 8\n")
    found.listed([])
    assert found.counted([MOOR], NOW).counts == {}


def test_an_address_that_another_pod_has_now_counts_nothing() -> None:
    found = gauges(counting("a", "10.0.0.1"))
    read(found, "10.0.0.1:9100", "online 8\n")
    other = PlayersSource(service="sessions", gauge="players", port=9100)
    found.follow([Demand(sources={MOOR: other})], NOW)
    found.targets()
    assert found.counted([MOOR], NOW).counts == {}


def test_a_world_cannot_count_more_than_a_million_players() -> None:
    found = gauges(counting("a", "10.0.0.1"), counting("b", "10.0.0.2"))
    for address in ("10.0.0.1:9100", "10.0.0.2:9100"):
        read(found, address, "online 1e308\n")
    assert found.counted([MOOR], NOW).counts[MOOR].value == MOST_PLAYERS


def test_a_world_whose_players_are_unknown_counts_with_those_it_expects() -> None:
    demand = Demand(worlds=(MOOR, "a/b"), expected={MOOR: 300, "a/b": 70})
    counted = Counted(counts={}, unknown=(MOOR,))
    found = with_unknown(Signals(players=Sample(20.0, NOW)), demand, counted)
    assert found.players == Sample(320.0, NOW)
    assert found.unknown_players == (MOOR,)
    assert with_unknown(Signals(), demand, counted).players is None
