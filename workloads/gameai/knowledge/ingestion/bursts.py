"""Many texts of one source that say nearly the same: the mark of a planted answer."""

import numpy as np

from gameai.knowledge.embedding.embedder import Vectors

# Three texts that are so near to each other are a burst; lore repeats itself less.
_NEAR, _LEAST = 0.9, 3
# Rows of similarities at a time, so that memory stays bounded.
_ROWS = 512


def bursts(vectors: Vectors) -> list[int]:
    """The positions of unit vectors that belong to a burst."""
    found: list[int] = []
    for begin in range(0, len(vectors), _ROWS):
        near = (vectors[begin : begin + _ROWS] @ vectors.T >= _NEAR).sum(axis=1)
        found += (begin + np.flatnonzero(near >= _LEAST)).tolist()
    return found
