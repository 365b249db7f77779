"""What the operator makes of a resource, without a cluster."""

import datetime
from collections.abc import Mapping
from typing import Any

from gameai_contract.knowledge import TokenKeys
from gameai_operator.controller.kind import Decision, Observed
from gameai_operator.controller.manifest import Owner, key_of, owned_by
from gameai_operator.controller.scale import with_replicas
from gameai_operator.kinds import kinds
from gameai_operator.settings import Settings
from gameai_operator.world.objects import Authorities

TOKENS = TokenKeys(issuer="https://kubernetes.default.svc", keys={"keys": [{"kid": "one"}]})
NOW = datetime.datetime(2026, 11, 22, 10, 0, tzinfo=datetime.UTC)


def decided(root: Mapping[str, Any], settings: Settings | None = None, **seen: Any) -> Decision:
    """The decision for a resource without children, except those in `seen`, in a cluster whose keys of tokens are known."""
    kind = kinds(settings or Settings(), Authorities, lambda: TOKENS)[root["kind"]]
    nothing: dict[str, Any] = {"root": root, "children": {}, "pods": (), "now": NOW}
    return kind.decide(Observed(**(nothing | seen)))


def owned(root: Mapping[str, Any], decision: Decision) -> list[dict[str, Any]]:
    """The wanted objects as they are created, Deployments with their numbers of replicas."""
    metadata = root["metadata"]
    owner = Owner(kind=root["kind"], name=metadata["name"], uid=metadata["uid"])
    made = [owned_by(owner, each) for each in decision.wanted]
    numbers = decision.replicas
    return [
        dict(with_replicas(each, numbers[key_of(each)])) if key_of(each) in numbers else each
        for each in made
    ]
