"""The gRPC surface: identity, streams, single calls, and what ends them."""
