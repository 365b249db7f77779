"""PURE: a headless Service."""

from collections.abc import Mapping

from gameai_operator.controller.manifest import Document


def headless(
    metadata: Document,
    selector: Mapping[str, str],
    *,
    port_name: str,
    port: int,
    app_protocol: str | None = None,
) -> Document:
    """A Service whose name resolves to every ready pod: a client that balances itself must see each of them.

    `port_name` is also the name of the container port.
    """
    protocol = {} if app_protocol is None else {"appProtocol": app_protocol}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": {
            "type": "ClusterIP",
            "clusterIP": "None",
            "selector": dict(selector),
            "publishNotReadyAddresses": False,
            "ports": [
                {
                    "name": port_name,
                    "port": port,
                    "protocol": "TCP",
                    "targetPort": port_name,
                    **protocol,
                }
            ],
        },
    }
