"""Settings that people change while a world runs: typed keys, values by layer, history and rollback."""
