"""The memory of worlds: lore that all worlds share, and each world's own history, found by meaning and by words."""
