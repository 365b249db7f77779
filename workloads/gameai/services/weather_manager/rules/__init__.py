"""The weather as a function of seed, place and time."""
