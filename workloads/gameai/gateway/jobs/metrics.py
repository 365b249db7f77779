"""Metrics of jobs, as a gateway has them."""

from collections.abc import Callable, Iterable, Mapping

from gameai_contract.inference import JOBS_CONNECTED, PENDING_JOBS, RUNNING_JOBS
from prometheus_client.core import CounterMetricFamily, Metric

from gameai.gateway.metrics import gauge


class JobMetrics:
    """Plain numbers, converted when Prometheus scrapes. Tiers are few; worlds are no labels."""

    def __init__(self) -> None:
        self.submitted: dict[str, int] = {}
        self.ended: dict[tuple[str, str], int] = {}
        # By tier: jobs of all gateways that have not ended, and those that this gateway has taken.
        self.pending: dict[str, int] = {}
        self.running: Callable[[], Mapping[str, int]] = dict
        self.connected: Callable[[], bool] = bool

    def count_submitted(self, tier: str) -> None:
        """A job was accepted."""
        self.submitted[tier] = self.submitted.get(tier, 0) + 1

    def count_ended(self, tier: str, result: str) -> None:
        """A job, or an attempt, came to a result."""
        self.ended[tier, result] = self.ended.get((tier, result), 0) + 1

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
            f"gameai_gateway_{PENDING_JOBS}",
            "Jobs that wait or are answered, of all gateways together: take the maximum over gateways. Jobs of worlds that sleep are left out.",
            self.pending,
        )
        yield _by_tier(
            f"gameai_gateway_{RUNNING_JOBS}",
            "Jobs that this gateway has taken and that have not ended.",
            self.running(),
        )
        yield gauge(
            f"gameai_gateway_{JOBS_CONNECTED}",
            "1 while this gateway is connected to the bus for jobs.",
            (),
            [((), float(self.connected()))],
        )


def _by_tier(name: str, text: str, values: Mapping[str, int]) -> Metric:
    return gauge(name, text, ("tier",), [((key,), float(each)) for key, each in values.items()])
