"""PURE: what of a world the cluster's owner does not allow."""

from gameai_operator.api.network import NetworkMode
from gameai_operator.api.world import GameWorld
from gameai_operator.resources import network_policy, tenant_policy
from gameai_operator.resources.tenant_policy import NotAllowed
from gameai_operator.settings import Policy


def pods_not_allowed(world: GameWorld, policy: Policy) -> tuple[NotAllowed, ...]:
    """What no pod of the world may be made of: images, accounts, Secrets."""
    found: list[NotAllowed | None] = []
    for service in world.spec.services:
        where = f"spec.services[{service.name}]"
        if service.image:
            found.append(tenant_policy.image(policy, f"{where}.image", service.image))
        if account := service.service_account_name:
            found.append(
                tenant_policy.service_account(policy, f"{where}.serviceAccountName", account)
            )
        secrets = [each.secret_ref.name for each in service.env_from if each.secret_ref]
        found += [
            tenant_policy.secret(policy, f"{where}.envFrom.secretRef", each) for each in secrets
        ]
    if world.spec.database:
        secret = world.spec.database.external.secret_ref.name
        found.append(tenant_policy.secret(policy, "spec.database.external.secretRef", secret))
    return tuple(each for each in found if each)


def network_not_allowed(world: GameWorld, policy: Policy) -> NotAllowed | None:
    """An open network, or addresses outside of the cluster."""
    network = world.spec.network
    if network.mode is NetworkMode.OPEN:
        return tenant_policy.open_network(policy, "spec.network.mode Open")
    for name, peers in (("allowFrom", network.allow_from), ("allowTo", network.allow_to)):
        for peer in peers:
            if peer.ip_block:
                field = f"spec.network.{name}: ipBlock {peer.ip_block.cidr}"
                return tenant_policy.open_network(policy, field)
    if world.spec.database:
        host = world.spec.database.external.host
        if not network_policy.service_namespace(world.metadata.namespace, host):
            field = f"spec.database.external.host {host}, outside of the cluster,"
            return tenant_policy.open_network(policy, field)
    return None
