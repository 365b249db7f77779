"""PURE: names, labels and addresses of a knowledge base's objects."""

from gameai_contract.names import (
    GRPC_PORT,
    KNOWLEDGE_LABEL,
    MEMORY_NAME,
    PART_LABEL,
    POSTGRES_PORT,
)

from gameai_operator.api.knowledge_base import KnowledgeBase
from gameai_operator.controller.manifest import Document
from gameai_operator.resources.metadata import labels, metadata

# The `app.kubernetes.io/name` of the pods, and of their containers.
DATABASE, MEMORY = "postgres", MEMORY_NAME
# Values of PART_LABEL; the pods of a Job have the name of the Job.
DATABASE_PART, MEMORY_PART = "database", "memory"
# In a database that the operator runs.
ROLE, DATABASE_NAME = "gameai", "memory"


def database_name(kb: KnowledgeBase) -> str:
    """Name of the database's StatefulSet, Service, Secret and policy."""
    return f"{kb.metadata.name}-db"


def memory_name(kb: KnowledgeBase) -> str:
    """Name of the memory's Deployment, Service, budget, account and policy."""
    return f"{kb.metadata.name}-memory"


def archives_name(kb: KnowledgeBase) -> str:
    """Name of the policy of the pods that write and read archives."""
    return f"{kb.metadata.name}-archives"


def endpoint(kb: KnowledgeBase) -> str:
    """Where the memory answers, `host:port`."""
    return f"{memory_name(kb)}.{kb.metadata.namespace}.svc:{GRPC_PORT}"


def database_place(kb: KnowledgeBase) -> tuple[str, int, str]:
    """Host, port and name of the database."""
    given = kb.spec.database.external
    if given is not None:
        return given.host, given.port, given.database
    return f"{database_name(kb)}.{kb.metadata.namespace}.svc", POSTGRES_PORT, DATABASE_NAME


def about(kb: KnowledgeBase, name: str, app: str, part: str = "") -> Document:
    """Metadata of an object of the knowledge base; `part` is the value of PART_LABEL where it has pods."""
    return metadata(kb.metadata.namespace, name, own_labels(kb, app, part))


def own_labels(kb: KnowledgeBase, app: str, part: str = "") -> dict[str, str]:
    """The labels of an object or a pod."""
    instance = kb.metadata.name
    found = labels(
        name=app, instance=instance, component="knowledge-base", root={KNOWLEDGE_LABEL: instance}
    )
    return {**found, PART_LABEL: part} if part else found


def selector(kb: KnowledgeBase, part: str) -> dict[str, str]:
    """The labels that find the pods of a part; fixed for life."""
    return {KNOWLEDGE_LABEL: kb.metadata.name, PART_LABEL: part}


def all_of(kb: KnowledgeBase, app: str) -> dict[str, str]:
    """The labels that find the pods of a program, those of Jobs too."""
    return {KNOWLEDGE_LABEL: kb.metadata.name, "app.kubernetes.io/name": app}
