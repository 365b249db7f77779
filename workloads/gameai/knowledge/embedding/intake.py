"""EDGE: checks and vectors of what callers write: one after the other in a thread of their own, so that searches never wait for them."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from gameai.knowledge.embedding.embedder import Embedder

# A call takes at most about a second.
_MOST_WAITING = 8
_SLICE = 4
T = TypeVar("T")


class IntakeFullError(Exception):
    """As many calls wait as may."""


class Intake:
    """Work on texts that are to be stored; at most 8 calls wait for it."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="intake")
        self._waiting = 0

    async def do(self, work: Callable[[], T]) -> T:
        """The result of some work. A call that is cancelled before its turn costs nothing. Raises `IntakeFullError`, and what the work raises."""
        if self._waiting >= _MOST_WAITING:
            raise IntakeFullError
        self._waiting += 1
        running = asyncio.get_running_loop().run_in_executor(self._thread, work)
        running.add_done_callback(self._done)
        return await running

    def vectors(self, texts: Sequence[str]) -> list[bytes]:
        """One vector for each text, as little-endian 32-bit floats. Blocks. Raises `EmbeddingError`."""
        slices = [texts[at : at + _SLICE] for at in range(0, len(texts), _SLICE)]
        return [
            vector.astype("<f4").tobytes()
            for each in slices
            for vector in self._embedder.embed(each)
        ]

    def close(self) -> None:
        """Wait for no more work."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _done(self, _: "asyncio.Future[T]") -> None:
        self._waiting -= 1
