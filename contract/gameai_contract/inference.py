"""PURE: latency classes, fallback steps and limits of inference."""

import re
from collections.abc import Sequence
from enum import StrEnum
from types import MappingProxyType

# vLLM's batch slots where a tier's arguments name none, and its context where a tier names none.
DEFAULT_SLOTS = 128
DEFAULT_CONTEXT_TOKENS = 4096
# Most that a manifest, a laptop's file or a question may name; as the CRDs say.
MOST_DEADLINE_MS = 600_000
# Of one answer, and of one game server.
MOST_TOKENS = 2048
MOST_PLAYERS = 100_000
MOST_ROLES = 32
MOST_WEIGHT = 100
MOST_IN_FLIGHT = 4096
# Metrics of a gateway that the scaler reads, behind `gameai_gateway_`.
PENDING_JOBS, RUNNING_JOBS, JOBS_CONNECTED = "pending_jobs", "running_jobs", "jobs_connected"


class LatencyClass(StrEnum):
    """How fast an answer is wanted."""

    GOLD = "Gold"
    SILVER = "Silver"
    BRONZE = "Bronze"


# What a tier promises where it says nothing else, in milliseconds.
TARGETS_MS = MappingProxyType(
    {LatencyClass.GOLD: 16, LatencyClass.SILVER: 250, LatencyClass.BRONZE: 30_000}
)


class FallbackStep(StrEnum):
    """What may answer in the engine's place."""

    FRESH_CACHE = "FreshCache"
    STALE_CACHE = "StaleCache"
    DEFAULT = "Default"


# All of them, in the order in which they are asked where nothing else is said.
FALLBACK_CHAIN = (FallbackStep.FRESH_CACHE, FallbackStep.STALE_CACHE, FallbackStep.DEFAULT)


# An engine's batch slots, and how many requests it takes in all before it answers 503.
_SLOTS_FLAG = re.compile(r"--max[-_]num[-_]seqs(?:=|\s+)?(\d+)?$")
_TAKEN_FLAG = re.compile(r"--max[-_]num[-_]queued[-_]reqs(?:=|\s+)?(\d+)?$")


_MOST_DIGITS = 10


def slots(arguments: Sequence[str]) -> int:
    """Batch slots of a replica, from the arguments of `vllm serve`, but no more than it takes at all."""
    return min(
        _number_of(_SLOTS_FLAG, arguments) or DEFAULT_SLOTS,
        _number_of(_TAKEN_FLAG, arguments) or MOST_IN_FLIGHT,
        MOST_IN_FLIGHT,
    )


def _number_of(flag: re.Pattern[str], arguments: Sequence[str]) -> int:
    """The number of a flag: the last one counts, as in vLLM; 0 if the flag is absent."""
    found = 0
    for at, argument in enumerate(arguments):
        match = flag.fullmatch(argument)
        if match is None:
            continue
        value = match[1] or (arguments[at + 1] if at + 1 < len(arguments) else "")
        if value.isascii() and value.isdecimal() and len(value) < _MOST_DIGITS and int(value) > 0:
            found = int(value)
    return found
