"""The sidecar of each engine: it warms it up, drains it, measures what it can do, and says whether it is ready."""
