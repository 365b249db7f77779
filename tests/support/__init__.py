"""Helpers of the tests: resources, fakes, engines and gateways in a process, real nodes."""
