"""PURE: who may reach a knowledge base's pods, and what they may reach."""

from gameai_contract.names import GRPC_PORT, HEALTH_PORT, POSTGRES_PORT

from gameai_operator.api.knowledge_base import KnowledgeBase
from gameai_operator.controller.manifest import Document
from gameai_operator.knowledge import naming
from gameai_operator.knowledge.naming import DATABASE, MEMORY
from gameai_operator.resources import network_policy
from gameai_operator.resources.network_policy import inwards, outwards, policy, ports
from gameai_operator.settings import NetworkSettings


def policies(kb: KnowledgeBase, settings: NetworkSettings) -> tuple[Document, ...]:
    """One for the memory and its Jobs, and one for a database that the operator runs."""
    managed = (_database(kb),) if kb.spec.database.managed else ()
    return (_memory(kb, settings), *managed)


def _memory(kb: KnowledgeBase, settings: NetworkSettings) -> Document:
    """Pods of the own namespace and of callers' may connect; tokens say what each may ask."""
    names = sorted({kb.metadata.namespace, *(each.namespace for each in kb.spec.callers)})
    return policy(
        naming.about(kb, naming.memory_name(kb), MEMORY),
        naming.all_of(kb, MEMORY),
        [
            inwards([network_policy.pods(network_policy.namespaces(*names))], ports(GRPC_PORT)),
            *network_policy.from_metrics(settings, HEALTH_PORT),
        ],
        [_to_database(kb), *network_policy.basics(settings)],
    )


def _to_database(kb: KnowledgeBase) -> Document:
    """A policy knows no host names: of a database outside of the cluster it opens the port to every address.

    It sees the port of the pods, which for a Service in the cluster must be that of the Service.
    """
    external = kb.spec.database.external
    if external is None:
        return outwards([_pods(kb, DATABASE)], ports(POSTGRES_PORT))
    if namespace := service_namespace(kb):
        peer = network_policy.pods(network_policy.namespaces(namespace))
        return outwards([peer], ports(external.port))
    everywhere = [
        peer for each in network_policy.EVERYWHERE for peer in network_policy.outside(each)
    ]
    return outwards(everywhere, ports(external.port))


def service_namespace(kb: KnowledgeBase) -> str:
    """The namespace of the Service that an external database is reached by; empty for another host."""
    external = kb.spec.database.external
    labels = external.host.rstrip(".").split(".") if external else [""]
    if len(labels) == 1:
        return kb.metadata.namespace
    return labels[1] if labels[2:3] == ["svc"] else ""


def _database(kb: KnowledgeBase) -> Document:
    """Only the memory and its Jobs reach the database, and it reaches nothing."""
    return policy(
        naming.about(kb, naming.database_name(kb), DATABASE),
        naming.all_of(kb, DATABASE),
        [inwards([_pods(kb, MEMORY)], ports(POSTGRES_PORT))],
        [],
    )


def _pods(kb: KnowledgeBase, app: str) -> Document:
    own = network_policy.namespaces(kb.metadata.namespace)
    return network_policy.pods(own, naming.all_of(kb, app))
