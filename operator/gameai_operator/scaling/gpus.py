"""PURE: GPU use of tiers, from the metrics of dcgm-exporter.

Each exporter reports the GPUs of one node, with the namespace and the pod that uses each. `DCGM_FI_DEV_GPU_UTIL` is the
part of time, in percent, in which a kernel was running.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from gameai_operator.scaling.exposition import Scrape
from gameai_operator.scaling.signals import Sample

UTILISATION = "DCGM_FI_DEV_GPU_UTIL"
# A field that a GPU does not support has a value near 2^63.
_MOST_PERCENT = 100.0
# Deployment, hash of its pod template, random suffix; neither of the latter holds a dash.
_POD = re.compile(r"(?P<tier>.+)-(?:on-demand|spot)-[a-z0-9]+-[a-z0-9]{5}")
# Namespace and name.
_Tier = tuple[str, str]


class Gpus:
    """What all exporters said last. An exporter counts until it is no longer listed."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[float, Mapping[_Tier, Sequence[float]]]] = {}

    def listed(self, exporters: Iterable[str]) -> None:
        """These exporters exist now; what others said is forgotten."""
        for gone in set(self._last) - set(exporters):
            del self._last[gone]

    def take(self, exporter: str, scrape: Scrape) -> None:
        """An exporter answered."""
        found: dict[_Tier, list[float]] = defaultdict(list)
        for series, value in scrape.values.items():
            match = _POD.fullmatch(series.label("pod"))
            if match and series.name == UTILISATION and value <= _MOST_PERCENT:
                found[series.label("namespace"), match["tier"]].append(value)
        self._last[exporter] = (scrape.at, found)

    def percent(self, namespace: str, tier: str) -> Sample | None:
        """The mean over the GPUs of a tier, as old as the oldest of its readings; None where no exporter names its pods."""
        key = (namespace, tier)
        readings = [(at, found[key]) for at, found in self._last.values() if key in found]
        if not readings:
            return None
        values = [value for _, each in readings for value in each]
        return Sample(sum(values) / len(values), min(at for at, _ in readings))
