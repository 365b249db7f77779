"""What an external engine reports, in the Prometheus format."""

from prometheus_client import Counter, Gauge

_PREFIX = "gameai_external_engine_"
REQUESTS = Counter(
    f"{_PREFIX}requests",
    "Requests by result: answered, refused (by the service), failed (no answer of the service), busy (too many at a time), "
    "closed (the service is not asked now), budget (no room), unacceptable, cancelled.",
    ["result"],
)
TOKENS = Counter(
    f"{_PREFIX}tokens", "Tokens that the service reported, by kind: prompt or completion.", ["kind"]
)
COST = Counter(
    f"{_PREFIX}cost_usd",
    "Cost of requests by the prices of engine.external.budget, in USD. A request without a report of its tokens counts with its largest price.",
)
BUDGET_LEFT = Gauge(
    f"{_PREFIX}budget_left_usd", "What this replica may still spend within 60 minutes, in USD."
)
RUNNING = Gauge(
    f"{_PREFIX}running_requests", "Requests that the service computes for this replica."
)
READY = Gauge(f"{_PREFIX}ready", "1 while this replica takes requests, else 0.")
