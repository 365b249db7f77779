"""Story arcs, their beats, and answers from the memory of a world, with sources."""
