"""PURE: players as the worlds' own services count them: which pods are asked, and what their gauges amount to."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from pydantic import ValidationError

from gameai_operator.api.world import GameWorld, PlayersSource, WorldState
from gameai_operator.controller.cache import Cache
from gameai_operator.controller.manifest import Key
from gameai_operator.controller.pod_facts import Pod
from gameai_operator.scaling.demand import Demand
from gameai_operator.scaling.exposition import Scrape, gauge_total
from gameai_operator.scaling.signals import STALE_SECONDS, Sample, Signals

# Pods of one service, and of one namespace; others are not asked.
MOST_PER_WORLD, MOST_PER_NAMESPACE = 20, 100
# Of one world, as for `players.maximum`; more is not believed.
MOST_PLAYERS = 1_000_000.0


class _Page(NamedTuple):
    """The metrics page of a pod: its world, and the gauge that counts."""

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
        self._pages: dict[str, _Page] = {}
        self._last: dict[str, Sample] = {}

    def targets(self) -> tuple[str, ...]:
        """The addresses of pods of services that count the players of a running world."""
        self._pages = {}
        room: dict[str, int] = defaultdict(lambda: MOST_PER_NAMESPACE)
        for key in sorted(self._cache.keys("GameWorld")):
            source = self._source(key)
            found = [] if source is None else self._addresses(key, source)
            for address in found[: min(MOST_PER_WORLD, room[key.namespace])]:
                room[key.namespace] -= 1
                page = _Page(f"{key.namespace}/{key.name}", source.gauge if source else "")
                self._pages[address] = page
        return tuple(self._pages)

    def series(self, address: str) -> Sequence[str]:
        """What to read of a page."""
        page = self._pages.get(address)
        return (page.gauge,) if page else ()

    def listed(self, addresses: Iterable[str]) -> None:
        """These pods exist now; what others said is forgotten."""
        for gone in set(self._last) - set(addresses):
            del self._last[gone]

    def take(self, address: str, scrape: Scrape) -> None:
        """A pod answered. A page without the gauge says nothing."""
        page = self._pages.get(address)
        total = gauge_total(scrape, page.gauge) if page else None
        if total is not None:
            self._last[address] = Sample(min(total, MOST_PLAYERS), scrape.at)

    def counted(self, sources: Iterable[str], now: float) -> Counted:
        """Players of the worlds that have a source: the sum over their pods that were read, if all of these are fresh."""
        found: dict[str, list[Sample]] = defaultdict(list)
        for address, page in self._pages.items():
            if address in self._last:
                found[page.world].append(self._last[address])
        counts = {
            world: Sample(
                min(sum(e.value for e in found[world]), MOST_PLAYERS),
                min(e.at for e in found[world]),
            )
            for world in sources
            if found[world] and all(now - e.at <= STALE_SECONDS for e in found[world])
        }
        return Counted(counts=counts, unknown=tuple(sorted(set(sources) - set(counts))))

    def _source(self, key: Key) -> PlayersSource | None:
        root = self._cache.root(key)
        # Most worlds have none, and reading a world takes longer than finding that out.
        if root is None or "source" not in root["spec"].get("players", {}):
            return None
        try:
            world = GameWorld.model_validate(root)
        except ValidationError:
            return None
        runs = world.spec.state is WorldState.RUNNING
        return world.spec.players.source if world.spec.players and runs else None

    def _addresses(self, key: Key, source: PlayersSource) -> list[str]:
        pods = (entry.value for entry in self._cache.below(key) if isinstance(entry.value, Pod))
        alive = (e for e in pods if e.group == source.service and not (e.terminating or e.dead))
        return [each.at(source.port) for each in alive if each.address]


def with_unknown(signals: Signals, demand: Demand, counted: Counted) -> Signals:
    """The signals where worlds whose players are unknown count with those that they expect."""
    more = sum(demand.expected.get(each, 0) for each in counted.unknown)
    players = signals.players
    if players is not None:
        players = replace(players, value=players.value + more)
    return replace(signals, players=players, unknown_players=counted.unknown)
