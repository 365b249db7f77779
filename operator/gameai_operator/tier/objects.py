"""PURE: a tier's objects: two Deployments, each with a disruption budget, a headless Service, a network policy, an account."""

from dataclasses import dataclass

from gameai_contract.names import (
    CAPACITY_LABEL,
    MODEL_REVISION_LABEL,
    TIER_LABEL,
    VLLM_NAME,
    VLLM_PORT,
)

from gameai_operator.api.tier import ModelTier
from gameai_operator.controller.manifest import Document, without_empty
from gameai_operator.resources.deployment import Deployment, Strategy, annotations, build, changes
from gameai_operator.resources.disruption_budget import disruption_budget
from gameai_operator.resources.metadata import labels, metadata
from gameai_operator.resources.network_policy import policy
from gameai_operator.resources.service import headless
from gameai_operator.resources.service_account import service_account
from gameai_operator.settings import KedaSettings, NetworkSettings
from gameai_operator.tier import autoscaling, network
from gameai_operator.tier.revisions import Inputs, model_revision
from gameai_operator.tier.template import ON_DEMAND, SPOT, Group, start_seconds, template

# How long a node and an image may take before a roll-out counts as stuck, on top of the start itself.
_NODE_AND_IMAGE_SECONDS = 600
# Three of four reclaimed nodes can be drained at once, within the two minutes that a cloud gives; never all pods.
_SPOT_DISRUPTIONS = "75%"


@dataclass(frozen=True, kw_only=True, slots=True)
class Live:
    """What is there of a tier's Deployments."""

    on_demand: Deployment | None
    spot: Deployment | None


def surroundings(tier: ModelTier, settings: NetworkSettings) -> tuple[Document, ...]:
    """The objects around a tier's pods, which no fault of a pod template holds up; limits first."""
    own = tier.spec.service_account_name in (None, tier.metadata.name)
    account = (service_account(_metadata(tier)),) if own else ()
    limits = (_network_policy(tier, settings),) if settings.policies else ()
    groups = (ON_DEMAND, SPOT) if tier.spec.capacity.spot_percent else (ON_DEMAND,)
    budgets = [_disruption_budget(tier, each) for each in groups]
    service = headless(_metadata(tier), selector(tier), port_name="http", port=VLLM_PORT)
    return (*account, *limits, service, *budgets)


def scaled_objects(tier: ModelTier, settings: KedaSettings) -> tuple[Document, ...]:
    """The ScaledObject of a tier whose driver is KEDA."""
    return autoscaling.scaled_objects(tier, _metadata(tier), settings)


def deployments(tier: ModelTier, live: Live, inputs: Inputs) -> tuple[Document, ...]:
    """A tier's Deployments without their numbers of replicas."""
    on_demand = _deployment(tier, ON_DEMAND, inputs)
    if not tier.spec.capacity.spot_percent:
        return (on_demand,)
    return (on_demand, _paced(_deployment(tier, SPOT, inputs), live, on_demand))


def selector(tier: ModelTier) -> dict[str, str]:
    """The labels that find every pod of a tier; fixed for life."""
    return {TIER_LABEL: tier.metadata.name, "app.kubernetes.io/name": VLLM_NAME}


def _paced(spot: Document, live: Live, on_demand: Document) -> Document:
    """The spot Deployment, held while the on-demand one rolls, so that never both ask for surge GPUs."""
    due = live.spot is not None and (live.spot.paused or changes(spot, live.spot))
    ahead = live.on_demand
    first = ahead is not None and (ahead.rolling or not ahead.observed or changes(on_demand, ahead))
    return {**spot, "spec": {**spot["spec"], "paused": due and first}}


def _metadata(tier: ModelTier) -> Document:
    """That of the objects which have the tier's own name."""
    return metadata(tier.metadata.namespace, tier.metadata.name, _labels(tier))


def _labels(tier: ModelTier) -> dict[str, str]:
    name = tier.metadata.name
    component = f"model-{tier.spec.class_.value.lower()}"
    return labels(name=VLLM_NAME, instance=name, component=component, root={TIER_LABEL: name})


def _deployment(tier: ModelTier, capacity: str, inputs: Inputs) -> Document:
    spec = tier.spec
    revision = {MODEL_REVISION_LABEL: model_revision(spec)}
    own = {**_labels(tier), **revision, CAPACITY_LABEL: capacity}
    pods = without_empty(template(tier, Group(capacity=capacity, labels=own), inputs))
    notes = annotations(pods, inputs.text())
    strategy = Strategy(
        surge=spec.rollout.max_surge,
        unavailable=spec.rollout.max_unavailable,
        deadline_seconds=start_seconds(spec) + _NODE_AND_IMAGE_SECONDS,
        paused=False,
    )
    about = metadata(tier.metadata.namespace, f"{tier.metadata.name}-{capacity}", own, notes)
    return build(about, _group_selector(tier, capacity), pods, strategy)


def _network_policy(tier: ModelTier, settings: NetworkSettings) -> Document:
    ingress, egress = network.ingress(tier, settings), network.egress(tier, settings)
    return policy(_metadata(tier), selector(tier), ingress, egress)


def _group_selector(tier: ModelTier, capacity: str) -> dict[str, str]:
    return {**selector(tier), CAPACITY_LABEL: capacity}


def _disruption_budget(tier: ModelTier, capacity: str) -> Document:
    """One for each group: spot nodes are reclaimed several at once, and what is not drained by then is killed."""
    about = metadata(tier.metadata.namespace, f"{tier.metadata.name}-{capacity}", _labels(tier))
    most = _SPOT_DISRUPTIONS if capacity == SPOT else 1
    return disruption_budget(about, _group_selector(tier, capacity), most)
