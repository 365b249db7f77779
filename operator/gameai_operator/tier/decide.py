"""PURE: the whole decision for a ModelTier: what is seen → what is to be."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

from gameai_contract.names import CAPACITY_LABEL

from gameai_operator.api.base import is_true
from gameai_operator.api.tier import ModelTier, ModelTierSpec
from gameai_operator.controller.kind import Decision, Observed, RejectedWrite
from gameai_operator.controller.manifest import Document, Key
from gameai_operator.controller.pod_facts import Pod
from gameai_operator.resources import tenant_policy
from gameai_operator.resources.deployment import Deployment, changes, unfinished
from gameai_operator.resources.pod_faults import Fault, Words, fault
from gameai_operator.resources.template_revision import UnknownRevisionError
from gameai_operator.resources.tenant_policy import NotAllowed
from gameai_operator.settings import KedaSettings, NetworkSettings, Policy
from gameai_operator.tier import autoscaling, external, headroom, scaler_watch, schedule, template
from gameai_operator.tier.arguments import Verdict, judge
from gameai_operator.tier.effective import effective
from gameai_operator.tier.handover import Limits, Seen, handover
from gameai_operator.tier.headroom import HEADROOM
from gameai_operator.tier.lending import loan
from gameai_operator.tier.network import hub_host
from gameai_operator.tier.objects import Live, deployments, scaled_objects, surroundings
from gameai_operator.tier.revisions import AGENT_SINCE, REVISIONS, Inputs, inputs
from gameai_operator.tier.split import Split
from gameai_operator.tier.status import Judged, conditions, status
from gameai_operator.tier.template import ON_DEMAND, SPOT, image

_WORDS = Words(
    secret_field="spec.model.source.huggingFace.tokenSecretRef",  # noqa: S106 - a field's name
    volume_field="spec.model.source or spec.model.cache",
    crash_reason="EngineCrashing",
    program="vLLM",
    hints=(
        (
            "affinity/selector",
            "spec.hardware.instanceTypes, spec.hardware.nodeSelector, spec.capacity.spotPercent",
        ),
        ("untolerated taint", "spec.hardware.tolerations"),
        ("Insufficient cpu", "spec.hardware.cpu"),
        ("Insufficient memory", "spec.hardware.memory"),
        ("Insufficient nvidia", "spec.hardware.gpus"),
        ("Insufficient amd", "spec.hardware.gpus"),
    ),
)
_EXTERNAL_WORDS = replace(
    _WORDS,
    secret_field="spec.engine.external.openAI.secretRef",  # noqa: S106 - a field's name
    program="the program that forwards to the service",
)
# The image that vLLM publishes is built for GPUs; an engine in it ends at once without one.
_GPU_IMAGE = "vllm/vllm-openai"


def decide(
    observed: Observed,
    *,
    current: Inputs,
    network: NetworkSettings,
    policy: Policy | None = None,
    keda: KedaSettings | None = None,
    headroom_class: str = "",
) -> Decision:
    """Decide for one tier.

    `current` are the template inputs that a new tier gets, `network` describes the cluster's network, `policy` what a tier may ask for,
    `keda` where KEDA finds the scaler, `headroom_class` is the PriorityClass of placeholders. A mistake in an
    edit must not end what works: a pod template that cannot be rendered leaves the Deployments as they are, but for their numbers of replicas. Everything around them is written whatever happens to the template.
    """
    tier = ModelTier.model_validate(observed.root)
    live, keda = _live(observed, tier.metadata.name), keda or KedaSettings()
    verdict = _verdict(tier.spec)
    revision, unknown = _revision(tier, live, current)
    faults = (*unknown, *_not_allowed(tier, policy or Policy(), revision or current))
    rendered: tuple[Document, ...] = ()
    if revision is not None and not verdict.faults and not faults:
        revision = _with_new_agent(tier, live, revision, current)
        rendered = deployments(tier, live, revision)
    wants = effective(tier, has_spot=bool(rendered) or live.spot is not None)
    rolling = _rolling(tier, live, rendered)
    pods = tuple(each for each in observed.pods if each.group != HEADROOM)
    lent = loan(pods, wants.shares, tier.spec.capacity.lend_after_seconds, observed.now)
    judged = Judged(
        live=live,
        wants=wants,
        lent=lent.lent,
        placed=_by_group(pod for pod in observed.pods if pod.placed),
        headroom=sum(each.placed and each.group == HEADROOM for each in observed.pods),
        rolling=rolling,
        arguments=verdict,
        revision=revision.revision if revision else tier.status.template_revision,
        fault=_fault(tier, live, pods, revision or current)
        or headroom.fault(observed.applied("Deployment", headroom.key(tier).name)),
        rejections=(*faults, *_own_faults(tier, keda, headroom_class), *observed.rejections),
        failures=observed.failures,
    )
    active, looks_again = scaler_watch.active(tier, observed.now)
    return Decision(
        wanted=(
            *surroundings(tier, network),
            *rendered,
            *headroom.deployments(tier, revision if rendered else None, headroom_class),
            *scaled_objects(tier, keda),
        ),
        status=status(tier, judged),
        conditions=(*conditions(judged), *active),
        keep=_keep(tier, live, rendered, rolling=rolling),
        replicas=_replicas(tier, live, lent.shares(wants.shares), pods)
        | headroom.sizes(tier, wants.replicas),
        requeue_after_seconds=_soonest(lent.next_seconds, looks_again),
        own_replicas=wants.replicas if tier.spec.replicas is None else None,
    )


def _fault(tier: ModelTier, live: Live, pods: tuple[Pod, ...], revision: Inputs) -> Fault | None:
    """What is wrong with the pods. Where no node has room, with what a replica requests: defaults stand nowhere in the spec."""
    elsewhere = tier.spec.engine.external is not None
    words = _EXTERNAL_WORDS if elsewhere else _WORDS
    found = _needs_gpu(tier, live) or fault(pods, (live.on_demand, live.spot), words)
    if found is None and elsewhere:
        return external.fault(pods)
    if found is None or found.reason != "InsufficientCapacity":
        return found
    profile = REVISIONS[revision.revision][tier.spec.class_]
    wanted = template.resources(tier.spec, profile)["requests"]
    requested = ", ".join(f"{name} {value}" for name, value in wanted.items())
    return replace(found, message=f"{found.message}; one replica requests {requested}")


def _verdict(spec: ModelTierSpec) -> Verdict:
    """What is to be said of the arguments of vLLM."""
    if spec.engine.external is not None:
        return Verdict(checked=True, version="", applies=False)
    return judge(spec.engine.effective_vllm.args, spec.engine.effective_vllm.image)


def _own_faults(
    tier: ModelTier, keda: KedaSettings, headroom_class: str
) -> tuple[RejectedWrite, ...]:
    """Fields that cannot act; they hold up nothing else."""
    found = autoscaling.faults(tier, keda)
    return (*_schedule_faults(tier), *found, *headroom.faults(tier, headroom_class))


def _soonest(*seconds: float | None) -> float | None:
    return min((each for each in seconds if each is not None), default=None)


def _revision(
    tier: ModelTier, live: Live, current: Inputs
) -> tuple[Inputs | None, tuple[RejectedWrite, ...]]:
    known = live.on_demand or live.spot
    try:
        return inputs(tier.spec, tier.status.template_revision, known, current), ()
    except UnknownRevisionError as error:
        key = Key("ModelTier", tier.metadata.namespace, tier.metadata.name)
        return None, (RejectedWrite(key=key, reason="TemplateRevisionUnknown", message=str(error)),)


def _with_new_agent(tier: ModelTier, live: Live, used: Inputs, current: Inputs) -> Inputs:
    """The inputs with the present image of the agent, if pods are to be replaced anyway."""
    newer = replace(used, agent_image=current.agent_image)
    if used.revision < AGENT_SINCE or newer == used:
        return used
    seen = {ON_DEMAND: live.on_demand, SPOT: live.spot}
    replaces = any(
        changes(each, seen[each["metadata"]["labels"][CAPACITY_LABEL]])
        for each in deployments(tier, live, used)
    )
    return newer if replaces else used


def _needs_gpu(tier: ModelTier, live: Live) -> Fault | None:
    """A tier without GPUs and without an image of its own cannot start; one that answers has proven us wrong."""
    named = tier.spec.engine.effective_vllm.image
    repository = named.partition("@")[0].rpartition(":")[0] or named
    answers = any(each.ready and not each.rolling for each in (live.on_demand, live.spot) if each)
    if (
        tier.spec.engine.external
        or tier.spec.gpus
        or answers
        or not repository.endswith(_GPU_IMAGE)
    ):
        return None
    message = (
        f"spec.hardware.gpus is 0, but {named} needs a GPU: set spec.engine.vllm.image to a build of vLLM for CPUs, "
        "or spec.hardware.gpus to at least 1"
    )
    return Fault(reason="ImageNeedsGPU", message=message, stalled=True)


def _schedule_faults(tier: ModelTier) -> list[RejectedWrite]:
    """Announced events that cannot be read; they hold up nothing else."""
    key = Key("ModelTier", tier.metadata.namespace, tier.metadata.name)
    rows = tier.spec.scaling.schedule if tier.spec.scaling else ()
    return [
        RejectedWrite(key=key, reason="ScheduleInvalid", message=each)
        for row in rows
        for each in schedule.faults(row)
    ]


def _deployment(tier: ModelTier, capacity: str) -> Key:
    return Key("Deployment", tier.metadata.namespace, f"{tier.metadata.name}-{capacity}")


def _by_group(pods: Iterable[Pod]) -> Split:
    """How many of these pods are of each Deployment."""
    groups = Counter(pod.group for pod in pods)
    return Split(on_demand=groups[ON_DEMAND], spot=groups[SPOT])


def _replicas(tier: ModelTier, live: Live, wanted: Split, pods: Sequence[Pod]) -> dict[Key, int]:
    """The size of each Deployment now, on the way to what is wanted."""
    rollout = tier.spec.rollout
    limits = Limits(surge=rollout.max_surge, unavailable=rollout.max_unavailable)
    seen = Seen(
        ready=_by_group(pod for pod in pods if pod.ready and not pod.terminating),
        starting=_by_group(pod for pod in pods if pod.starting),
    )
    sizes = handover(wanted, live.on_demand, live.spot, limits, seen)
    return {
        _deployment(tier, ON_DEMAND): sizes.on_demand,
        _deployment(tier, SPOT): sizes.spot,
    }


def _too_old(tier: ModelTier, revision: Inputs) -> NotAllowed | None:
    """An external engine is a program of our image, which templates have since a revision."""
    if tier.spec.engine.external is None or revision.revision >= external.SINCE:
        return None
    message = (
        f"spec.engine.external needs pods of template revision {external.SINCE}, and spec.templateRevision is "
        f"{revision.revision}: set it to {external.SINCE}, or remove it"
    )
    return NotAllowed("TemplateRevisionTooOld", message)


def _not_allowed(tier: ModelTier, policy: Policy, revision: Inputs) -> tuple[RejectedWrite, ...]:
    """What a tier may not ask for: of this template, or by the cluster's owner."""
    spec, key = tier.spec, Key("ModelTier", tier.metadata.namespace, tier.metadata.name)
    found: tuple[NotAllowed | None, ...] = (
        _too_old(tier, revision),
        *_engine_not_allowed(tier, policy, revision),
    )
    account = spec.service_account_name
    if account:
        found += (tenant_policy.service_account(policy, "spec.serviceAccountName", account),)
    return tuple(RejectedWrite(key=key, reason=e.reason, message=e.message) for e in found if e)


def _engine_not_allowed(
    tier: ModelTier, policy: Policy, revision: Inputs
) -> tuple[NotAllowed | None, ...]:
    spec = tier.spec
    if spec.engine.external is not None:
        return external.not_allowed(tier.metadata.namespace, spec.engine.external, policy)
    host, hub = spec.files.effective_cache.host_path, spec.files.source.hugging_face
    token = hub.token_secret_ref if hub else None
    source = "spec.model.source.huggingFace"
    found: list[NotAllowed | None] = []
    if host:
        found.append(tenant_policy.host_path(policy, "spec.model.cache.hostPath.path", host.path))
    found.append(tenant_policy.image(policy, "spec.engine.vllm.image", image(spec, revision)))
    if hub:
        found.append(tenant_policy.hub(policy, f"{source}.endpoint", hub_host(hub.endpoint)))
    if token:
        found.append(tenant_policy.secret(policy, f"{source}.tokenSecretRef.name", token.name))
    return tuple(found)


def _live(observed: Observed, name: str) -> Live:
    return Live(
        on_demand=observed.applied("Deployment", f"{name}-{ON_DEMAND}"),
        spot=observed.applied("Deployment", f"{name}-{SPOT}"),
    )


def _keep(
    tier: ModelTier, live: Live, rendered: Sequence[Document], *, rolling: bool
) -> tuple[Key, ...]:
    """Children that stay although the spec no longer asks for them.

    Deployments whose template cannot be rendered; spot pods, with their budget, until those on demand have taken over;
    the old service account while a Deployment of an old template can still create pods with it.
    """
    name, namespace = tier.metadata.name, tier.metadata.namespace
    on_demand, spot = _deployment(tier, ON_DEMAND), _deployment(tier, SPOT)
    kept = [] if rendered else [on_demand, spot, headroom.key(tier)]
    retiring = not tier.spec.capacity.spot_percent and _has_pods(live.spot)
    if _has_pods(live.spot):
        kept += [spot, spot._replace(kind="PodDisruptionBudget")]
    if (
        rolling
        or retiring
        or not rendered
        or any(map(_may_create_old, (live.on_demand, live.spot)))
    ):
        kept.append(Key("ServiceAccount", namespace, name))
    return tuple(kept)


def _may_create_old(deployment: Deployment | None) -> bool:
    """Whether a ReplicaSet of a former template may still want pods: some of the present one are missing, or unknown."""
    if deployment is None:
        return False
    return not deployment.observed or deployment.updated < deployment.wanted


def _has_pods(deployment: Deployment | None) -> bool:
    return deployment is not None and bool(deployment.wanted or deployment.replicas)


def _rolling(tier: ModelTier, live: Live, rendered: Sequence[Document]) -> bool:
    """Whether pods of the present template are missing, or a wanted Deployment would replace some."""
    seen = {ON_DEMAND: live.on_demand, SPOT: live.spot}
    before = is_true(tier.status.conditions, "Reconciling")
    return any(
        unfinished(each, seen[each["metadata"]["labels"][CAPACITY_LABEL]], before=before)
        for each in rendered
    )
