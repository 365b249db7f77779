"""Composition of processes: `observer` keeps the cache, `operator` decides and writes with it."""
