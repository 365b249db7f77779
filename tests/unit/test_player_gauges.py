"""Players as the worlds' own services count them."""

import json
from typing import Any

import pytest
from gameai_operator.controller.cache import Cache, Entry, Root
from gameai_operator.controller.manifest import Key
from gameai_operator.scaling.demand import Demand
from gameai_operator.scaling.exposition import parse
from gameai_operator.scaling.player_gauges import (
    MOST_PER_NAMESPACE,
    MOST_PER_WORLD,
    MOST_PLAYERS,
    Counted,
    PlayerGauges,
    with_unknown,
)
from gameai_operator.scaling.signals import STALE_SECONDS, Sample, Signals
from support import worlds
from support.tier_decisions import a_pod

NOW = 1000.0
MOOR = "eldermoor/moor"
SOURCE: dict[str, Any] = {"service": "sessions", "gauge": "online", "port": 9100}


def gauges(*pods: Any, source: dict[str, Any] | None = SOURCE, **spec: Any) -> PlayerGauges:
    """One world with these pods."""
    cache = Cache()
    put_world(cache, "moor", pods, source=source, **spec)
    return PlayerGauges(cache)


def put_world(
    cache: Cache, name: str, pods: Any, *, source: dict[str, Any] | None = SOURCE, **spec: Any
) -> None:
    key = Key("GameWorld", "eldermoor", name)
    players = {"expected": 5} | ({"source": source} if source else {})
    service = {"name": "sessions", "image": "registry.example/sessions:1"}
    root = worlds.resource(services=[service], players=players, **spec)
    root["metadata"] |= {"name": name, "namespace": "eldermoor"}
    value = Root(json.dumps(root).encode())
    cache.put(Entry(key=key, uid=name, version=1, root=key, value=value), 0.0)
    for number, each in enumerate(pods, start=2):
        pod = Key("Pod", "eldermoor", each.name)
        cache.put(Entry(key=pod, uid=each.name, version=number, root=key, value=each), 0.0)


def counting(name: str, address: str, **facts: Any) -> Any:
    return a_pod(name=name, address=address, **({"group": "sessions"} | facts))


def read(found: PlayerGauges, address: str, text: str, at: float = NOW) -> None:
    found.take(address, parse(text, at, found.series(address)))


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


@pytest.mark.parametrize(
    "spec", [{"source": None}, {"state": "Hibernated"}, {"source": {"service": 7}}]
)
def test_a_world_without_a_source_at_rest_or_unreadable_is_not_asked(spec: dict[str, Any]) -> None:
    assert gauges(counting("a", "10.0.0.1"), **spec).targets() == ()


def test_one_world_and_one_namespace_have_a_limit() -> None:
    cache = Cache()
    for world in range(10):
        pods = [counting(f"{world}-{n:02}", f"10.0.{world}.{n}") for n in range(30)]
        put_world(cache, f"w{world}", pods)
    found = PlayerGauges(cache).targets()
    assert len(found) == MOST_PER_NAMESPACE
    assert sum(each.startswith("10.0.0.") for each in found) == MOST_PER_WORLD


def test_a_gauge_is_summed_over_pods_and_labels() -> None:
    found = gauges(counting("a", "10.0.0.1"), counting("b", "10.0.0.2"))
    found.targets()
    text = 'online{zone="a"} 30\nonline{zone="b"} 12\nonline_total 999\nonline_max{zone="a"} 500\n'
    read(found, "10.0.0.1:9100", text, NOW - 5)
    read(found, "10.0.0.2:9100", "online 8\n")
    assert found.counted([MOOR], NOW) == Counted(counts={MOOR: Sample(50, NOW - 5)}, unknown=())


@pytest.mark.parametrize(
    "text", ["", "other 3\n", "online NaN\n", "online -4\n", "online +Inf\n", "online_total 3\n"]
)
def test_a_page_without_the_gauge_leaves_the_players_unknown(text: str) -> None:
    found = gauges(counting("a", "10.0.0.1"))
    found.targets()
    read(found, "10.0.0.1:9100", text)
    assert found.counted([MOOR], NOW) == Counted(counts={}, unknown=(MOOR,))


def test_a_gauge_that_was_not_read_for_a_minute_is_unknown() -> None:
    found = gauges(counting("a", "10.0.0.1"))
    found.targets()
    read(found, "10.0.0.1:9100", "online 8\n", NOW - STALE_SECONDS - 1)
    assert found.counted([MOOR], NOW).unknown == (MOOR,)


def test_what_a_pod_said_is_forgotten_with_the_pod() -> None:
    found = gauges(counting("a", "10.0.0.1"))
    found.targets()
    read(found, "10.0.0.1:9100", "online 8\n")
    found.listed([])
    assert found.counted([MOOR], NOW).counts == {}


def test_a_world_cannot_count_more_than_a_million_players() -> None:
    found = gauges(counting("a", "10.0.0.1"), counting("b", "10.0.0.2"))
    found.targets()
    for address in ("10.0.0.1:9100", "10.0.0.2:9100"):
        read(found, address, "online 1e308\n")
    assert found.counted([MOOR], NOW).counts[MOOR].value == MOST_PLAYERS


def test_an_address_that_is_not_asked_says_nothing() -> None:
    found = gauges()
    assert found.series("10.0.0.9:9100") == ()
    found.take("10.0.0.9:9100", parse("online 3\n", NOW, ("online",)))
    assert found.counted([MOOR], NOW).counts == {}


def test_a_world_whose_players_are_unknown_counts_with_those_it_expects() -> None:
    demand = Demand(worlds=(MOOR, "a/b"), expected={MOOR: 300, "a/b": 70})
    counted = Counted(counts={}, unknown=(MOOR,))
    found = with_unknown(Signals(players=Sample(20.0, NOW)), demand, counted)
    assert found.players == Sample(320.0, NOW)
    assert found.unknown_players == (MOOR,)
    assert with_unknown(Signals(), demand, counted).players is None
