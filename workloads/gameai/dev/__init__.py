"""Doubles of what a laptop does not have, for development and tests; never part of a game."""
