"""PURE: the whole decision for a GameWorld: what is seen → what is to be."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gameai_contract.world_time import MICROSECOND, Anchor

from gameai_operator.api.base import is_true
from gameai_operator.api.world import GameWorld, WorldState
from gameai_operator.controller.kind import Decision, Observed, RejectedWrite, SlotUse
from gameai_operator.controller.manifest import Key
from gameai_operator.resources.deployment import unfinished
from gameai_operator.resources.pod_faults import Words, fault
from gameai_operator.resources.template_inputs import Inputs
from gameai_operator.resources.template_revision import UnknownRevisionError
from gameai_operator.settings import NetworkSettings, Policy
from gameai_operator.world import archetypes, bus, knowledge
from gameai_operator.world.allowed import network_not_allowed, pods_not_allowed
from gameai_operator.world.catalogue import Effective, effective
from gameai_operator.world.clock import Turning, reported, started, turning
from gameai_operator.world.network import faulty_keys
from gameai_operator.world.objects import (
    Parts,
    Places,
    deployment_name,
    isolated,
    objects,
    replicas,
)
from gameai_operator.world.revisions import inputs
from gameai_operator.world.roles import sights
from gameai_operator.world.shown import Shown, ViewFacts
from gameai_operator.world.status import (
    ASLEEP_SECONDS,
    Judged,
    ObservedService,
    conditions,
    grace_left,
    status,
)
from gameai_operator.world.template import config_name
from gameai_operator.world.view import KIND

_WORDS = Words(
    secret_field="spec.services[].envFrom",  # noqa: S106 - a field's name
    volume_field="spec.services",
    crash_reason="ServiceCrashing",
    program="the service",
    hints=(
        ("Insufficient cpu", "spec.services[].resources.cpu"),
        ("Insufficient memory", "spec.services[].resources.memory"),
    ),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Reading:
    """A spec as far as it can be honoured; `rejections` say what cannot.

    Without `inputs` no pod template is rendered; without `network` the policy is left as it is. `revision` and `image`
    are those of the pods.
    """

    services: tuple[Effective, ...]
    inputs: Inputs | None
    revision: int | None
    image: str | None
    network: bool
    rejections: tuple[RejectedWrite, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Cluster:
    """What a world finds in the cluster: its network, what may be asked for there, the gateways, and the event bus."""

    network: NetworkSettings
    policy: Policy = field(default_factory=Policy)
    places: Places = field(default_factory=Places)


def decide(observed: Observed, *, current: Inputs, cluster: Cluster) -> Decision:
    """Decide for one world; `current` are the template inputs that a new world gets.

    A mistake in an edit must not end what works: what it touches is left as it is, but for the numbers of pods.
    """
    world = GameWorld.model_validate(observed.root)
    read = _read(world, observed, current, cluster)
    roles = sights(world, observed.references, observed.neighbours)
    memory = knowledge.sight(world, observed.references, read.revision, observed.neighbours)
    live = _view(world, observed)
    # The archetypes that gateways have now: a mistake takes none of them away.
    shown = live.archetypes.text
    files = archetypes.observed(world, observed.references, shown)
    turned = _turning(world, observed, acts=read.inputs is not None)
    closed = read.network and isolated(world, cluster.network)
    parts = Parts(
        services=[each for each in read.services if not each.faults],
        roles=roles,
        anchors=turned.anchors,
        inputs=read.inputs,
        network=cluster.network if closed else None,
        places=cluster.places,
        knowledge=memory,
        archetypes=files.document,
        shown_archetypes=shown if _stays(files) else files.document,
    )
    wanted = objects(world, parts)
    services = _services(world, observed, read)
    rolling = _rolling(world, observed, wanted)
    judged = Judged(
        services=services,
        roles=roles,
        archetypes=files,
        parked=live.parked,
        anchors=turned.anchors,
        knowledge=memory,
        revision=read.revision,
        image=read.image,
        rolling=bool(rolling),
        halted=_halted(world, observed, current),
        clock=started(world, turned),
        fault=fault(observed.pods, [each.live for each in services], _WORDS),
        rejections=(*read.rejections, *observed.rejections),
        failures=observed.failures,
        now=observed.now,
    )
    return Decision(
        wanted=wanted,
        status=status(world, judged),
        conditions=conditions(world, judged),
        keep=_keep(world, observed, read, _stays(files)),
        replicas=_replicas(world, observed, read),
        requeue_after_seconds=_again(
            turned.requeue_after_seconds, grace_left(world, judged), _asleep(world)
        ),
        turn=_turn(world, observed, read, current, rolling),
        healthy=is_true(world.status.conditions, "Ready")
        and not any(each.live and each.live.exceeded for each in services),
    )


def _services(world: GameWorld, observed: Observed, read: _Reading) -> list[ObservedService]:
    return [
        ObservedService(
            service=each, live=observed.applied("Deployment", deployment_name(world, each))
        )
        for each in read.services
    ]


def _stays(files: archetypes.ArchetypesSight) -> bool:
    """Whether what was handed on stays: while another is being read, or is wrong."""
    return files.pending or not files.valid


def _view(world: GameWorld, observed: Observed) -> ViewFacts:
    """What is live of its WorldView."""
    facts: ViewFacts | None = observed.facts(KIND, world.metadata.name)
    return facts or ViewFacts(archetypes=Shown(""))


def _read(world: GameWorld, observed: Observed, current: Inputs, cluster: Cluster) -> _Reading:
    own = Key("GameWorld", world.metadata.namespace, world.metadata.name)
    rejections = []
    found: Inputs | None = None
    deployments = [
        observed.applied("Deployment", key.name)
        for key in sorted(observed.children)
        if key.kind == "Deployment"
    ]
    try:
        found = inputs(world, current, deployments, turn=observed.turn)
    except UnknownRevisionError as error:
        rejections.append(
            RejectedWrite(key=own, reason="TemplateRevisionUnknown", message=str(error))
        )
    pods = pods_not_allowed(world, cluster.policy)
    closed = network_not_allowed(world, cluster.policy)
    rejections += [
        RejectedWrite(key=own, reason=each.reason, message=each.message)
        for each in (*pods, *([closed] if closed else []))
    ]
    wrong = faulty_keys(world)
    # A world that has no policy yet must not begin without one.
    has_policy = any(key.kind == "NetworkPolicy" for key in observed.children)
    bare = (closed or wrong) and cluster.network.policies and not has_policy
    rejections += (
        [RejectedWrite(key=own, reason="NetworkInvalid", message=_no_key(wrong[0]))]
        if wrong
        else []
    )
    services = effective(world, found.revision if found else current.revision)
    faults = [each for service in services for each in service.faults]
    rejections += [
        RejectedWrite(key=own, reason=each.reason, message=each.message) for each in faults
    ]
    used = None if faults or pods or bare else found
    revision = used.revision if used else world.status.template_revision
    if reason := bus.unmet(world, cluster.places.bus, revision):
        rejections.append(RejectedWrite(key=own, reason=reason[0], message=reason[1]))
    return _Reading(
        services=services,
        inputs=used,
        revision=revision,
        image=used.image if used else world.status.workloads_image,
        network=not wrong and not closed,
        rejections=tuple(rejections),
    )


def _no_key(text: str) -> str:
    return (
        f"spec.network: {text!r} is not a valid label key: use name or prefix/name, "
        "with letters, digits, '-', '_' and '.'"
    )


def _keep(
    world: GameWorld,
    observed: Observed,
    read: _Reading,
    archetypes_stay: bool,  # noqa: FBT001 - of one caller
) -> tuple[Key, ...]:
    """What stays as it is: what a mistake touches, until it is corrected."""
    kept = [archetypes.handed_on(world)] if archetypes_stay else []
    if read.inputs is None:
        kinds = ("Deployment", "Service", "PodDisruptionBudget")
        kept += [key for key in observed.children if key.kind in kinds]
        kept += [
            Key(kind, world.metadata.namespace, config_name(world))
            for kind in ("ConfigMap", "ServiceAccount")
        ]
    if not read.network:
        kept.append(Key("NetworkPolicy", world.metadata.namespace, config_name(world)))
    return tuple(kept)


def _replicas(world: GameWorld, observed: Observed, read: _Reading) -> dict[Key, int]:
    """The number of pods of every service; of a Deployment that a mistake keeps without a service, 0 in hibernation."""
    namespace = world.metadata.namespace
    numbers = {
        Key("Deployment", namespace, deployment_name(world, each)): replicas(world, each)
        for each in read.services
    }
    if read.inputs is None and world.spec.state is WorldState.HIBERNATED:
        kept = [key for key in observed.children if key.kind == "Deployment"]
        numbers = {**dict.fromkeys(kept, 0), **numbers}
    return numbers


def _halted(world: GameWorld, observed: Observed, current: Inputs) -> str:
    """Why a new image does not reach this world: too many that took it failed."""
    waits = world.status.workloads_image not in (None, current.image)
    return observed.halted if waits and not observed.turn else ""


def _turning(world: GameWorld, observed: Observed, *, acts: bool) -> Turning:
    """A clock change is valid only if the configuration that announces it is written too."""
    known: tuple[Anchor, ...] | None = observed.facts("ConfigMap", config_name(world))
    if not acts:
        return Turning(anchors=known or reported(world.status.clock))
    return turning(world, known, int(observed.now.timestamp() * MICROSECOND))


def _rolling(
    world: GameWorld, observed: Observed, wanted: Sequence[Mapping[str, Any]]
) -> list[str]:
    """Names of Deployments whose pods of the present template are missing, or that are about to replace some."""
    before = is_true(world.status.conditions, "Reconciling")
    deployments = {e["metadata"]["name"]: e for e in wanted if e["kind"] == "Deployment"}
    return [
        name
        for name, document in deployments.items()
        if unfinished(document, observed.applied("Deployment", name), before=before)
    ]


def _turn(
    world: GameWorld, observed: Observed, read: _Reading, current: Inputs, rolling: Sequence[str]
) -> SlotUse:
    """A new image of the catalogue goes to a few worlds at a time; own images are their owners' affair.

    A world whose pods made no progress within their deadline gives its turn back.
    """
    builtin = {deployment_name(world, each) for each in read.services if each.module}
    used = world.status.workloads_image
    if read.inputs is None or not builtin:
        return SlotUse.NONE
    if read.inputs.image != current.image:
        return SlotUse.WAITS
    if used not in (None, current.image):
        return SlotUse.HOLDS
    under_way = [observed.applied("Deployment", name) for name in builtin.intersection(rolling)]
    if any(each is not None and each.exceeded for each in under_way):
        return SlotUse.FAILED
    return SlotUse.HOLDS if observed.holds_slot and under_way else SlotUse.NONE


def _asleep(world: GameWorld) -> float | None:
    asleep = world.spec.state is WorldState.HIBERNATED
    return ASLEEP_SECONDS if asleep and world.spec.roles else None


def _again(*seconds: float | None) -> float | None:
    return min((each for each in seconds if each), default=None)
