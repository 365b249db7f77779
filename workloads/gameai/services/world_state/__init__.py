"""`world-state`: facts of a world's present, changed by events and proposals, and read by all."""
