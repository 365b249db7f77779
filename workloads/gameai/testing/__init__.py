"""What a game team's own tests need: parts of the platform in memory, with the behaviour of the real ones."""
