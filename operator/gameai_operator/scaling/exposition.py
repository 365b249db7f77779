"""PURE: the few series of a `/metrics` page that scaling needs."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

_PREFIX = "gameai_gateway_"
GAUGES = ("queue_depth", "in_flight", "slots", "players")
COUNTERS = ("engine_requests_total",)
HISTOGRAMS = (
    "request_duration_seconds",
    "queue_duration_seconds",
    "engine_request_duration_seconds",
)
# Every gateway has it, also without any tier.
GATEWAY_FAMILY = f"{_PREFIX}queue_depth"
GATEWAY = tuple(f"{_PREFIX}{name}" for name in (*GAUGES, *COUNTERS, *HISTOGRAMS))
# Of one page; a longer one is not read, since it is none of those that we know.
MOST_BYTES, MOST_SERIES = 8 << 20, 500_000

Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Series:
    """One series: its name, without the prefix of our gateways, and its labels, sorted."""

    name: str
    labels: Labels

    def label(self, name: str) -> str:
        """The value of a label; empty if absent."""
        return next((value for key, value in self.labels if key == name), "")


@dataclass(frozen=True, slots=True)
class Scrape:
    """What one page said, and when, in seconds of one clock."""

    at: float
    values: Mapping[Series, float]


def gauge_total(scrape: Scrape, gauge: str) -> float | None:
    """The sum of a gauge over its labels; None where the page does not have it."""
    name = gauge.removeprefix(_PREFIX)
    found = [value for series, value in scrape.values.items() if series.name == name]
    return sum(found) if found else None


def parse(
    text: str,
    at: float,
    wanted: Sequence[str] = GATEWAY,
    family: str = "",
    most_series: int = MOST_SERIES,
) -> Scrape:
    """The series of a text in the Prometheus format whose names begin with one of those wanted.

    Raises ValueError where it is none, where it has more than `most_series` of them, and where it does not have the metric
    `family`: an error page would read as no load.
    So would NaN, infinities and negative numbers, which are left out.
    """
    if family and f"# TYPE {family} " not in text:
        raise ValueError(f"no metric {family}")
    beginnings = tuple(wanted)
    lines = [line for line in text.splitlines() if line.startswith(beginnings)]
    if len(lines) > most_series:
        raise ValueError(f"more than {most_series} series")
    try:
        return Scrape(at, dict(_samples("\n".join((*lines, "")))))
    except (ValueError, LookupError) as error:
        raise ValueError(f"no Prometheus format: {error}") from error


def _samples(text: str) -> Iterator[tuple[Series, float]]:
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if math.isfinite(sample.value) and sample.value >= 0:
                name = sample.name.removeprefix(_PREFIX)
                yield Series(name, tuple(sorted(sample.labels.items()))), sample.value
