"""PURE: the whole decision for a ModelTier: what is seen → what is to be."""

from gameai import contract

from gameai_operator.api.base import ConditionStatus
from gameai_operator.api.tier import ModelTier
from gameai_operator.engine.deployments import Deployment
from gameai_operator.engine.kind import Decision, Refusal, Sight
from gameai_operator.engine.manifest import Key
from gameai_operator.tier.arguments import judge
from gameai_operator.tier.faults import fault
from gameai_operator.tier.objects import Document, Live, changes, objects, shares
from gameai_operator.tier.revisions import Inputs, UnknownRevisionError, inputs
from gameai_operator.tier.status import Judged, conditions, status
from gameai_operator.tier.template import ON_DEMAND, SPOT

LABEL = contract.TIER_LABEL
CAPACITY = contract.CAPACITY_LABEL


def decide(sight: Sight, *, current: Inputs) -> Decision:
    """Decide for one tier; `current` are the template inputs that a new tier gets.

    A tier that cannot be honoured keeps the children it has: a mistake in an edit must not end what works.
    """
    tier = ModelTier.model_validate(sight.root)
    live = _live(sight, tier.metadata.name)
    verdict = judge(tier.spec.engine.vllm.args, tier.spec.engine.vllm.image)
    refusals = sight.refusals
    revision: Inputs | None = None
    try:
        revision = inputs(
            tier.spec, tier.status.template_revision, live.on_demand or live.spot, current
        )
    except UnknownRevisionError as error:
        refusals = (_unknown_revision(tier, str(error)), *refusals)
    renders = revision is not None and verdict.fault is None
    wanted = objects(tier, live, revision) if revision and renders else None
    rolling = _rolling(tier, live, wanted or ())
    judged = Judged(
        live=live,
        rolling=rolling,
        arguments=verdict,
        revision=revision.revision if revision else tier.status.template_revision,
        fault=fault(sight.pods, live),
        refusals=refusals,
    )
    return Decision(
        wanted=wanted,
        status=status(tier, judged),
        conditions=conditions(tier, judged),
        keep=_keep(tier, live, rolling=rolling),
    )


def _live(sight: Sight, name: str) -> Live:
    return Live(
        on_demand=sight.facts("Deployment", f"{name}-{ON_DEMAND}"),
        spot=sight.facts("Deployment", f"{name}-{SPOT}"),
    )


def _keep(tier: ModelTier, live: Live, *, rolling: bool) -> tuple[Key, ...]:
    """What must outlast the wish for it.

    A tier that turns its spot share to 0 keeps its spot pods until those on demand can take over; pods of an old
    template are still made with the old service account.
    """
    name, namespace = tier.metadata.name, tier.metadata.namespace
    ahead = live.on_demand
    taken_over = (
        ahead is not None
        and ahead.observed
        and not ahead.rolling
        and ahead.ready >= shares(tier).on_demand
    )
    spot = () if taken_over else (Key("Deployment", namespace, f"{name}-{SPOT}"),)
    account = (Key("ServiceAccount", namespace, name),) if rolling else ()
    return (*spot, *account)


def _rolling(tier: ModelTier, live: Live, wanted: tuple[Document, ...]) -> bool:
    """Whether pods of the present template are missing, or a wanted Deployment would replace some."""
    seen = {ON_DEMAND: live.on_demand, SPOT: live.spot}
    deployments = [document for document in wanted if document["kind"] == "Deployment"]
    before = any(
        each.type == "Reconciling" and each.status == ConditionStatus.TRUE
        for each in tier.status.conditions
    )
    return any(
        _unfinished(each, seen[each["metadata"]["labels"][CAPACITY]], before=before)
        for each in deployments
    )


def _unfinished(document: Document, live: Deployment | None, *, before: bool) -> bool:
    """Until the Deployment controller has seen our last write, what we said before it stands."""
    if live is None or changes(document, live):
        return True
    return live.rolling if live.observed else before or live.rolling


def _unknown_revision(tier: ModelTier, message: str) -> Refusal:
    key = Key("ModelTier", tier.metadata.namespace, tier.metadata.name)
    return Refusal(key=key, reason="TemplateRevisionUnknown", message=message)
