"""PURE: the table of kinds: one row per custom resource, one per kind of child."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from gameai_contract.knowledge import TokenKeys
from gameai_contract.names import (
    CAPACITY_LABEL,
    EXTERNAL_CONTAINER,
    KNOWLEDGE_LABEL,
    MANAGED_BY,
    PART_LABEL,
    PART_OF,
    SERVICE_CONTAINER,
    SERVICE_LABEL,
    TIER_LABEL,
    VLLM_CONTAINER,
    WORLD_LABEL,
    selector,
)

from gameai_operator.api import crd
from gameai_operator.api.base import GROUP, VERSION
from gameai_operator.api.views import (
    ARCHETYPES_BUDGET_BYTES,
    archetypes_bytes,
    config_map_refused,
    config_map_unread,
    config_map_view,
    knowledge_view,
    namespace_labels,
    tier_view,
)
from gameai_operator.controller.kind import Decision, Kind, Observed, Reading, Watched
from gameai_operator.controller.manifest import Key, Manifest, Resource
from gameai_operator.controller.plan import Creation
from gameai_operator.controller.pod_facts import Pod
from gameai_operator.knowledge import decide as knowledge_decide
from gameai_operator.knowledge import naming as knowledge_naming
from gameai_operator.knowledge import revisions as knowledge_revisions
from gameai_operator.knowledge import status as knowledge_status
from gameai_operator.resources import scaled_object
from gameai_operator.resources.deployment import deployment, stuck
from gameai_operator.resources.job import job
from gameai_operator.resources.node import interruption
from gameai_operator.resources.pod import pod
from gameai_operator.resources.stateful_set import stateful_set
from gameai_operator.resources.template_inputs import Inputs
from gameai_operator.settings import Settings
from gameai_operator.tier import revisions as tier_revisions
from gameai_operator.tier import status as tier_status
from gameai_operator.tier.decide import decide as decide_tier
from gameai_operator.world import archetypes as world_archetypes
from gameai_operator.world import knowledge as world_knowledge
from gameai_operator.world import revisions as world_revisions
from gameai_operator.world import status as world_status
from gameai_operator.world.clock import published
from gameai_operator.world.decide import Cluster
from gameai_operator.world.decide import decide as decide_world
from gameai_operator.world.objects import Authorities, Places
from gameai_operator.world.roles import refers
from gameai_operator.world.shown import ShownTexts

MANAGED_SELECTOR = selector(MANAGED_BY)


def kinds(
    settings: Settings,
    authorities: Callable[[], Authorities] = Authorities,
    token_keys: Callable[[], TokenKeys | None] = lambda: None,
) -> Mapping[str, Kind]:
    """Our own kinds by name; `authorities` gives the certificates that worlds get as they are now, `token_keys` the keys of tokens."""
    rows = (_tier(settings), _world(settings, authorities), _knowledge(settings, token_keys))
    return MappingProxyType({each.resource.kind: each for each in rows})


def _tier(settings: Settings) -> Kind:
    current = tier_revisions.Inputs(
        revision=tier_revisions.NEWEST,
        capacity=settings.capacity,
        pods=settings.pods,
        agent_image=settings.workloads_image,
    )
    return Kind(
        definition=crd.MODEL_TIER,
        resource=_root(crd.MODEL_TIER),
        label=TIER_LABEL,
        status_fields=tier_status.FIELDS,
        condition_types=tier_status.CONDITIONS,
        counts=tier_status.COUNTS,
        read_pod=_engine_pod,
        decide=_labelled(
            functools.partial(
                decide_tier,
                current=current,
                network=settings.network,
                policy=settings.policy,
                keda=settings.keda,
                headroom_class=settings.headroom_priority_class,
            ),
            settings.pods.labels,
        ),
        project=tier_view,
    )


def _world(settings: Settings, authorities: Callable[[], Authorities]) -> Kind:
    image = settings.workloads_image
    current = Inputs(revision=world_revisions.NEWEST, image=image, pods=settings.pods)

    def decide(observed: Observed) -> Decision:
        cluster = Cluster(
            network=settings.network,
            policy=settings.policy,
            places=Places(
                gateway=settings.gateway.endpoint,
                bus=settings.bus_endpoint,
                authorities=authorities(),
            ),
        )
        return decide_world(observed, current=current, cluster=cluster)

    return Kind(
        definition=crd.GAME_WORLD,
        resource=_root(crd.GAME_WORLD),
        label=WORLD_LABEL,
        status_fields=world_status.FIELDS,
        condition_types=world_status.CONDITIONS,
        counts=world_status.COUNTS,
        read_pod=_service_pod,
        decide=_labelled(decide, settings.pods.labels),
        refers=_world_refers,
        rolls=functools.partial(world_status.rolls, image=image),
        despite_pause=frozenset({crd.WORLD_VIEW.kind}),
    )


def _knowledge(settings: Settings, token_keys: Callable[[], TokenKeys | None]) -> Kind:
    image = settings.knowledge_image
    current = Inputs(revision=knowledge_revisions.NEWEST, image=image, pods=settings.pods)

    def decide(observed: Observed) -> Decision:
        cluster = knowledge_decide.Cluster(
            network=settings.network, policy=settings.policy, tokens=token_keys()
        )
        return knowledge_decide.decide(observed, current=current, cluster=cluster)

    return Kind(
        definition=crd.KNOWLEDGE_BASE,
        resource=_root(crd.KNOWLEDGE_BASE),
        label=KNOWLEDGE_LABEL,
        status_fields=knowledge_status.FIELDS,
        condition_types=knowledge_status.CONDITIONS,
        counts=knowledge_status.COUNTS,
        read_pod=_knowledge_pod,
        decide=_labelled(decide, settings.pods.labels),
        refers=knowledge_decide.refers,
        project=knowledge_view,
        rolls=functools.partial(knowledge_status.rolls, image=image),
    )


def _labelled(
    decide: Callable[[Observed], Decision], labels: Mapping[str, str]
) -> Callable[[Observed], Decision]:
    """The same decision, with the cluster's common labels on every object; labels of our own stand before them."""

    def labelled(observed: Observed) -> Decision:
        decision = decide(observed)
        return replace(
            decision,
            wanted=tuple(_with_labels(each, labels) for each in decision.wanted),
            creations=tuple(_with_more(each, labels) for each in decision.creations),
        )

    return labelled if labels else decide


def _with_labels(manifest: Manifest, labels: Mapping[str, str]) -> Manifest:
    metadata = manifest["metadata"]
    return {**manifest, "metadata": {**metadata, "labels": {**labels, **metadata["labels"]}}}


def _with_more(creation: Creation, labels: Mapping[str, str]) -> Creation:
    return replace(creation, render=lambda random: _with_labels(creation.render(random), labels))


def _world_refers(root: Mapping[str, Any]) -> tuple[Key, ...]:
    """Tiers, knowledge base, archetypes, and its own namespace."""
    more = (world_knowledge.named(root), world_archetypes.named(root))
    return (*refers(root), *(each for each in more if each))


def _root(definition: crd.Definition) -> Resource:
    kind, plural = definition.kind, definition.plural
    return Resource(group=GROUP, version=VERSION, kind=kind, plural=plural, root=True)


def _engine_pod(document: Mapping[str, Any]) -> Pod:
    names = {each["name"] for each in document["spec"].get("containers", ())}
    main = EXTERNAL_CONTAINER if EXTERNAL_CONTAINER in names else VLLM_CONTAINER
    return pod(document, CAPACITY_LABEL, main)


def _service_pod(document: Mapping[str, Any]) -> Pod:
    """Game services end on SIGTERM; only a loading vLLM swallows it."""
    return replace(pod(document, SERVICE_LABEL, SERVICE_CONTAINER), force_delete=False)


def _knowledge_pod(document: Mapping[str, Any]) -> Pod:
    """Of a database or of the memory; a Job's pod is one of the memory."""
    part = document["metadata"].get("labels", {}).get(PART_LABEL)
    ours = part == knowledge_naming.DATABASE_PART
    main = knowledge_naming.DATABASE if ours else knowledge_naming.MEMORY
    return replace(pod(document, PART_LABEL, main), force_delete=False)


def _row(group: str, version: str, kind: str, plural: str) -> Resource:
    return Resource(group=group, version=version, kind=kind, plural=plural)


SCALED_OBJECT = Watched(
    resource=_row(scaled_object.GROUP, scaled_object.VERSION, scaled_object.KIND, "scaledobjects"),
    project=scaled_object.states,
    supported=scaled_object.supported,
)

WATCHED: Mapping[str, Watched] = MappingProxyType(
    {
        each.resource.kind: each
        for each in (
            Watched(
                resource=_row("apps", "v1", "Deployment", "deployments"),
                project=deployment,
                starts_pods=True,
                stuck=stuck,
            ),
            Watched(
                resource=_row("apps", "v1", "StatefulSet", "statefulsets"),
                project=stateful_set,
                starts_pods=True,
            ),
            Watched(resource=_row("batch", "v1", "Job", "jobs"), project=job, starts_pods=True),
            Watched(resource=_row("", "v1", "Service", "services")),
            Watched(
                resource=_row("", "v1", "ServiceAccount", "serviceaccounts"),
                get_before_apply=True,
                # No pod of ours starts with an account of another owner.
                apply_barrier=True,
            ),
            Watched(
                # Our own, and those of users that hold archetypes.
                resource=replace(
                    _row("", "v1", "ConfigMap", "configmaps"),
                    selector=selector(PART_OF),
                ),
                project=published,
                reads=Reading(
                    read=config_map_view,
                    refuse=config_map_refused,
                    unread=config_map_unread,
                    size_bytes=archetypes_bytes,
                    budget_bytes=ARCHETYPES_BUDGET_BYTES,
                ),
                get_before_apply=True,
                optimistic_lock=True,
            ),
            Watched(
                resource=_row(GROUP, VERSION, crd.WORLD_VIEW.kind, crd.WORLD_VIEW.plural),
                project=ShownTexts().facts,
                optimistic_lock=True,
            ),
            Watched(
                resource=_row("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets"),
            ),
            Watched(
                resource=_row("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies"),
                apply_barrier=True,
            ),
            SCALED_OBJECT,
            Watched(resource=_row("", "v1", "Pod", "pods"), are_pods=True),
            Watched(
                resource=Resource(
                    group="", version="v1", kind="Namespace", plural="namespaces", context=True
                ),
                project=namespace_labels,
            ),
            Watched(
                resource=Resource(
                    group="", version="v1", kind="Node", plural="nodes", context=True
                ),
                project=interruption,
                hosts_pods=True,
            ),
        )
    }
)
