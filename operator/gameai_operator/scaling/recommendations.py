"""PURE: the newest recommendation for each tier, for those who carry it out themselves."""

from collections.abc import Iterable
from dataclasses import dataclass

# An older one is not given out: whoever asks then keeps what is there.
STALE_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Recommendation:
    """Replicas before windows and rates; `busy` says whether a signal asks for more than the minimum."""

    replicas: int
    busy: bool
    at: float


class Recommendations:
    """Recommendations by namespace and name of the tier."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], Recommendation] = {}

    def put(self, namespace: str, name: str, found: Recommendation) -> None:
        """A tier was decided on."""
        self._known[namespace, name] = found

    def keep(self, tiers: Iterable[tuple[str, str]]) -> None:
        """Forget all tiers but these."""
        for gone in set(self._known) - set(tiers):
            del self._known[gone]

    def get(self, namespace: str, name: str, now: float) -> Recommendation | None:
        """The recommendation for a tier; None where there is none, or none of the last minute."""
        found = self._known.get((namespace, name))
        return None if found is None or now - found.at > STALE_SECONDS else found
