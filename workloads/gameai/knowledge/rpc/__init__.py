"""The gRPC services of the memory."""
