"""PURE: placeholders of low priority: they hold nodes, with the engine's image pulled, for replicas to come.

A replica that finds no free node takes the place of a placeholder at once; the placeholder waits for a node in its stead.
"""

from gameai_contract.names import CAPACITY_LABEL, TIER_LABEL

from gameai_operator.api.tier import ModelTier
from gameai_operator.controller.kind import RejectedWrite
from gameai_operator.controller.manifest import Document, Key, without_empty
from gameai_operator.resources.deployment import Deployment, Strategy, annotations, build
from gameai_operator.resources.metadata import labels, metadata
from gameai_operator.resources.pod_faults import Fault
from gameai_operator.resources.pod_template import RESTRICTED
from gameai_operator.tier import agent, template
from gameai_operator.tier.revisions import AGENT_SINCE, REVISIONS, Inputs
from gameai_operator.tier.split import Split
from gameai_operator.tier.template import ON_DEMAND, SPOT, USER, Group

HEADROOM = "headroom"
_NAME = "vllm-headroom"


def key(tier: ModelTier) -> Key:
    """The Deployment of the placeholders."""
    return Key("Deployment", tier.metadata.namespace, f"{tier.metadata.name}-{HEADROOM}")


def replicas(tier: ModelTier, wanted: int) -> int:
    """Placeholders for a tier of `wanted` replicas: none beyond its maximum, and none for a tier that is scaled to zero."""
    scaling, asked = tier.spec.scaling, tier.spec.capacity.headroom_replicas
    if not wanted:
        return 0
    return asked if scaling is None else max(0, min(asked, scaling.max_replicas - wanted))


def faults(tier: ModelTier, priority_class: str) -> tuple[RejectedWrite, ...]:
    """Placeholders need a PriorityClass below that of all replicas."""
    if priority_class or not tier.spec.capacity.headroom_replicas:
        return ()
    message = (
        "spec.capacity.headroomReplicas needs a PriorityClass of low priority: install one and start the operator with "
        "--headroom-priority-class, as the chart does (headroom.priorityClass)"
    )
    own = Key("ModelTier", tier.metadata.namespace, tier.metadata.name)
    return (RejectedWrite(key=own, reason="HeadroomNotConfigured", message=message),)


def fault(held: Deployment | None) -> Fault | None:
    """Why placeholders cannot be created."""
    if held is None or not held.create_fault:
        return None
    return Fault(reason="HeadroomRefused", message=f"API server: {held.create_fault}")


def priced(tier: ModelTier, replicas: Split, placeholders: int) -> Split:
    """Replicas with placeholders, which are on spot nodes where the tier has any."""
    if tier.spec.capacity.spot_percent:
        return Split(on_demand=replicas.on_demand, spot=replicas.spot + placeholders)
    return Split(on_demand=replicas.on_demand + placeholders, spot=replicas.spot)


def sizes(tier: ModelTier, wanted: int) -> dict[Key, int]:
    """The size of the placeholders' Deployment for a tier of `wanted` replicas, where it is to have one."""
    return {key(tier): replicas(tier, wanted)} if tier.spec.capacity.headroom_replicas else {}


def deployments(
    tier: ModelTier, inputs: Inputs | None, priority_class: str
) -> tuple[Document, ...]:
    """The placeholders' Deployment, without its number of replicas; none where pods cannot be rendered."""
    if inputs is None or not priority_class or not tier.spec.capacity.headroom_replicas:
        return ()
    name, spec = tier.metadata.name, tier.spec
    own = {
        **labels(name=_NAME, instance=name, component=HEADROOM, root={TIER_LABEL: name}),
        CAPACITY_LABEL: HEADROOM,
    }
    capacity = SPOT if spec.capacity.spot_percent else ON_DEMAND
    pods = without_empty(
        _template(tier, Group(capacity=capacity, labels=own), inputs, priority_class)
    )
    about = metadata(tier.metadata.namespace, f"{name}-{HEADROOM}", own, annotations(pods, None))
    selector = {TIER_LABEL: name, "app.kubernetes.io/name": _NAME}
    return (build(about, selector, pods, Strategy(surge=0, unavailable=1, deadline_seconds=600)),)


def _template(tier: ModelTier, group: Group, inputs: Inputs, priority_class: str) -> Document:
    spec = tier.spec
    ids = {"runAsUser": USER, "runAsGroup": USER} if inputs.pods.fixed_ids else {}
    return {
        "metadata": {"labels": {**inputs.pods.labels, **spec.pod_labels, **group.labels}},
        "spec": {
            "serviceAccountName": spec.service_account_name or tier.metadata.name,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "imagePullSecrets": [{"name": e} for e in template.pull_secrets(spec, inputs)],
            "priorityClassName": priority_class,
            "runtimeClassName": spec.hardware.runtime_class_name,
            "terminationGracePeriodSeconds": 0,
            "securityContext": {
                "runAsNonRoot": True,
                **ids,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": _containers(tier, inputs),
            **template.placement(spec, group, inputs),
        },
    }


def _containers(tier: ModelTier, inputs: Inputs) -> list[Document]:
    """The images and the resources of an engine and its agent: both are there when a replica comes."""
    resources = template.resources(tier.spec, REVISIONS[inputs.revision][tier.spec.class_])
    found = [_sleeping("engine", template.image(tier.spec, inputs), resources)]
    if inputs.revision >= AGENT_SINCE:
        found.append(_sleeping("agent", inputs.agent_image, agent.RESOURCES))
    return found


def _sleeping(name: str, image: str, resources: Document) -> Document:
    return {
        "name": name,
        "image": image,
        "command": ["sleep", "infinity"],
        "resources": resources,
        "securityContext": dict(RESTRICTED),
    }
