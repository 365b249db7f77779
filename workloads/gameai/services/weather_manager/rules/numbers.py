"""PURE: the sequence numbers of the weather on the event bus."""

from collections.abc import Iterable
from hashlib import blake2b

from gameai_contract.world_time import MICROSECOND

# The shortest step, so that a change of the step's length lets numbers rise.
_SLOT = 600 * MICROSECOND
# Of a region within a step: 24 bits of its name, so that a change of the list of regions moves none.
_PLACES = 1 << 24


def numbers(regions: Iterable[str], begins: int) -> dict[str, int]:
    """The number of each region in the step that begins at a world time (µs), in rising order."""
    first = (begins // _SLOT + 1) * _PLACES
    found: dict[str, int] = {}
    free = first
    for place, region in sorted((_place(each), each) for each in regions):
        # Two regions in one place are next to each other.
        found[region] = max(free, first + place)
        free = found[region] + 1
    return found


def _place(region: str) -> int:
    return int.from_bytes(blake2b(region.encode(), digest_size=3).digest(), "little")
