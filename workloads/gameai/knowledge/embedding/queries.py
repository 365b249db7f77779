"""EDGE: vectors of queries: computed beside the event loop, kept for the next caller, bounded in number and in time."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from cachebox import LRUCache

from gameai.knowledge.embedding.embedder import Embedder, EmbeddingError

# A vector of 384 numbers as a tuple is about 12 KB.
_KEPT = 2000
_MOST_WAITING = 64
_WAIT_SECONDS = 2.0
Vector = tuple[float, ...]


class QueryVectors:
    """The vectors of short texts. An embedder that is too slow or broken is an `EmbeddingError`, never a long wait."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._kept: LRUCache[str, Vector] = LRUCache(_KEPT)
        # The model uses one core.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="embedding")
        self._waiting = 0

    async def of(self, texts: Sequence[str]) -> list[Vector]:
        """One vector for each text. Raises `EmbeddingError`."""
        found = {each: self._kept[each] for each in texts if each in self._kept}
        missing = [each for each in dict.fromkeys(texts) if each not in found]
        if missing:
            found.update(zip(missing, await self._computed(missing), strict=True))
        return [found[each] for each in texts]

    def close(self) -> None:
        """Wait for no more work."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _computed(self, texts: list[str]) -> list[Vector]:
        if self._waiting >= _MOST_WAITING:
            raise EmbeddingError(f"{_MOST_WAITING} requests wait for the embedding model")
        self._waiting += 1
        try:
            running = asyncio.get_running_loop().run_in_executor(
                self._thread, self._embedder.embed, texts
            )
            async with asyncio.timeout(_WAIT_SECONDS):
                made = await running
        except TimeoutError as error:
            raise EmbeddingError(f"the embedding model took over {_WAIT_SECONDS:g} s") from error
        finally:
            self._waiting -= 1
        vectors = [tuple(map(float, each)) for each in made]
        self._kept.update(zip(texts, vectors, strict=True))
        return vectors
