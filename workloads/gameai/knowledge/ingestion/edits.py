"""PURE: a text with parts replaced, which knows where each of its characters stood before."""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Edit:
    """Characters `begin` to `end` (exclusive) become `text`."""

    begin: int
    end: int
    text: str


class Edited:
    """The text after edits that do not overlap."""

    def __init__(self, original: str, edits: Iterable[Edit]) -> None:
        pieces: list[str] = []
        # Positions of the new text from which on the old position is known.
        self._new: list[int] = [0]
        self._old: list[int] = [0]
        at = length = 0
        for each in sorted(edits, key=lambda edit: edit.begin):
            pieces += (original[at : each.begin], each.text)
            length += each.begin - at
            self._mark(length, each.begin)
            length += len(each.text)
            self._mark(length, each.end)
            at = each.end
        pieces.append(original[at:])
        self.text = "".join(pieces)

    def old(self, position: int) -> int:
        """Where a position of this text was in the original."""
        at = bisect_right(self._new, position) - 1
        found = self._old[at] + position - self._new[at]
        # Within a replacement: not behind what it replaced.
        return min(found, self._old[at + 1]) if at + 1 < len(self._old) else found

    def _mark(self, new: int, old: int) -> None:
        if new == self._new[-1]:
            self._old[-1] = old
        else:
            self._new.append(new)
            self._old.append(old)
