"""PURE: the knowledge base of a world, as far as this world may see it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gameai_contract.knowledge import MEMORY_AUDIENCE
from gameai_contract.names import config_name
from gameai_contract.settings import nearest

from gameai_operator.api.views import KnowledgeView
from gameai_operator.api.world import GameWorld
from gameai_operator.controller.conditions import Condition
from gameai_operator.controller.manifest import Key
from gameai_operator.world.revisions import MEMORY_TOKEN_REVISION

CONDITION = "KnowledgeReady"
_NOT_PERMITTED = "RefNotPermitted"
KIND = "KnowledgeBase"


@dataclass(frozen=True, kw_only=True, slots=True)
class KnowledgeSight:
    """The knowledge base that a world names; `endpoint` is empty where it may not be used, `fault` empty where all is well."""

    base: Key
    endpoint: str = ""
    fault: str = ""
    message: str = ""

    @property
    def permitted(self) -> str:
        """The knowledge base as `namespace/name` if this world may use it, whether it exists or not; else empty."""
        return "" if self.fault == _NOT_PERMITTED else f"{self.base.namespace}/{self.base.name}"


def named(root: Mapping[str, Any]) -> Key | None:
    """The knowledge base that a world names."""
    given = root["spec"].get("knowledgeBaseRef")
    if not given:
        return None
    return Key(KIND, given.get("namespace") or root["metadata"]["namespace"], given["name"])


def base(world: GameWorld) -> Key | None:
    """The same, of a world that was read."""
    given = world.spec.knowledge_base_ref
    return (
        None
        if given is None
        else Key(KIND, given.namespace or world.metadata.namespace, given.name)
    )


def sight(
    world: GameWorld,
    references: Mapping[Key, Any],
    revision: int | None,
    neighbours: Callable[[], tuple[Key, ...]] = tuple,
) -> KnowledgeSight | None:
    """The knowledge base as it stands; None where the world names none.

    `revision` is that of the pod template in use; `neighbours` finds objects of the world's namespace.
    """
    found = base(world)
    if found is None:
        return None
    own, said = world.metadata.namespace, f"knowledge base {found.namespace}/{found.name}"
    account = f"{own}/{config_name(world.metadata.name)}"
    view: KnowledgeView | None = references.get(found)
    us = (account, f"{own}/{world.metadata.name}")
    if found.namespace != own and (view is None or us not in view.readers):
        # A missing one and one that does not name this world read the same: names in other namespaces are not disclosed.
        entry = (
            f"{{namespace: {own}, serviceAccount: {config_name(world.metadata.name)}, "
            f"worlds: [{own}/{world.metadata.name}]}}"
        )
        message = (
            f"{said} does not exist or does not name this world: "
            f"ask its owner to add {entry} to spec.callers, or change knowledgeBaseRef"
        )
        return KnowledgeSight(base=found, fault=_NOT_PERMITTED, message=message)
    if view is None:
        names = [each.name for each in neighbours() if each.kind == KIND]
        hint = nearest(found.name, names)
        message = f"{said} does not exist{hint}: create it, or change knowledgeBaseRef"
        return KnowledgeSight(base=found, fault="KnowledgeBaseMissing", message=message)
    fault, message = _fault(view, said, revision)
    return KnowledgeSight(base=found, endpoint=view.endpoint, fault=fault, message=message)


def _fault(view: KnowledgeView, said: str, revision: int | None) -> tuple[str, str]:
    """Reason and message; both empty where the world's services can use it."""
    if revision is not None and revision < MEMORY_TOKEN_REVISION:
        return "TemplateRevisionTooOld", (
            f"pods of template revision {revision} have no token with the audience {MEMORY_AUDIENCE}: "
            f"set spec.templateRevision to {MEMORY_TOKEN_REVISION}, which restarts them"
        )
    if not view.answers:
        return "KnowledgeNotReady", f"the memory of {said} does not answer ({view.reason})"
    return "", ""


def on_the_bus(found: KnowledgeSight | None) -> dict[str, str]:
    """The knowledge base of a world as WorldView and configuration say it for the event bus; empty: it may use none."""
    base = found.permitted if found else ""
    return {"knowledgeBase": base} if base else {}


def condition(found: KnowledgeSight | None) -> Condition:
    """Whether the services of a world can use its memory."""
    if found is None:
        return Condition(type=CONDITION, status=True, reason="NoKnowledgeBase")
    if found.fault:
        return Condition(type=CONDITION, status=False, reason=found.fault, message=found.message)
    return Condition(type=CONDITION, status=True, reason="MemoryReady")
