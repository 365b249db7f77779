"""PURE: how clients of a world's services set up their gRPC channels, so that a rolling update costs them no call.

A world's Services are headless: a name has one address for each ready pod. docs/clients.md says the same for other
languages.
"""

import json

SERVICE_CONFIG = {
    "loadBalancingConfig": [{"round_robin": {}}],
    "methodConfig": [
        {
            "name": [{}],
            "retryPolicy": {
                "maxAttempts": 5,
                "initialBackoff": "0.1s",
                "maxBackoff": "1s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ],
}
# gRPC asks for names at most every 30 s, and two pods may be replaced in less.
NAMES_MS = 1000
OPTIONS: tuple[tuple[str, str | int], ...] = (
    ("grpc.service_config", json.dumps(SERVICE_CONFIG)),
    ("grpc.dns_min_time_between_resolutions_ms", NAMES_MS),
    # Pods are called directly; a proxy of the environment is for what lies outside of the cluster.
    ("grpc.enable_http_proxy", 0),
)
