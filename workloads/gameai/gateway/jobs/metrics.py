"""Metrics of jobs, as a gateway has them."""

import math
from collections.abc import Callable, Iterable, Mapping

from prometheus_client.core import CounterMetricFamily, Metric

from gameai.gateway.metrics import gauge


class JobMetrics:
    """Plain numbers, converted when Prometheus scrapes. Tiers are few; worlds are no labels."""

    def __init__(self) -> None:
        self.submitted: dict[str, int] = {}
        self.ended: dict[tuple[str, str], int] = {}
        # Jobs of all gateways that wait or are answered, and those that this gateway answers, by tier.
        self.queued: dict[str, int] = {}
        self.running: dict[str, int] = {}
        self.connected: Callable[[], bool] = bool

    def count_submitted(self, tier: str) -> None:
        """A job was accepted."""
        self.submitted[tier] = self.submitted.get(tier, 0) + 1

    def count_ended(self, tier: str, result: str) -> None:
        """A job, or an attempt, came to a result."""
        self.ended[tier, result] = self.ended.get((tier, result), 0) + 1

    def parts(self, gateways: int) -> dict[str, int]:
        """This gateway's part of the jobs that wait, by tier: all gateways together count each once."""
        return {
            tier: max(0, math.ceil(queued / max(1, gateways) - self.running.get(tier, 0)))
            for tier, queued in self.queued.items()
        }

    def collect(self) -> Iterable[Metric]:
        """Every metric."""
        family = CounterMetricFamily(
            "gameai_gateway_submitted_jobs",
            "Jobs that this gateway has accepted.",
            labels=("tier",),
        )
        for tier, count in list(self.submitted.items()):
            family.add_metric((tier,), count)
        yield family
        family = CounterMetricFamily(
            "gameai_gateway_job_results",
            "Results of jobs: succeeded, failed, cancelled, expired; postponed is an attempt that is repeated.",
            labels=("tier", "result"),
        )
        for labels, count in list(self.ended.items()):
            family.add_metric(labels, count)
        yield family
        yield _by_tier(
            "gameai_gateway_queued_jobs",
            "Jobs that wait for an engine or are answered, of all gateways together.",
            self.queued,
        )
        yield _by_tier(
            "gameai_gateway_running_jobs", "Jobs that this gateway answers.", self.running
        )
        yield gauge(
            "gameai_gateway_jobs_connected",
            "1 while this gateway is connected to the bus for jobs.",
            (),
            [((), float(self.connected()))],
        )


def _by_tier(name: str, text: str, values: Mapping[str, int]) -> Metric:
    return gauge(name, text, ("tier",), [((key,), float(each)) for key, each in values.items()])
