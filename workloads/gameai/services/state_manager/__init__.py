"""Objects of a world that belong to someone, in PostgreSQL."""
