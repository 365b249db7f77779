"""PURE: what a tier agent reports of its engine, and what may be asked of it: phases, paths and series of its metrics page."""

from enum import StrEnum

DRAIN_PATH = "/drain"
MEASURE_PATH = "/measure"
# The query parameter of MEASURE_PATH: the latency target in milliseconds.
TARGET_PARAMETER = "targetMs"
# A measurement keeps its pod out of service for at most this long, and continues only while the request is repeated within
# the time of a lease.
MEASURE_SECONDS, MEASURE_LEASE_SECONDS = 60.0, 15.0
# Of slower tiers a minute says nothing.
MOST_TARGET_MS = 1000

PREFIX = "gameai_tier_agent_"
PHASE = f"{PREFIX}phase"
ENGINE_INFO = f"{PREFIX}engine_info"
REQUESTS_RUNNING = f"{PREFIX}requests_running"
REQUESTS_WAITING = f"{PREFIX}requests_waiting"
CAPACITY_REQUESTS = f"{PREFIX}capacity_requests_per_second"
CAPACITY_CONCURRENCY = f"{PREFIX}capacity_concurrency"
CAPACITY_IDLE_P95 = f"{PREFIX}capacity_idle_p95_seconds"
CAPACITY_TARGET = f"{PREFIX}capacity_target_seconds"


class Phase(StrEnum):
    """Where an engine is in its life; only one that is serving is ready."""

    STARTING = "starting"
    WARMING_UP = "warming-up"
    SERVING = "serving"
    MEASURING = "measuring"
    DRAINING = "draining"
