"""EDGE: checks and vectors of what callers write: one after the other in a thread of their own, so that searches never wait for them."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from gameai.knowledge.embedding.embedder import Embedder

# A call takes at most about a second.
_MOST_WAITING, _MOST_OF_ACCOUNT = 16, 4
_SLICE = 4
T = TypeVar("T")


class IntakeFullError(Exception):
    """As many calls wait as may, of one account or of all."""


class Intake:
    """Work on texts that are to be stored; at most 16 calls wait for it, 4 of one account."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="intake")
        self._waiting: Counter[str] = Counter()

    async def do(self, account: str, work: Callable[[], T]) -> T:
        """The result of some work for an account (empty: callers are not known, and share all places). A call that is cancelled before its turn costs nothing. Raises `IntakeFullError`, and what the work raises."""
        most = _MOST_OF_ACCOUNT if account else _MOST_WAITING
        if self._waiting[account] >= most or self._waiting.total() >= _MOST_WAITING:
            raise IntakeFullError
        self._waiting[account] += 1
        running = asyncio.get_running_loop().run_in_executor(self._thread, work)
        running.add_done_callback(lambda _: self._done(account))
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

    def _done(self, account: str) -> None:
        self._waiting[account] -= 1
        if not self._waiting[account]:
            del self._waiting[account]
