"""PURE: who is next: deficit round robin over worlds, earliest deadline first within a flow.

A flow is a role of a world, and has its weight's part of what the world gets in a round: a world gains nothing by
having more roles, or greater weights. The rounds are those of Shreedhar and Varghese, “Efficient Fair Queuing using Deficit Round
Robin” (1995), in the form that serves first and pays later (surplus round robin), with a heap in place of each FIFO.
"""

import heapq
import math
from collections import defaultdict, deque
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar


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

    def __len__(self) -> int:
        return self._length

    def wait(self, entry: E, slots: int) -> float:
        """How many times an entry's own time passes before a new one goes, roughly and at most, with so many slots in all."""
        flow = self._flows.get(entry.flow)
        mine = _before(flow.heap, entry.deadline) if flow else 0
        # As many of each other world go, and as many of each other role of its own.
        worlds = [self._flows[name].world for name in self._active]
        before = min(self._length, mine * len(set(worlds)) * max(1, worlds.count(entry.world)))
        return max(before / slots, mine / min(slots, entry.most_in_flight))

    def push(self, entry: E) -> E | None:
        """Queue an entry; tells the one that had to go for it, which may be itself."""
        flow = self._flows.get(entry.flow)
        if flow is None:
            self._flows[entry.flow] = flow = _Flow(entry.world)
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

    def pop(self) -> E | None:
        """The next entry that may go; None if there is none. It counts as in flight until `done`."""
        if len(self._active) == 1:
            return self._alone()
        # Parts of a weight are no whole numbers: after rounding another round may be needed.
        while (found := self._round()) is None and (owing := self._owing()):
            # Nobody has a surplus: as many rounds pass at once as the nearest one needs.
            rounds = min(math.floor(-flow.surplus / part) + 1 for flow, part in owing)
            for flow, part in owing:
                flow.surplus += rounds * part
        return found

    def done(self, name: str) -> None:
        """An entry of a flow is no longer in flight."""
        flow = self._flows[name]
        flow.in_flight -= 1
        self._forget_flow(name, flow)

    def forget(self) -> None:
        """An entry that was queued waits no longer; it is passed over when its turn comes."""
        self._length -= 1

    def _alone(self) -> E | None:
        """The only flow need not wait; to one that comes it will owe no more than its last entry."""
        flow = self._flows[self._active[0]]
        self._drop_gone(flow)
        if flow.heap and flow.in_flight < flow.heap[0][2].most_in_flight:
            flow.surplus = 0.0
            return self._take(flow)
        return None if flow.heap else self._round()

    def _round(self) -> E | None:
        for _ in range(len(self._active)):
            name = self._active[0]
            flow = self._flows[name]
            self._drop_gone(flow)
            if not flow.heap:
                self._active.popleft()
                flow.active, flow.surplus = False, min(0.0, flow.surplus)
                self._forget_flow(name, flow)
                continue
            entry = flow.heap[0][2]
            if flow.in_flight < entry.most_in_flight and flow.surplus > 0:
                return self._take(flow)
            self._active.rotate(-1)
        return None

    def _owing(self) -> list[tuple[_Flow[E], float]]:
        """Flows that could go if they had a surplus, with their parts of their world's one in a round."""
        heads = ((flow, flow.heap[0][2]) for flow in map(self._flows.__getitem__, self._active))
        found = [
            (flow, entry)
            for flow, entry in heads
            if flow.in_flight < entry.most_in_flight and flow.surplus <= 0
        ]
        weights: dict[str, int] = defaultdict(int)
        for _, entry in found:
            weights[entry.world] += entry.weight
        return [(flow, entry.weight / weights[entry.world]) for flow, entry in found]

    def _take(self, flow: _Flow[E]) -> E:
        entry = heapq.heappop(flow.heap)[2]
        flow.surplus -= entry.cost
        flow.in_flight += 1
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
        """Take a late entry of the longest flow of the world with most of them, unless that is the one that asks."""
        lengths: dict[str, int] = defaultdict(int)
        for name in self._active:
            lengths[self._flows[name].world] += len(self._flows[name].heap)
        fullest = max(lengths, key=lengths.__getitem__)
        flows = [flow for name in self._active if (flow := self._flows[name]).world == fullest]
        longest = max(flows, key=lambda flow: len(flow.heap))
        mine, most = lengths[asking.world], lengths[fullest]
        if asking.world == fullest:
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


def _before(heap: list[tuple[float, int, E]], deadline: float) -> int:
    """How many entries of a heap have an earlier deadline; at most `_MOST_COUNTED` are looked at."""
    found, look = 0, [0]
    while look and found < _MOST_COUNTED:
        at = look.pop()
        if at < len(heap) and heap[at][0] <= deadline:
            found += heap[at][2].waiting
            look += (2 * at + 1, 2 * at + 2)
    return found
