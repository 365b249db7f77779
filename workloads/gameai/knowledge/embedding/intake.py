"""EDGE: checks and vectors of what callers write: in threads of their own, so that searches never wait for them."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from gameai.knowledge.embedding.embedder import Embedder
from gameai.knowledge.embedding.turns import Turns

# A call takes at most about a second.
_MOST_WAITING, _MOST_OF_ACCOUNT = 16, 4
T = TypeVar("T")


class Intake:
    """Work on texts that are to be stored; at most 16 calls wait for it, 4 of one account."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._turns = Turns(
            "intake",
            most=_MOST_WAITING,
            most_of_account=_MOST_OF_ACCOUNT,
            workers=embedder.concurrency,
        )

    async def do(self, account: str, work: Callable[[], T]) -> T:
        """The result of some work for an account, as `Turns.submit`. Raises `NoPlaceError`, and what the work raises."""
        return await self._turns.submit(account, work)

    def vectors(self, texts: Sequence[str]) -> list[bytes]:
        """One vector for each text, as little-endian 32-bit floats. Blocks. Raises `EmbeddingError`."""
        size = self._embedder.batch
        slices = [texts[at : at + size] for at in range(0, len(texts), size)]
        return [
            vector.astype("<f4").tobytes()
            for each in slices
            for vector in self._embedder.embed(each)
        ]

    def close(self) -> None:
        """Wait for no more work."""
        self._turns.close()
