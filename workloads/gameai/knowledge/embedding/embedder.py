"""What turns texts into vectors."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]


class EmbeddingError(Exception):
    """Texts cannot be embedded now; the message says why."""


class RefusedTextError(EmbeddingError):
    """These texts cannot be embedded, now or later: one of them is too long, for example."""


class Embedder(Protocol):
    """A model. Its name is stored with each vector: vectors of different models are never compared."""

    @property
    def model(self) -> str:
        """The name of the model, with everything that changes its vectors."""

    @property
    def dimensions(self) -> int:
        """The length of a vector."""

    @property
    def concurrency(self) -> int:
        """Calls of `embed` at a time that make it faster."""

    @property
    def batch(self) -> int:
        """Texts in a call of `embed` beyond which others should have their turn first."""

    def embed(self, texts: Sequence[str]) -> Vectors:
        """One unit vector for each text: an array of shape (texts, dimensions). Blocks. Raises `EmbeddingError`."""

    def close(self) -> None:
        """Give up connections."""
