"""PURE: the revisions of the CRDs' schemas, with the hash of each kind's schema.

The operator starts with CRDs of its own revision or a newer one, and refuses older ones. A changed schema needs a new
revision: `make check` prints the hashes to write here. Rows of released revisions never change.
"""

from collections.abc import Mapping
from types import MappingProxyType

REVISIONS: Mapping[int, Mapping[str, str]] = MappingProxyType(
    {
        7: {
            "ModelTier": "84deebeebf9ce6d7",
            "GameWorld": "1bd69460d49c8df2",
            "WorldView": "8a6f2b591de4739a",
        },
        8: {
            "KnowledgeBase": "a7574bd53340064f",
            "ModelTier": "1e4d2ae92809f4a1",
            "GameWorld": "36cea1d9cc669099",
            "WorldView": "e0314489d1e7f68d",
        },
    }
)
NEWEST = max(REVISIONS)
