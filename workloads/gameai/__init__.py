"""What runs beside a game: the data plane and the game services."""
