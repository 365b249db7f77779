"""PURE: the few series of a gateway's `/metrics` that scaling needs."""

import math
from collections.abc import Iterator, Mapping
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
_WANTED = tuple(f"{_PREFIX}{name}" for name in (*GAUGES, *COUNTERS, *HISTOGRAMS))
# Of one gateway; a longer text is not read, since it is none of ours.
MOST_BYTES = 8 << 20

Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Series:
    """One series: its name without the prefix, and its labels, sorted."""

    name: str
    labels: Labels

    def label(self, name: str) -> str:
        """The value of a label; empty if absent."""
        return next((value for key, value in self.labels if key == name), "")


@dataclass(frozen=True, slots=True)
class Scrape:
    """What one gateway said, and when, in seconds of one clock."""

    at: float
    values: Mapping[Series, float]


def parse(text: str, at: float) -> Scrape:
    """The wanted series of a text in the Prometheus format. Raises ValueError where it is none.

    NaN, infinities and negative numbers are left out: they would read as no load.
    """
    lines = "\n".join(line for line in text.splitlines() if line.startswith(_WANTED))
    try:
        return Scrape(at, dict(_samples(f"{lines}\n")))
    except (ValueError, LookupError) as error:
        raise ValueError(f"no Prometheus format: {error}") from error


def _samples(text: str) -> Iterator[tuple[Series, float]]:
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if math.isfinite(sample.value) and sample.value >= 0:
                name = sample.name.removeprefix(_PREFIX)
                yield Series(name, tuple(sorted(sample.labels.items()))), sample.value
