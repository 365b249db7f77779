"""PURE: what requests may hold, and what a write comes to."""
