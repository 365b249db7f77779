"""PURE: who is next: deficit round robin over namespaces, earliest deadline first within a flow.

A flow is a role of a world. In a round each namespace gets the same, its worlds equal parts of that, and a world's roles
parts by their weights: more worlds, more roles or greater weights do not give a namespace more. The rounds are those of Shreedhar and Varghese, “Efficient Fair Queuing using Deficit Round
Robin” (1995), in the form that serves first and pays later (surplus round robin), with a heap in place of each FIFO.
"""

import heapq
import math
from collections import defaultdict, deque
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from gameai.gateway.engines.slot_shares import Shares
from gameai.gateway.memory import namespace


class Entry(Protocol):
    """What is queued: its world, its flow and that one's share, its deadline (seconds of one clock), its cost, if it still waits."""

    world: str
    flow: str
    weight: int
    most_in_flight: int
    deadline: float
    cost: float
    waiting: bool


E = TypeVar("E", bound=Entry)
# Who has so many before him waits long, however many more there are.
_MOST_COUNTED = 512


@dataclass(slots=True)
class _Flow(Generic[E]):
    world: str
    space: str
    heap: list[tuple[float, int, E]] = field(default_factory=list)
    surplus: float = 0.0
    in_flight: int = 0
    active: bool = False


class FairQueue(Generic[E]):
    """At most `most` entries in all; the longest flow makes room for the others."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._flows: dict[str, _Flow[E]] = {}
        self._active: deque[str] = deque()
        self._length = 0
        self._number = 0
        # Slots are shared by namespaces, and a namespace's by its worlds: those of others do not count there.
        self._spaces, self._worlds = Shares(), dict[str, Shares]()
        # Slots in all, which namespaces and worlds share; 0: not known.
        self.slots = 0

    def __len__(self) -> int:
        return self._length

    def wait(self, entry: E, slots: int) -> float:
        """How many times an entry's own time passes before a new one goes, roughly and at most, with so many slots in all."""
        flow = self._flows.get(entry.flow)
        if flow is None or not flow.heap:
            return 0.0
        mine = _before(flow.heap, entry.deadline)
        # As many of each other namespace go, of each other world of its own, and of each other role of its own.
        flows = [self._flows[name] for name in self._active]
        space = namespace(entry.world)
        spaces = len({each.space for each in flows})
        worlds = len({each.world for each in flows if each.space == space})
        roles = sum(each.world == entry.world for each in flows)
        before = min(self._length, mine * spaces * max(1, worlds) * max(1, roles))
        return max(before / slots, mine / min(slots, entry.most_in_flight))

    def in_flight(self, entry: E) -> int:
        """How many entries of its namespace are in flight."""
        return self._spaces.in_flight(namespace(entry.world))

    def push(self, entry: E, now: float = 0.0) -> E | None:
        """Queue an entry. Returns the entry that was removed for it, which may be the entry itself."""
        flow = self._flows.get(entry.flow)
        if flow is None:
            self._flows[entry.flow] = flow = _Flow(entry.world, namespace(entry.world))
        self._spaces.asks(flow.space, now)
        self._worlds_of(flow.space).asks(flow.world, now)
        self._drop_gone(flow)
        gone = self._make_room(flow) if self._length >= self.most else None
        if self._length >= self.most:
            self._forget_flow(entry.flow, flow)
            return entry
        self._number += 1
        heapq.heappush(flow.heap, (entry.deadline, self._number, entry))
        self._length += 1
        if not flow.active:
            flow.active = True
            self._active.append(entry.flow)
        return gone

    def pop(self, now: float = 0.0) -> E | None:
        """The next entry that may go, or None. It counts as in flight until `done`."""
        if len(self._active) == 1:
            return self._alone(now)
        # Shares are fractions: after rounding another round may be needed.
        while (found := self._round(now)) is None and (owing := self._owing(now)):
            # No flow has a surplus: skip as many rounds as the nearest one needs.
            rounds = min(math.floor(-flow.surplus / part) + 1 for flow, part in owing)
            for flow, part in owing:
                flow.surplus += rounds * part
        return found

    def done(self, name: str) -> None:
        """An entry of a flow is no longer in flight."""
        flow = self._flows[name]
        flow.in_flight -= 1
        self._spaces.frees(flow.space)
        self._worlds[flow.space].frees(flow.world)
        self._forget_flow(name, flow)

    def forget(self) -> None:
        """An entry that was queued waits no longer; it is passed over when its turn comes."""
        self._length -= 1

    def _alone(self, now: float) -> E | None:
        """The only flow need not wait; to one that comes it will owe no more than its last entry."""
        flow = self._flows[self._active[0]]
        self._drop_gone(flow)
        if flow.heap and self._may(flow, now):
            flow.surplus = 0.0
            return self._take(flow, now)
        return None if flow.heap else self._round(now)

    def _may(self, flow: _Flow[E], now: float) -> bool:
        """Whether a flow's first entry may go, as far as what it, its world and its namespace have in flight."""
        if flow.in_flight >= flow.heap[0][2].most_in_flight:
            return False
        spaces, worlds, slots = self._spaces, self._worlds_of(flow.space), self.slots
        if spaces.full(flow.space, slots, now):
            return False
        if not slots or worlds.surely_not_full(flow.world, max(1, slots // len(spaces))):
            return True
        return not worlds.full(flow.world, spaces.most(flow.space, slots, now), now)

    def _worlds_of(self, space: str) -> Shares:
        worlds = self._worlds.get(space)
        if worlds is None:
            # Those of namespaces that are forgotten have nothing in flight.
            self._worlds = {
                name: each for name, each in self._worlds.items() if name in self._spaces
            }
            worlds = self._worlds[space] = Shares()
        return worlds

    def _round(self, now: float) -> E | None:
        for _ in range(len(self._active)):
            name = self._active[0]
            flow = self._flows[name]
            self._drop_gone(flow)
            if not flow.heap:
                self._active.popleft()
                flow.active, flow.surplus = False, min(0.0, flow.surplus)
                self._forget_flow(name, flow)
                continue
            if flow.surplus > 0 and self._may(flow, now):
                return self._take(flow, now)
            self._active.rotate(-1)
        return None

    def _owing(self, now: float) -> list[tuple[_Flow[E], float]]:
        """Flows that could go if they had a surplus, with their parts of their namespace's one in a round."""
        flows = map(self._flows.__getitem__, self._active)
        found = [flow for flow in flows if flow.surplus <= 0 and self._may(flow, now)]
        weights: dict[str, int] = defaultdict(int)
        worlds: dict[str, set[str]] = defaultdict(set)
        for flow in found:
            weights[flow.world] += flow.heap[0][2].weight
            worlds[flow.space].add(flow.world)
        return [
            (flow, flow.heap[0][2].weight / weights[flow.world] / len(worlds[flow.space]))
            for flow in found
        ]

    def _take(self, flow: _Flow[E], now: float) -> E:
        entry = heapq.heappop(flow.heap)[2]
        flow.surplus -= entry.cost
        flow.in_flight += 1
        self._spaces.takes(flow.space, now)
        self._worlds_of(flow.space).takes(flow.world, now)
        self._length -= 1
        if flow.surplus <= 0:
            self._active.rotate(-1)
        return entry

    def _drop_gone(self, flow: _Flow[E]) -> None:
        while flow.heap and not flow.heap[0][2].waiting:
            heapq.heappop(flow.heap)
        if len(flow.heap) > 2 * self.most:
            flow.heap = [each for each in flow.heap if each[2].waiting]
            heapq.heapify(flow.heap)

    def _forget_flow(self, name: str, flow: _Flow[E]) -> None:
        if not flow.active and not flow.in_flight:
            del self._flows[name]

    def _make_room(self, asking: _Flow[E]) -> E | None:
        """Take a late entry of the longest flow of the fullest world of the fullest namespace.

        Unless the one that asks is among them and no shorter: where both are of one namespace their worlds are compared,
        where both are of one world their flows.
        """
        flows = [self._flows[name] for name in self._active]
        spaces, worlds = _lengths(flows, "space"), _lengths(flows, "world")
        space = max(spaces, key=spaces.__getitem__)
        world = max((f.world for f in flows if f.space == space), key=worlds.__getitem__)
        longest = max((f for f in flows if f.world == world), key=lambda flow: len(flow.heap))
        if asking.space != space:
            mine, most = spaces.get(asking.space, 0), spaces[space]
        elif asking.world != world:
            mine, most = worlds.get(asking.world, 0), worlds[world]
        else:
            mine, most = len(asking.heap), len(longest.heap)
        if mine + 1 >= most:
            return None
        # The last leaf of a heap is among its latest deadlines, and costs nothing to take.
        while longest.heap:
            entry = longest.heap.pop()[2]
            if entry.waiting:
                self._length -= 1
                return entry
        return None


def _lengths(flows: list[_Flow[E]], level: str) -> dict[str, int]:
    """Entries by namespace or world."""
    found: dict[str, int] = defaultdict(int)
    for flow in flows:
        found[getattr(flow, level)] += len(flow.heap)
    return found


def _before(heap: list[tuple[float, int, E]], deadline: float) -> int:
    """How many entries of a heap have an earlier deadline; at most `_MOST_COUNTED` are looked at."""
    found, look = 0, [0]
    while look and found < _MOST_COUNTED:
        at = look.pop()
        if at < len(heap) and heap[at][0] <= deadline:
            found += heap[at][2].waiting
            look += (2 * at + 1, 2 * at + 2)
    return found
