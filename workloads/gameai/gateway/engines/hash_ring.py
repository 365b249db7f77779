"""PURE: consistent hashing with bounded loads: the same prompt prefix goes to the same replica while it has room.

The bound follows Mirrokni, Thorup, Zadimoghaddam, “Consistent Hashing with Bounded Loads” (2018).
"""

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from hashlib import blake2b

POINTS = 256
# No replica is given more than this part of the mean; but up to so much of its slots in any case: while there is room
# everywhere, a prefix stays where it is known.
BOUND, FLOOR = 1.25, 0.25


def place(text: str) -> int:
    """A text's place on the ring, the same in every gateway."""
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest())


@lru_cache(maxsize=2048)
def _points(address: str) -> tuple[int, ...]:
    """A replica's places; with fifty replicas, computing all of them again takes 15 ms."""
    return tuple(place(f"{address}#{point}") for point in range(POINTS))


class Ring:
    """Replicas at `POINTS` places each."""

    def __init__(self, addresses: Iterable[str]) -> None:
        self.addresses = tuple(sorted(addresses))
        points = sorted(
            (where, index)
            for index, address in enumerate(self.addresses)
            for where in _points(address)
        )
        self._places = [each for each, _ in points]
        self._owners = [owner for _, owner in points]

    def pick(
        self, where: int, load: Callable[[str], float], room: Callable[[str], bool]
    ) -> str | None:
        """The first replica from a place on that has room and is not over the bound; else the least loaded with room.

        `load` is what is in flight, own requests only, as a part of a replica's slots.
        """
        if len(self.addresses) == 1:
            only = self.addresses[0]
            return only if room(only) else None
        free = [address for address in self.addresses if room(address)]
        if not free:
            return None
        mean = math.fsum(map(load, self.addresses)) / len(self.addresses)
        most = max(FLOOR, BOUND * mean)
        for address in self._from(where):
            if load(address) <= most and room(address):
                return address
        return min(free, key=load)

    def _from(self, where: int) -> Iterator[str]:
        """Replicas in the ring's order from a place on, each once."""
        at = bisect_right(self._places, where)
        seen: set[int] = set()
        while len(seen) < len(self.addresses):
            owner = self._owners[at % len(self._owners)]
            at += 1
            if owner not in seen:
                seen.add(owner)
                yield self.addresses[owner]
