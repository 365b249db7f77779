"""Measurements against the stated bars: `make bench` runs them all; each can be run alone by its name."""
