"""PURE: the whole decision for a GameWorld: what is seen → what is to be."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gameai.worldtime import MICROSECOND, Anchor

from gameai_operator.api.base import ConditionStatus
from gameai_operator.api.world import GameWorld
from gameai_operator.engine.deployments import unfinished
from gameai_operator.engine.faults import Words, fault
from gameai_operator.engine.kind import Decision, Refusal, Sight, Turn
from gameai_operator.engine.manifest import Key
from gameai_operator.settings import NetworkSettings
from gameai_operator.world import archetypes
from gameai_operator.world.catalogue import Effective, ServiceError, effective
from gameai_operator.world.clock import Turning, reported, turning
from gameai_operator.world.network import faulty_keys
from gameai_operator.world.objects import Parts, deployment_name, objects
from gameai_operator.world.revisions import Inputs, UnknownRevisionError, inputs
from gameai_operator.world.status import Judged, ServiceSight, conditions, grace_left, status
from gameai_operator.world.template import config_name
from gameai_operator.world.tiers import sights

_WORDS = Words(
    secret_field="spec.services[].envFrom",  # noqa: S106 - a field's name
    volume_field="spec.services",
    crash_reason="ServiceCrashing",
    program="the service",
)
Document = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Reading:
    """A spec as far as it can be honoured; `refusals` say what cannot."""

    services: tuple[Effective, ...] = ()
    inputs: Inputs | None = None
    refusals: tuple[Refusal, ...] = ()


def decide(
    sight: Sight, *, current: Inputs, network: NetworkSettings, pull_secrets: Sequence[str] = ()
) -> Decision:
    """Decide for one world; `current` are the template inputs that a new world gets, `network` tells the cluster's.

    A world that cannot be honoured keeps the children it has: a mistake in an edit must not end what works.
    """
    world = GameWorld.model_validate(sight.root)
    read = _read(world, current, turn=sight.turn)
    roles = sights(world, sight.references)
    files = archetypes.sight(world, sight.references)
    turned = _turning(world, sight, acts=not read.refusals)
    wanted: tuple[Document, ...] | None = None
    if read.inputs and not read.refusals:
        parts = Parts(
            services=read.services,
            roles=roles,
            anchors=turned.anchors,
            inputs=read.inputs,
            network=network,
            archetypes=files.document,
            pull_secrets=pull_secrets,
        )
        wanted = objects(world, parts)
    services = [
        ServiceSight(service=each, live=sight.facts("Deployment", deployment_name(world, each)))
        for each in read.services
    ]
    rolling = _rolling(world, sight, wanted or ())
    judged = Judged(
        services=services,
        roles=roles,
        archetypes=files,
        anchors=turned.anchors,
        revision=read.inputs.revision if read.inputs else world.status.template_revision,
        image=read.inputs.image if read.inputs else world.status.workloads_image,
        rolling=bool(rolling),
        refused=bool(read.refusals),
        fault=fault(sight.pods, [each.live for each in services], _WORDS),
        refusals=(*read.refusals, *sight.refusals),
        now=sight.now,
    )
    return Decision(
        wanted=wanted,
        status=status(world, judged),
        conditions=conditions(world, judged),
        # A mistake in an edit must not take away what was right before it.
        keep=() if files.valid else (archetypes.handed_on(world),),
        again_seconds=_again(turned.again_seconds, grace_left(world, judged)),
        turn=_turn(world, sight, read, current, rolling),
    )


def _read(world: GameWorld, current: Inputs, *, turn: bool) -> _Reading:
    own = Key("GameWorld", world.metadata.namespace, world.metadata.name)
    try:
        found = inputs(world, current, turn=turn)
    except UnknownRevisionError as error:
        refusal = Refusal(key=own, reason="TemplateRevisionUnknown", message=str(error))
        return _Reading(refusals=(refusal,))
    if wrong := faulty_keys(world):
        message = (
            f"spec.network: {wrong[0]!r} is no label's key: write name or prefix/name, "
            "of letters, digits, '-', '_' and '.'"
        )
        return _Reading(refusals=(Refusal(key=own, reason="NetworkInvalid", message=message),))
    try:
        return _Reading(services=effective(world, found.revision), inputs=found)
    except ServiceError as error:
        refusal = Refusal(key=own, reason=error.reason, message=str(error))
        return _Reading(refusals=(refusal,))


def _turning(world: GameWorld, sight: Sight, *, acts: bool) -> Turning:
    """A clock turns only where the configuration that tells of it is written too."""
    known: tuple[Anchor, ...] | None = sight.facts("ConfigMap", config_name(world))
    if not acts:
        return Turning(anchors=known or reported(world.status.clock))
    return turning(world, known, int(sight.now.timestamp() * MICROSECOND))


def _rolling(world: GameWorld, sight: Sight, wanted: Sequence[Document]) -> list[str]:
    """Names of Deployments whose pods of the present template are missing, or that are about to replace some."""
    before = any(
        each.type == "Reconciling" and each.status is ConditionStatus.TRUE
        for each in world.status.conditions
    )
    deployments = {e["metadata"]["name"]: e for e in wanted if e["kind"] == "Deployment"}
    return [
        name
        for name, document in deployments.items()
        if unfinished(document, sight.facts("Deployment", name), before=before)
    ]


def _turn(
    world: GameWorld, sight: Sight, read: _Reading, current: Inputs, rolling: Sequence[str]
) -> Turn:
    """A new image of the catalogue goes to a few worlds at a time; own images are their owners' affair."""
    builtin = {deployment_name(world, each) for each in read.services if each.module}
    used = world.status.workloads_image
    if read.inputs is None or not builtin:
        return Turn.NONE
    if read.inputs.image != current.image:
        return Turn.WAITS
    begins = used not in (None, current.image)
    goes_on = sight.holds_turn and not builtin.isdisjoint(rolling)
    return Turn.HOLDS if begins or goes_on else Turn.NONE


def _again(*seconds: float | None) -> float | None:
    return min((each for each in seconds if each), default=None)
