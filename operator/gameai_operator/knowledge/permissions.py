"""PURE: what a knowledge base asks for that the cluster's owner must allow: images, Secrets, and addresses outside of the cluster."""

from collections.abc import Iterator

from gameai_operator.api.database import DEFAULT_IMAGE
from gameai_operator.api.knowledge_base import KnowledgeBase
from gameai_operator.knowledge import network
from gameai_operator.resources import tenant_policy
from gameai_operator.resources.tenant_policy import NotAllowed
from gameai_operator.settings import Policy


def not_allowed(kb: KnowledgeBase, policy: Policy) -> list[NotAllowed]:
    """The fields that the chart's `policy` does not allow."""
    found = (*_database(kb, policy), *_embedding(kb, policy), *_repositories(kb, policy))
    return [each for each in found if each]


def _database(kb: KnowledgeBase, policy: Policy) -> Iterator[NotAllowed | None]:
    given = kb.spec.database
    # The default one is our own choice, as the catalogue's images are.
    if given.managed is not None and given.managed.image != DEFAULT_IMAGE:
        yield tenant_policy.image(policy, "spec.database.managed.image", given.managed.image)
    if given.external is not None:
        where, secret = "spec.database.external.secretRef", given.external.secret_ref.name
        yield tenant_policy.secret(policy, where, secret)
        if not network.service_namespace(kb, given.external.host):
            where = f"spec.database.external.host {given.external.host}, outside of the cluster,"
            yield tenant_policy.open_network(policy, where)


def _embedding(kb: KnowledgeBase, policy: Policy) -> Iterator[NotAllowed | None]:
    if kb.spec.embedding is None:
        return
    given = kb.spec.embedding.open_ai
    if given.secret_ref is not None:
        where = "spec.embedding.openAI.secretRef"
        yield tenant_policy.secret(policy, where, given.secret_ref.name)
    if not network.service_namespace(kb, network.embedding_host(kb)):
        where = f"spec.embedding.openAI.url {given.url}, outside of the cluster,"
        yield tenant_policy.open_network(policy, where)


def _repositories(kb: KnowledgeBase, policy: Policy) -> Iterator[NotAllowed | None]:
    for where, repository in network.repositories(kb):
        if repository.s3 and repository.s3.secret_ref:
            secret = repository.s3.secret_ref.name
            yield tenant_policy.secret(policy, f"{where}.s3.secretRef", secret)
    for where in network.outside_servers(kb):
        yield tenant_policy.open_network(policy, f"{where}.s3, outside of the cluster,")
