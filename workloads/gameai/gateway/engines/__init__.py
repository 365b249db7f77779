"""A tier's queue, its replicas, and the HTTP calls to them."""
