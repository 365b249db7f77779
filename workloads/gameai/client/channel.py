"""PURE: gRPC channels to a world's services, set up so that a rolling update costs them no call.

A world's Services are headless: a name has one address for each ready pod. docs/clients.md says the same for other
languages.
"""

import json
from collections.abc import Iterable
from typing import Any

from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions

# gRPC asks for names at most every 30 s, and two pods may be replaced in less.
NAMES_MS = 1000
_RETRY = {
    "maxAttempts": 5,
    "initialBackoff": "0.1s",
    "maxBackoff": "1s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE"],
}
# Fifty failures more than there were answers end the retries: a service that is down is not asked five times as much.
_THROTTLING = {"maxTokens": 100, "tokenRatio": 0.5}


def service_config(files: Iterable[FileDescriptor]) -> dict[str, Any]:
    """The service config for the services of some .proto files.

    Only methods that are declared NO_SIDE_EFFECTS are retried: a call that changes something may have done so before
    its connection broke.
    """
    names = [
        {"service": service.full_name, "method": method.name}
        for file in files
        for service in file.services_by_name.values()
        for method in service.methods
        if method.GetOptions().idempotency_level == MethodOptions.NO_SIDE_EFFECTS
    ]
    return {
        "loadBalancingConfig": [{"round_robin": {}}],
        "methodConfig": [{"name": names, "retryPolicy": _RETRY}],
        "retryThrottling": _THROTTLING,
    }


def options(*files: FileDescriptor) -> tuple[tuple[str, str | int], ...]:
    """Options of a channel to the services of some .proto files: `options(weather_pb2.DESCRIPTOR)`."""
    return (
        ("grpc.service_config", json.dumps(service_config(files))),
        ("grpc.dns_min_time_between_resolutions_ms", NAMES_MS),
        # Pods are called directly; a proxy of the environment is for what lies outside of the cluster.
        ("grpc.enable_http_proxy", 0),
        # A pod that vanished without a word is noticed. Services allow a ping every 10 s.
        ("grpc.keepalive_time_ms", 20_000),
        ("grpc.keepalive_timeout_ms", 5_000),
    )
