"""PURE: who may call a tier's engines, and whom they may call."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from gameai import contract

from gameai_operator.api.tier import ModelTier
from gameai_operator.engine import network
from gameai_operator.settings import NetworkSettings

_HUB = "https://huggingface.co"
_WELL_KNOWN = {"https": 443, "http": 80}
_CLUSTER_SUFFIXES = (".svc", ".cluster.local")

Document = dict[str, Any]


def ingress(tier: ModelTier, settings: NetworkSettings) -> list[Document]:
    """Those that the contract names, on vLLM's port."""
    port = network.ports(contract.VLLM_PORT)
    own = network.pods(network.namespaces(tier.metadata.namespace))
    callers: Mapping[str, list[Document]] = {
        "Namespace": [network.inwards([own], port)],
        "Metrics": network.from_metrics(settings, contract.VLLM_PORT),
        "Gateway": [network.inwards([network.gateway(settings)], port)],
    }
    return [rule for caller in contract.VLLM_CALLERS for rule in callers[caller]]


def egress(tier: ModelTier, settings: NetworkSettings) -> list[Document]:
    """Names, credentials, and the hub that the model comes from."""
    return [*network.basics(settings), *_downloads(tier)]


def _downloads(tier: ModelTier) -> list[Document]:
    """A hub sends its readers on to other hosts for large files, so its port is open to every address."""
    hub = tier.spec.model.source.hugging_face
    if hub is None:
        return []
    url = urlsplit(hub.endpoint or _HUB)
    port = url.port or _WELL_KNOWN[url.scheme]
    host = url.hostname or ""
    if host.endswith(_CLUSTER_SUFFIXES) or "." not in host:
        return [network.outwards([network.pods(network.all_namespaces())], network.ports(port))]
    # A hub behind a plain or odd port still hands out https addresses.
    numbers = sorted({port, _WELL_KNOWN["https"]})
    everywhere = [network.block(each) for each in network.EVERYWHERE]
    return [network.outwards(everywhere, network.ports(*numbers))]
