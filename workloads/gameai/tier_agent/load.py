"""PURE: the few values of vLLM's metrics page that say how busy an engine is."""

import math
from dataclasses import dataclass

_RUNNING = "vllm:num_requests_running"
_WAITING = "vllm:num_requests_waiting"
_TOKENS = ("vllm:prompt_tokens_total", "vllm:generation_tokens_total")
_NAMES = frozenset({_RUNNING, _WAITING, *_TOKENS})


@dataclass(frozen=True, kw_only=True, slots=True)
class Load:
    """Requests that run and wait, and tokens so far: what counts up while anything is computed."""

    running: float
    waiting: float
    tokens: float

    @property
    def idle(self) -> bool:
        """Whether nothing runs or waits."""
        return not (self.running or self.waiting)


def load(page: bytes) -> Load:
    """The load of all engines of a page. Raises ValueError where it is not vLLM's."""
    sums: dict[str, float] = {}
    for line in page.split(b"\n"):
        name = line.partition(b"{")[0].decode("ascii", "replace")
        if name in _NAMES:
            value = float(line.rpartition(b" ")[2])
            if not math.isfinite(value) or value < 0:
                raise ValueError(f"{name} is {value}")
            sums[name] = sums.get(name, 0.0) + value
    if _RUNNING not in sums or _WAITING not in sums:
        raise ValueError("the page does not have vLLM's gauges")
    tokens = sum(sums.get(name, 0.0) for name in _TOKENS)
    return Load(running=sums[_RUNNING], waiting=sums[_WAITING], tokens=tokens)
