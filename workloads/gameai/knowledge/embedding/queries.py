"""EDGE: vectors of queries: computed beside the event loop, kept for the next caller, bounded in number and in time."""

import asyncio
import logging
from collections.abc import Sequence
from functools import partial

from cachebox import LRUCache

from gameai.knowledge.embedding.embedder import Embedder, EmbeddingError
from gameai.knowledge.embedding.turns import NoPlaceError, Turns

# 10,000 vectors of 384 numbers, fewer of longer ones.
_KEPT, _KEPT_BYTES = 10_000, 16 << 20
# Slices that wait for the model; texts of a slice are computed together, and other accounts come between two slices.
_MOST_WAITING, _MOST_OF_ACCOUNT = 64, 32
_WAIT_SECONDS = 2.0
_QUIET_SECONDS = 10.0
# Little-endian 32-bit floats.
Vector = bytes
_LOG = logging.getLogger(__name__)


class QueryVectors:
    """The vectors of short texts. What the embedder does not give in time is missing, never a long wait."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._quiet_until = 0.0
        most = min(_KEPT, _KEPT_BYTES // (4 * embedder.dimensions))
        self._kept: LRUCache[str, Vector] = LRUCache(most)
        self._turns = Turns(
            "embedding",
            most=_MOST_WAITING,
            most_of_account=_MOST_OF_ACCOUNT,
            workers=embedder.concurrency,
        )

    async def of(self, texts: Sequence[str], account: str) -> list[Vector | None]:
        """One vector for each text of an account; None for those that could not be computed in time."""
        found: dict[str, Vector | None] = {each: self._kept.get(each) for each in texts}
        missing = [each for each, vector in found.items() if vector is None]
        size = self._embedder.batch
        slices = [missing[at : at + size] for at in range(0, len(missing), size)]
        end = asyncio.get_running_loop().time() + _WAIT_SECONDS
        for part in await asyncio.gather(*(self._computed(each, account, end) for each in slices)):
            found.update(part)
        return [found[each] for each in texts]

    def close(self) -> None:
        """Wait for no more work."""
        self._turns.close()

    async def _computed(self, texts: list[str], account: str, end: float) -> dict[str, Vector]:
        """The vectors of a few texts. One that comes too late is kept for the next caller."""
        try:
            running = self._turns.submit(account, partial(self._work, texts))
        except NoPlaceError:
            return {}
        running.add_done_callback(self._done)
        try:
            async with asyncio.timeout_at(end):
                return await asyncio.shield(running)
        except (EmbeddingError, TimeoutError) as error:
            self._say(str(error) or "the model is too slow")
            return {}

    def _say(self, why: str) -> None:
        """Each search would have a line of its own."""
        now = asyncio.get_running_loop().time()
        if now >= self._quiet_until:
            self._quiet_until = now + _QUIET_SECONDS
            _LOG.warning("texts are compared by their words: %s", why)

    def _work(self, texts: list[str]) -> dict[str, Vector]:
        made = self._embedder.embed(texts)
        return {text: each.astype("<f4").tobytes() for text, each in zip(texts, made, strict=True)}

    def _done(self, running: asyncio.Future[dict[str, Vector]]) -> None:
        if not running.cancelled() and running.exception() is None:
            self._kept.update(running.result())
