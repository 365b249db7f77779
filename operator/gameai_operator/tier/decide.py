"""PURE: the whole decision for a ModelTier: what is seen → what is to be."""

from collections.abc import Sequence

from gameai import contract

from gameai_operator.api.base import ConditionStatus
from gameai_operator.api.tier import ModelTier
from gameai_operator.engine.deployments import unfinished
from gameai_operator.engine.faults import Words, fault
from gameai_operator.engine.kind import Decision, Refusal, Sight
from gameai_operator.engine.manifest import Key
from gameai_operator.settings import NetworkSettings
from gameai_operator.tier.arguments import judge
from gameai_operator.tier.objects import Document, Live, objects, shares
from gameai_operator.tier.revisions import Inputs, UnknownRevisionError, inputs
from gameai_operator.tier.status import Judged, conditions, status
from gameai_operator.tier.template import ON_DEMAND, SPOT

LABEL = contract.TIER_LABEL
CAPACITY = contract.CAPACITY_LABEL


_WORDS = Words(
    secret_field="spec.model.source.huggingFace.tokenSecretRef",  # noqa: S106 - a field's name
    volume_field="spec.model",
    crash_reason="EngineCrashing",
    program="vLLM",
)


def decide(
    sight: Sight,
    *,
    current: Inputs,
    network: NetworkSettings,
    allowed_host_paths: Sequence[str] = (),
) -> Decision:
    """Decide for one tier.

    `current` are the template inputs that a new tier gets, `network` tells the cluster's, `allowed_host_paths` are the
    folders below which a cache may lie.

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
    forbidden = _forbidden_path(tier, allowed_host_paths)
    refusals = (*forbidden, *refusals)
    renders = revision is not None and verdict.fault is None and not forbidden
    wanted = objects(tier, live, revision, network) if revision and renders else None
    rolling = _rolling(tier, live, wanted or ())
    judged = Judged(
        live=live,
        rolling=rolling,
        arguments=verdict,
        revision=revision.revision if revision else tier.status.template_revision,
        fault=fault(sight.pods, (live.on_demand, live.spot), _WORDS),
        refusals=refusals,
    )
    return Decision(
        wanted=wanted,
        status=status(tier, judged),
        conditions=conditions(tier, judged),
        keep=_keep(tier, live, rolling=rolling),
    )


def _forbidden_path(tier: ModelTier, allowed: Sequence[str]) -> tuple[Refusal, ...]:
    """A cache on the node is a way out of the pod, so the cluster's owner says where it may lie."""
    host = tier.spec.model.cache.host_path
    if host is None or any(f"{host.path}/".startswith(f"{each.rstrip('/')}/") for each in allowed):
        return ()
    known = ", ".join(allowed) or "none"
    message = (
        f"spec.model.cache.hostPath.path {host.path} is not allowed (allowed: {known}): use emptyDir or "
        "persistentVolumeClaim, or have policy.allowedHostPaths of the operator's chart name it"
    )
    key = Key("ModelTier", tier.metadata.namespace, tier.metadata.name)
    return (Refusal(key=key, reason="HostPathNotAllowed", message=message),)


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
        unfinished(each, seen[each["metadata"]["labels"][CAPACITY]], before=before)
        for each in deployments
    )


def _unknown_revision(tier: ModelTier, message: str) -> Refusal:
    key = Key("ModelTier", tier.metadata.namespace, tier.metadata.name)
    return Refusal(key=key, reason="TemplateRevisionUnknown", message=message)
