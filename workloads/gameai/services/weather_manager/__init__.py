"""The weather of a world's regions, and its forecast."""
