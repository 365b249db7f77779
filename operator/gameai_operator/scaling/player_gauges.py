"""PURE: players as the worlds' own services count them: which pods are asked, and what their gauges amount to."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from gameai_operator.api.world import PlayersSource
from gameai_operator.controller.cache import Cache
from gameai_operator.controller.manifest import Key
from gameai_operator.controller.pod_facts import Pod
from gameai_operator.scaling.demand import Demand
from gameai_operator.scaling.exposition import Scrape, Series, gauge_total
from gameai_operator.scaling.signals import STALE_SECONDS, Sample, Signals

# Pods of one service, and of one namespace; others are not asked.
MOST_PER_WORLD, MOST_PER_NAMESPACE = 20, 100
# Of one world, as for `players.maximum`; more is not believed.
MOST_PLAYERS = 1_000_000.0
# So long a pod that does not answer counts as it last did.
HELD_SECONDS = 300.0


class _Page(NamedTuple):
    """The metrics page of a pod: the pod, its world, and the gauge that counts."""

    pod: str
    world: str
    gauge: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Counted:
    """Players by world, as fresh gauges have them; worlds without a fresh gauge are `unknown`."""

    counts: Mapping[str, Sample]
    unknown: tuple[str, ...]


class PlayerGauges:
    """The last page of each pod that counts players, by address."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._sources: Mapping[str, PlayersSource] = {}
        self._since: Mapping[str, float] = {}
        self._pages: Mapping[str, _Page] = {}
        self._last: dict[str, tuple[_Page, Sample]] = {}

    def follow(self, demands: Iterable[Demand], now: float) -> None:
        """Ask the worlds that scaled tiers serve, and no others."""
        self._sources = {
            world: source for each in demands for world, source in each.sources.items()
        }
        self._since = {world: self._since.get(world, now) for world in self._sources}

    def targets(self) -> tuple[str, ...]:
        """The addresses of the pods of the services that count players."""
        pages: dict[str, _Page] = {}
        room: dict[str, int] = defaultdict(lambda: MOST_PER_NAMESPACE)
        for world, source in sorted(self._sources.items()):
            namespace, _, name = world.partition("/")
            pods = self._pods(Key("GameWorld", namespace, name), source.service)
            for pod in pods[: min(MOST_PER_WORLD, room[namespace])]:
                room[namespace] -= 1
                pages[pod.at(source.port)] = _Page(pod.uid, world, source.gauge)
        self._pages = pages
        return tuple(pages)

    def read(self, address: str, page: bytes, at: float) -> Scrape:
        """What a page says of its gauge. Raises ValueError where that is no number."""
        known = self._pages.get(address)
        if known is None:
            raise ValueError("the pod is not asked any more")
        total = gauge_total(page, known.gauge)
        return Scrape(at, {} if total is None else {Series(known.gauge, ()): total})

    def listed(self, addresses: Iterable[str]) -> None:
        """These pods exist now; what others said is forgotten."""
        for gone in set(self._last) - set(addresses):
            del self._last[gone]

    def take(self, address: str, scrape: Scrape) -> None:
        """A pod answered. One without the gauge has no players: a leader alone may count them."""
        page = self._pages.get(address)
        total = None if page is None else scrape.values.get(Series(page.gauge, ()))
        self._last.pop(address, None)
        if page is not None and total is not None:
            self._last[address] = page, Sample(min(total, MOST_PLAYERS), scrape.at)

    def counted(self, sources: Iterable[str], now: float) -> Counted:
        """Players of the worlds that have a source, where at least one pod was read within the last minute.

        A pod that does not answer counts as it last did for five minutes. A count is as of now: one slow world must not make
        the players of all worlds old. A world is unknown once there was a minute to read it.
        """
        found: dict[str, list[Sample]] = defaultdict(list)
        for address, (page, sample) in self._last.items():
            if self._pages.get(address) == page and now - sample.at <= HELD_SECONDS:
                found[page.world].append(sample)
        counts = {
            world: Sample(min(sum(e.value for e in found[world]), MOST_PLAYERS), now)
            for world in sources
            if any(now - each.at <= STALE_SECONDS for each in found[world])
        }
        due = {each for each in sources if now - self._since.get(each, now) > STALE_SECONDS}
        return Counted(counts=counts, unknown=tuple(sorted(due - set(counts))))

    def _pods(self, world: Key, service: str) -> list[Pod]:
        pods = (entry.value for entry in self._cache.below(world) if isinstance(entry.value, Pod))
        return [
            each
            for each in pods
            if each.group == service and each.address and not (each.terminating or each.dead)
        ]


def with_unknown(signals: Signals, demand: Demand, counted: Counted) -> Signals:
    """The signals where worlds whose players are unknown count with those that they expect."""
    more = sum(demand.expected.get(each, 0) for each in counted.unknown)
    players = signals.players
    if players is not None:
        players = replace(players, value=players.value + more)
    return replace(signals, players=players, unknown_players=counted.unknown)
