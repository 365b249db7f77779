"""PURE: when an engine has nothing more to do."""

from gameai_contract.inference import LatencyClass

from gameai.tier_agent.load import Load

# A drain lasts at least so long: who has just been given the pod's address may not have asked yet.
LEAST_SECONDS = 5.0
# Idle for so long is done. vLLM refreshes its gauges with each step it computes, so that requests which were aborted last
# may stay there indefinitely: where nothing waits and no token was counted for so long, nothing is computed either. A long
# prompt takes a while until its first token, but not at Gold.
_IDLE_SECONDS, _STILL_SECONDS, _STILL_OF_GOLD = 2.0, 30.0, 5.0


class Quiet:
    """Looks at loads, one after the other, and says when the engine is quiet."""

    def __init__(self, class_: LatencyClass) -> None:
        self._still_seconds = _STILL_OF_GOLD if class_ is LatencyClass.GOLD else _STILL_SECONDS
        self._idle_since: float | None = None
        self._still_since: float | None = None
        self._tokens = -1.0

    def observe(self, load: Load, now: float) -> bool:
        """Whether the engine has been quiet for long enough at `now`, in seconds of one clock."""
        if not load.idle:
            self._idle_since = None
        elif self._idle_since is None:
            self._idle_since = now
        if load.tokens != self._tokens or load.waiting or self._still_since is None:
            self._tokens, self._still_since = load.tokens, now
        idle = self._idle_since is not None and now - self._idle_since >= _IDLE_SECONDS
        return idle or now - self._still_since >= self._still_seconds
