"""PURE: how often a child may be written back while another writer keeps changing it.

A repair is a write of what was written before, for the same reason. The first ones go at once; further ones wait, twice
as long each time, so that two writers who disagree make a few writes an hour instead of fifty a second. A person's edits
stay below that.
"""

from dataclasses import dataclass

from gameai_operator.controller.manifest import Key

FREE_REPAIRS = 5
FIRST_SECONDS = 2.0
MOST_SECONDS = 300.0
# Without a repair for this long, the next one is the first again.
FORGET_SECONDS = 900.0
_MOST_DOUBLINGS = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class Repair:
    """What is written again: the child, what it is to be, and what was found changed."""

    key: Key
    digest: str
    why: str


@dataclass(frozen=True, kw_only=True, slots=True)
class _Record:
    repairs: int
    at: float


class Repairs:
    """Counts repairs; the first `free` ones wait for nothing. Times are seconds of a steady clock."""

    def __init__(self, free: int = FREE_REPAIRS) -> None:
        self._free = free
        self._records: dict[Key, dict[Repair, _Record]] = {}

    def wait_seconds(self, repair: Repair, now: float) -> float:
        """Seconds until this may be written again; 0.0 means now."""
        record = self._records.get(repair.key, {}).get(repair)
        if record is None or now - record.at > FORGET_SECONDS or record.repairs < self._free:
            return 0.0
        return max(0.0, record.at + self._delay(record) - now)

    def fought_seconds(self, repair: Repair, now: float) -> float:
        """Seconds for which this counts as fought over, though nothing may have changed since it was last written."""
        record = self._records.get(repair.key, {}).get(repair)
        if record is None or record.repairs < self._free:
            return 0.0
        return max(0.0, record.at + 1.5 * self._delay(record) - now)

    def _delay(self, record: _Record) -> float:
        doublings = min(record.repairs - self._free, _MOST_DOUBLINGS)
        return min(FIRST_SECONDS * 2.0**doublings, MOST_SECONDS)

    def wrote(self, repair: Repair, now: float) -> None:
        """A child was written; what it was to be before does not count any more."""
        current = {
            each: record
            for each, record in self._records.get(repair.key, {}).items()
            if each.digest == repair.digest and now - record.at <= FORGET_SECONDS
        }
        before = current.get(repair)
        current[repair] = _Record(repairs=before.repairs + 1 if before else 0, at=now)
        self._records[repair.key] = current

    def forget(self, key: Key) -> None:
        """A child is no longer wanted."""
        self._records.pop(key, None)
