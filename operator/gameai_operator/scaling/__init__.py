"""How many replicas a tier gets: signals, the decision, and what carries it out."""
