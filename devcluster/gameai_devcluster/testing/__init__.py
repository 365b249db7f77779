"""Helpers of the integration tests and benchmarks: waiting, counting writes, a proxy that brings faults."""
