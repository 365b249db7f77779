"""PURE: what answers in an engine's place: the steps of a role's fallback chain."""

from collections.abc import Callable

from gameai_contract.inference import FallbackStep

from gameai.gateway.dispatch.response_cache import Cache, Kept, Key
from gameai.gateway.memory import namespace
from gameai.gateway.routing.archetypes import CacheRules
from gameai.gateway.routing.resolve import Plan
from gameai.inference.v1 import inference_pb2 as pb

_Look = Callable[[str, Key, CacheRules, float], Kept | None]


class FallbackChain:
    """Cached answers, and an archetype's default, by the reader's own rules."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    def best(self, plan: Plan, now: float) -> tuple[pb.Source.ValueType, str, str] | None:
        """Source, text and tier of the first step that has an answer."""
        for step in plan.route.role.fallback_chain:
            if step is FallbackStep.DEFAULT:
                if plan.default:
                    return pb.SOURCE_DEFAULT, plan.default, ""
            elif plan.key is not None:
                fresh = step is FallbackStep.FRESH_CACHE
                kept = self.fresh(plan, now) if fresh else self.stale(plan, now)
                if kept is not None:
                    source = pb.SOURCE_FRESH_CACHE if fresh else pb.SOURCE_STALE_CACHE
                    text, tier, _ = kept
                    return source, text, tier
        return None

    def fresh(self, plan: Plan, now: float) -> Kept | None:
        """A cached answer that is fresh."""
        return self._kept(plan, self._cache.fresh, now)

    def stale(self, plan: Plan, now: float) -> Kept | None:
        """A cached answer that is at least better than a default."""
        return self._kept(plan, self._cache.stale, now)

    def _kept(self, plan: Plan, look: _Look, now: float) -> Kept | None:
        if plan.rules is None:
            return None
        space = namespace(plan.route.world.key)
        for revision in plan.route.revisions:
            if (kept := look(space, plan.keyed(revision), plan.rules, now)) is not None:
                return kept
        return None
