"""A simulator of vLLM 0.32's HTTP surface: no model, but its routes, bodies, metrics, limits and ways to die."""
