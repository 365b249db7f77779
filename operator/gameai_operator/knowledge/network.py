"""PURE: who may reach a knowledge base's pods, and what they may reach."""

from gameai_contract.names import ARCHIVES_LABEL, GRPC_PORT, HEALTH_PORT, POSTGRES_PORT

from gameai_operator.api.backups import Repository, S3Repository
from gameai_operator.api.knowledge_base import KnowledgeBase
from gameai_operator.controller.manifest import Document
from gameai_operator.knowledge import naming
from gameai_operator.knowledge.naming import DATABASE, MEMORY
from gameai_operator.resources import network_policy
from gameai_operator.resources.network_policy import HTTPS, inwards, outwards, place, policy, ports
from gameai_operator.settings import NetworkSettings


def repositories(kb: KnowledgeBase) -> tuple[tuple[str, Repository], ...]:
    """Those of the spec, with their fields."""
    found = []
    if kb.spec.backup is not None:
        found.append(("spec.backup.repository", kb.spec.backup.repository))
    if kb.spec.restore_from is not None:
        found.append(("spec.restoreFrom.repository", kb.spec.restore_from.repository))
    return tuple(found)


def policies(kb: KnowledgeBase, settings: NetworkSettings) -> tuple[Document, ...]:
    """One for the memory and its Jobs, and one for a database that the operator runs."""
    managed = (_database(kb),) if kb.spec.database.managed else ()
    return (_memory(kb, settings), *managed, *_archives(kb))


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
        [_to_database(kb), *_to_embedding(kb), *network_policy.basics(settings)],
    )


def _archives(kb: KnowledgeBase) -> tuple[Document, ...]:
    """The pods that write and read archives in a bucket reach its server; those with a volume reach nothing more."""
    servers = [each.s3 for _, each in repositories(kb) if each.s3]
    if not servers:
        return ()
    selector = {**naming.all_of(kb, MEMORY), ARCHIVES_LABEL: "true"}
    rules = [_to_host(kb, *each) for each in dict.fromkeys(map(_server, servers))]
    return (policy(naming.about(kb, naming.archives_name(kb), MEMORY), selector, [], rules),)


def _server(given: S3Repository) -> tuple[str, int]:
    """Host and port; an empty host is that of AWS."""
    return ("", HTTPS) if given.endpoint is None else place(given.endpoint)


def outside_servers(kb: KnowledgeBase) -> tuple[str, ...]:
    """The fields of repositories whose server is outside of the cluster."""
    return tuple(
        field
        for field, each in repositories(kb)
        if each.s3 and not service_namespace(kb, _server(each.s3)[0])
    )


def embedding_host(kb: KnowledgeBase) -> str:
    """Host name of the embedding service; empty without one."""
    return place(kb.spec.embedding.open_ai.url)[0] if kb.spec.embedding else ""


def _to_embedding(kb: KnowledgeBase) -> tuple[Document, ...]:
    if kb.spec.embedding is None:
        return ()
    return (_to_host(kb, *place(kb.spec.embedding.open_ai.url)),)


def _to_database(kb: KnowledgeBase) -> Document:
    external = kb.spec.database.external
    if external is None:
        return outwards([_pods(kb, DATABASE)], ports(POSTGRES_PORT))
    return _to_host(kb, external.host, external.port)


def _to_host(kb: KnowledgeBase, host: str, port: int) -> Document:
    return network_policy.to_host(kb.metadata.namespace, host, port)


def service_namespace(kb: KnowledgeBase, host: str) -> str:
    """The namespace of the Service that has this host name; empty for another host."""
    return network_policy.service_namespace(kb.metadata.namespace, host)


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
