"""PURE: the few series of a `/metrics` page that scaling needs."""

import itertools
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from gameai_contract.inference import JOBS_CONNECTED, PENDING_JOBS, RUNNING_JOBS
from prometheus_client.parser import text_string_to_metric_families

_PREFIX = "gameai_gateway_"
GAUGES = (
    "queue_depth",
    "in_flight",
    "slots",
    "players",
    PENDING_JOBS,
    RUNNING_JOBS,
    JOBS_CONNECTED,
)
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
MOST_BYTES = 8 << 20
# The parser takes time that grows with the square of a line.
_MOST_LINE = 4096
# Of the one gauge that counts players.
_MOST_SERIES = 200
# Nothing is tried twice (possessive quantifiers), so that the time grows with the length. A timestamp or an exemplar may follow.
_LABELS_AND_VALUE = re.compile(
    rb'[ \t]*+(?:\{(?:[^"}]|"(?:[^"\\]|\\.)*+")*+\})?+[ \t]*+([^ \t{}]{1,40}+)(?:[ \t]|$)'
)

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


def reader(wanted: Sequence[str], family: str = "") -> Callable[[str, bytes, float], Scrape]:
    """What reads a page of any address, as `parse` does."""
    return lambda _, page, at: parse(page.decode(errors="replace"), at, wanted, family)


def gauge_total(page: bytes, gauge: str) -> float | None:
    """The sum of one gauge over its labels; None where the page does not have it.

    For pages of tenants: its time grows with the length of the page alone. Raises ValueError where the page has more than 200
    series of the gauge, or one whose value is no number from 0 on.
    """
    beginning = re.compile(rb"^[ \t]*+%b(?=[ \t{])[^\n]*+" % gauge.encode(), re.MULTILINE)
    lines = list(itertools.islice(beginning.finditer(page), _MOST_SERIES + 1))
    if len(lines) > _MOST_SERIES:
        raise ValueError(f"more than {_MOST_SERIES} series of {gauge}")
    values = [_value(each[0].strip()[len(gauge) :]) for each in lines]
    if not all(math.isfinite(each) and each >= 0 for each in values):
        raise ValueError(f"a value of {gauge} is no number from 0 on")
    return sum(values) if values else None


def _value(rest: bytes) -> float:
    """The value of a line, without the name it begins with. Raises ValueError."""
    found = _LABELS_AND_VALUE.match(rest) if len(rest) <= _MOST_LINE else None
    if found is None:
        raise ValueError("a line cannot be read")
    return float(found[1])


def parse(text: str, at: float, wanted: Sequence[str] = GATEWAY, family: str = "") -> Scrape:
    """The series of a text in the Prometheus format whose names begin with one of those wanted.

    Raises ValueError where it is none, where one of them is longer than any of ours, and where it does not have the metric
    `family`: an error page would read as no load.
    So would NaN, infinities and negative numbers, which are left out.
    """
    if family and f"# TYPE {family} " not in text:
        raise ValueError(f"no metric {family}")
    beginnings = tuple(wanted)
    lines = [line for line in text.splitlines() if line.startswith(beginnings)]
    if any(len(line) > _MOST_LINE for line in lines):
        raise ValueError(f"a line has more than {_MOST_LINE} characters")
    try:
        return Scrape(at, dict(_samples("\n".join((*lines, "")))))
    except (ValueError, LookupError, ArithmeticError) as error:
        raise ValueError(f"no Prometheus format: {error}") from error


def _samples(text: str) -> Iterator[tuple[Series, float]]:
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            # An integer may be too long for a float: OverflowError.
            if math.isfinite(float(sample.value)) and sample.value >= 0:
                name = sample.name.removeprefix(_PREFIX)
                yield Series(name, tuple(sorted(sample.labels.items()))), float(sample.value)
