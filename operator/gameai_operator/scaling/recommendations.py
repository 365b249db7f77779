"""PURE: the newest recommendation for each tier, for those who carry it out themselves."""

from collections.abc import Iterable
from dataclasses import dataclass

# Older recommendations are refused, so that KEDA keeps the present number.
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
        self._asked: dict[tuple[str, str], float] = {}

    def put(self, namespace: str, name: str, found: Recommendation) -> None:
        """A tier was decided on."""
        self._known[namespace, name] = found

    def drop(self, namespace: str, name: str) -> None:
        """Nothing can be recommended for a tier now."""
        self._known.pop((namespace, name), None)

    def keep(self, tiers: Iterable[tuple[str, str]]) -> None:
        """Forget all tiers but these."""
        alive = set(tiers)
        self._known = {key: found for key, found in self._known.items() if key in alive}
        self._asked = {key: at for key, at in self._asked.items() if key in alive}

    def note_asked(self, namespace: str, name: str, now: float) -> None:
        """Somebody asks for a tier; those that are not known are not noted."""
        if (namespace, name) in self._known:
            self._asked[namespace, name] = now

    def asked_at(self, namespace: str, name: str) -> float | None:
        """When a tier was last asked for; None where it never was."""
        return self._asked.get((namespace, name))

    def get(self, namespace: str, name: str, now: float) -> Recommendation | None:
        """The recommendation for a tier; None where there is none, or none of the last minute."""
        found = self._known.get((namespace, name))
        return None if found is None or now - found.at > STALE_SECONDS else found
