"""What an agent reports, in the Prometheus format."""

from collections.abc import Callable, Iterable

from gameai_contract import tier_agent
from gameai_contract.tier_agent import Phase
from prometheus_client import Counter, Gauge
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gameai.tier_agent.load import Load
from gameai.tier_agent.measurement import Capacity

STARTS = Counter(
    f"{tier_agent.PREFIX}engine_starts", "Times that the engine was warmed up and became ready."
)
WARM_UP_SECONDS = Gauge(
    f"{tier_agent.PREFIX}warm_up_seconds", "Duration of the last warm-up, in seconds."
)
DRAINS = Counter(
    f"{tier_agent.PREFIX}drains",
    "Drains by result: idle, budget (requests were still running) or gone (the engine ended).",
    ["result"],
)
MEASUREMENTS = Counter(
    f"{tier_agent.PREFIX}measurements", "Measurements by result: done or aborted.", ["result"]
)


class Report(Collector):
    """The state of an agent at the time of a scrape. What is not known has no series."""

    def __init__(
        self,
        engine_hash: str,
        gpu_product: str,
        pod: str,
        *,
        phase: Callable[[], Phase],
        load: Callable[[], Load | None],
        capacity: Callable[[], Capacity | None],
    ) -> None:
        self._engine_hash = engine_hash
        self._gpu_product = gpu_product
        self._pod = pod
        self._phase = phase
        self._load = load
        self._capacity = capacity

    def collect(self) -> Iterable[Metric]:
        """Every series."""
        yield self._info()
        phases = GaugeMetricFamily(
            tier_agent.PHASE,
            "1 for the phase that the engine is in: " + ", ".join(Phase) + ".",
            labels=["phase"],
        )
        for each in Phase:
            phases.add_metric([each.value], float(each is self._phase()))
        yield phases
        if (load := self._load()) is not None:
            yield GaugeMetricFamily(
                tier_agent.REQUESTS_RUNNING, "Requests that the engine computes.", load.running
            )
            yield GaugeMetricFamily(
                tier_agent.REQUESTS_WAITING, "Requests in the queue of the engine.", load.waiting
            )
        if (capacity := self._capacity()) is not None:
            yield from _capacity(capacity)

    def _info(self) -> Metric:
        info = GaugeMetricFamily(
            tier_agent.ENGINE_INFO,
            "1; the hash of everything that the engine was started with, the GPU product of the node, and the pod.",
            labels=["engine_hash", "gpu_product", "pod"],
        )
        info.add_metric([self._engine_hash, self._gpu_product, self._pod], 1.0)
        return info


def _capacity(capacity: Capacity) -> Iterable[Metric]:
    yield GaugeMetricFamily(
        tier_agent.CAPACITY_REQUESTS,
        "Measured requests per second within the latency target.",
        capacity.requests_per_second,
    )
    yield GaugeMetricFamily(
        tier_agent.CAPACITY_CONCURRENCY,
        "Measured concurrent requests within the latency target.",
        float(capacity.concurrency),
    )
    yield GaugeMetricFamily(
        tier_agent.CAPACITY_IDLE_P95,
        "Measured p95 of one request at a time, in seconds.",
        capacity.idle_p95_ms / 1000,
    )
    yield GaugeMetricFamily(
        tier_agent.CAPACITY_TARGET,
        "Latency target of the measurement, in seconds.",
        capacity.target_ms / 1000,
    )
