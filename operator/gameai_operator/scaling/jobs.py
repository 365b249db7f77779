"""PURE: jobs as a load of their tier: what waits on the event bus, from the pages of gateways."""

from collections.abc import Iterable, Mapping

from gameai_contract.inference import JOBS_CONNECTED, PENDING_JOBS, RUNNING_JOBS

from gameai_operator.scaling.exposition import Scrape, Series

_CONNECTED = Series(JOBS_CONNECTED, ())


def waiting(pages: Iterable[Scrape], tier: str) -> float:
    """Jobs that no gateway has taken. Each gateway knows the jobs of all, and which of them it has taken itself."""
    pending, running = 0.0, 0.0
    labels = (("tier", tier),)
    for page in pages:
        pending = max(pending, page.values.get(Series(PENDING_JOBS, labels), 0.0))
        running += page.values.get(Series(RUNNING_JOBS, labels), 0.0)
    return max(0.0, pending - running)


def unconnected(pages: Mapping[str, Scrape]) -> tuple[str, ...]:
    """Gateways that do not know now which jobs wait. One without an event bus has no jobs."""
    return tuple(sorted(name for name, page in pages.items() if page.values.get(_CONNECTED) == 0))
