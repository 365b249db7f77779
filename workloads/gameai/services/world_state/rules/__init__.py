"""What world-state decides, without a clock, a database or a network."""
