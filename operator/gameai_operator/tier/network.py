"""PURE: who may call a tier's engines, and what they may call."""

from collections.abc import Mapping

from gameai_contract.names import AGENT_PORT, VLLM_CALLERS, VLLM_PORT

from gameai_operator.api.tier import ModelTier
from gameai_operator.controller.manifest import Document
from gameai_operator.resources import network_policy
from gameai_operator.resources.network_policy import HTTPS
from gameai_operator.settings import NetworkSettings
from gameai_operator.tier import external

_PUBLIC_HUB = "huggingface.co"


def ingress(tier: ModelTier, settings: NetworkSettings) -> list[Document]:
    """Those that the contract names, on vLLM's port; the scaler and Prometheus, on the agent's."""
    port = network_policy.ports(VLLM_PORT)
    own = network_policy.pods(network_policy.namespaces(tier.metadata.namespace))
    callers: Mapping[str, list[Document]] = {
        "Namespace": [network_policy.inwards([own], port)],
        "Metrics": network_policy.from_metrics(settings, VLLM_PORT),
        "Gateway": [network_policy.inwards([network_policy.gateway(settings)], port)],
    }
    return [
        *(rule for caller in VLLM_CALLERS for rule in callers[caller]),
        network_policy.from_scaler(settings, AGENT_PORT),
        *network_policy.from_metrics(settings, AGENT_PORT),
    ]


def egress(tier: ModelTier, settings: NetworkSettings) -> list[Document]:
    """Names, credentials, and the hub that the model comes from, or the service that answers instead."""
    if tier.spec.engine.external is not None:
        elsewhere = external.egress(tier.metadata.namespace, tier.spec.engine.external)
        return [*network_policy.basics(settings), *elsewhere]
    return [*network_policy.basics(settings), *_downloads(tier)]


def _downloads(tier: ModelTier) -> list[Document]:
    """Where the hub is: in the cluster, at an address, or anywhere, since it sends its readers on to other hosts.

    A policy sees a pod's own port, which a Service's need not be: in the cluster that is the URL's port, or one that is
    named after its scheme.
    """
    hub = tier.spec.files.source.hugging_face
    if hub is None:
        return []
    host, port = _place(hub.endpoint) if hub.endpoint else ("", HTTPS)
    labels = host.rstrip(".").split(".")
    if host and ":" not in host and (len(labels) == 1 or labels[2:3] == ["svc"]):
        name = labels[1] if len(labels) > 1 else tier.metadata.namespace
        named = "https" if (hub.endpoint or "").startswith("https:") else "http"
        return [
            network_policy.outwards(
                [network_policy.pods(network_policy.namespaces(name))],
                network_policy.ports(port, named),
            )
        ]
    if network_policy.is_address(host):
        # One within instance metadata, kept from before the schema refused it, opens nothing.
        peers = network_policy.outside(host)
        return [network_policy.outwards(peers, network_policy.ports(port))] if peers else []
    # A hub behind a plain or odd port still hands out https addresses.
    everywhere = [
        peer for each in network_policy.EVERYWHERE for peer in network_policy.outside(each)
    ]
    return [network_policy.outwards(everywhere, network_policy.ports(*sorted({port, HTTPS})))]


def hub_host(endpoint: str | None) -> str:
    """The host that models come from, without an endpoint the public hub's.

    Of a URL that programs may read differently, all of it.
    """
    if endpoint and "\\" in endpoint:
        return endpoint
    return (_place(endpoint)[0] if endpoint else "") or _PUBLIC_HUB


def _place(endpoint: str) -> tuple[str, int]:
    """Host and port of a URL. An invalid URL, stored before the schema refused it, counts as the public hub."""
    try:
        return network_policy.place(endpoint)
    except ValueError:
        return "", HTTPS
