"""PURE: what the cluster's owner lets tenants' manifests ask for: the chart's `policy`.

Each check takes the field as its user wrote it, and gives None where the value is allowed.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from gameai_operator.settings import ANY, Policy

_AFTER_IMAGE = "/:@"


class NotAllowed(NamedTuple):
    """A condition's reason and message, which names the field, what is allowed, and what to do."""

    reason: str
    message: str


def host_path(policy: Policy, field: str, path: str) -> NotAllowed | None:
    """A folder of a node, which is a way out of the pod.

    One of those that are named, and none below: there a tenant may have put a link to anywhere.
    """
    if path in [each.rstrip("/") for each in policy.host_paths]:
        return None
    use = "use emptyDir or persistentVolumeClaim"
    return _not_allowed("HostPath", f"{field} {path}", policy.host_paths, use)


def image(policy: Policy, field: str, name: str) -> NotAllowed | None:
    """An image by its prefix, which ends at `/`, `:` or `@`."""
    if ANY in policy.images or any(_begins(name, each) for each in policy.images):
        return None
    return _not_allowed("Image", f"{field} {name}", policy.images, "use an image from there")


def hub(policy: Policy, field: str, host: str) -> NotAllowed | None:
    """A host that models come from; it gets the token of the tier, and may be any host that the pod can reach."""
    name = host.lower().rstrip(".")
    if ANY in policy.hubs or any(_is_host(name, each.lower()) for each in policy.hubs):
        return None
    use = "use one of these, or a persistentVolumeClaim as source"
    return _not_allowed("Hub", f"{field} {host}", policy.hubs, use)


def service_account(policy: Policy, field: str, name: str) -> NotAllowed | None:
    """An account that a pod runs as; the operator's own one for the object has no rights, and is always allowed."""
    if ANY in policy.service_accounts or name in policy.service_accounts:
        return None
    use = "leave it out, or use one of these"
    return _not_allowed("ServiceAccount", f"{field} {name}", policy.service_accounts, use)


def secret(policy: Policy, field: str, name: str) -> NotAllowed | None:
    """A Secret whose content a pod gets."""
    if ANY in policy.secrets or name in policy.secrets:
        return None
    use = "leave it out, or use one of these"
    return _not_allowed("Secret", f"{field} {name}", policy.secrets, use)


def open_network(policy: Policy, field: str) -> NotAllowed | None:
    """No limits on the network, or addresses outside of the cluster."""
    if policy.open_networks:
        return None
    message = (
        f"{field} is not allowed: name pods by namespaceSelector and podSelector, or have "
        "policy.allowOpenNetworks of the operator's chart allow it"
    )
    return NotAllowed("NetworkNotAllowed", message)


def _not_allowed(what: str, given: str, allowed: Sequence[str], use: str) -> NotAllowed:
    known = ", ".join(allowed) or "none"
    message = (
        f"{given} is not allowed (allowed: {known}): {use}, or have policy.allowed{what}s of the "
        "operator's chart name it"
    )
    return NotAllowed(f"{what}NotAllowed", message)


def _begins(name: str, prefix: str) -> bool:
    rest = name.removeprefix(prefix)
    return name.startswith(prefix) and (not rest or prefix.endswith("/") or rest[0] in _AFTER_IMAGE)


def _is_host(name: str, allowed: str) -> bool:
    """`*.example.com` is every host below example.com."""
    if allowed.startswith("*."):
        return re.fullmatch(rf".+{re.escape(allowed[1:])}", name) is not None
    return name == allowed
