"""asyncio: the schedulers of all tiers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping

from gameai.gateway.engines.scheduler import Outcome, Scheduler
from gameai.gateway.memory import MemoryLedger
from gameai.gateway.metrics import Metrics
from gameai.gateway.pacing import Pacer
from gameai.gateway.routing.snapshot import TierView, View

_LOG = logging.getLogger(__name__)
_LOOK_SECONDS = 0.05


class Schedulers(Mapping[str, Scheduler]):
    """A scheduler for each tier that has replicas or was asked for, by the tier's key. Belongs to one loop."""

    def __init__(
        self, outcome: Outcome, metrics: Metrics, ledger: MemoryLedger, pacer: Pacer
    ) -> None:
        self._outcome = outcome
        self._metrics = metrics
        self._ledger, self._pacer = ledger, pacer
        self._of: dict[str, Scheduler] = {}

    def __getitem__(self, key: str) -> Scheduler:
        return self._of[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._of)

    def __len__(self) -> int:
        return len(self._of)

    def of(self, tier: TierView) -> Scheduler:
        """The tier's scheduler; of a tier that is gone, an empty one, where inquiries wait for their deadlines."""
        if tier.key not in self._of:
            self._of[tier.key] = Scheduler(
                tier, self._outcome, self._metrics, self._ledger, self._pacer
            )
        return self._of[tier.key]

    def take(self, view: View) -> None:
        """Tiers and their replicas are these from now on."""
        for key, tier in view.tiers.items():
            # One without replicas gets its scheduler with its first question.
            if key in self._of or tier.endpoints:
                self.of(tier).update(tier, view.gateways)
        for key in set(self._of) - set(view.tiers):
            self._of[key].empty()
            if self._of[key].forgotten:
                del self._of[key]

    async def look(self) -> None:
        """Until cancelled: periodic work of all schedulers."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            for scheduler in list(self._of.values()):
                try:
                    scheduler.look()
                except Exception:  # noqa: BLE001 - a bug in one scheduler must not end the looks at all others
                    _LOG.exception("looking after %s failed; this is a bug", scheduler.tier.key)
