"""PURE: the numbered revisions of the pod template, and which one a tier has.

An operator upgrade must restart no pod. So what a template is made of beside the spec (class defaults, chart settings)
is an input of a revision; a live tier keeps its revision and the settings it was made with until its model, image or
`templateRevision` changes.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from gameai_contract.inference import LatencyClass

from gameai_operator.api.tier import ModelTierSpec
from gameai_operator.controller.manifest import digest
from gameai_operator.resources.deployment import TEMPLATE_INPUTS, Deployment
from gameai_operator.resources.template_revision import chosen
from gameai_operator.settings import CapacityLabels, PodSettings


@dataclass(frozen=True, kw_only=True, slots=True)
class Profile:
    """What a class means for a pod.

    `cpu` and `memory` are requests (memory is the limit too); `shutdown_seconds` is how long running answers may take
    to end; `ends_loading` says that an engine which still loads is killed instead of waited for; `last_words` that the
    last log lines of an engine that failed are its termination message; `queued_requests` caps
    running plus waiting, beyond which vLLM answers 503; `latency_buckets` and `token_buckets` are histogram bounds in
    seconds, fine around the class's target.
    """

    cpu: str
    memory: str
    shutdown_seconds: int
    queued_requests: int
    latency_buckets: tuple[float, ...]
    token_buckets: tuple[float, ...]
    ends_loading: bool = False
    last_words: bool = False


_FAST_TOKENS = (0.001, 0.002, 0.003, 0.004, 0.006, 0.008, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1)
_REVISION_1 = {
    LatencyClass.GOLD: Profile(
        cpu="3",
        memory="11Gi",
        shutdown_seconds=10,
        queued_requests=128,
        latency_buckets=(
            *(0.001, 0.002, 0.004, 0.006, 0.008, 0.01, 0.012, 0.014, 0.016, 0.018, 0.02),
            *(0.025, 0.03, 0.04, 0.06, 0.1, 0.25, 0.5),
        ),
        token_buckets=_FAST_TOKENS,
    ),
    LatencyClass.SILVER: Profile(
        cpu="6",
        memory="24Gi",
        shutdown_seconds=60,
        queued_requests=256,
        latency_buckets=(
            *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.125, 0.15, 0.175, 0.2, 0.225),
            *(0.25, 0.3, 0.35, 0.4, 0.5, 1.0, 2.5),
        ),
        token_buckets=_FAST_TOKENS,
    ),
    LatencyClass.BRONZE: Profile(
        cpu="6",
        memory="24Gi",
        shutdown_seconds=300,
        queued_requests=1024,
        latency_buckets=(
            0.5,
            1.0,
            2.5,
            5.0,
            10.0,
            15.0,
            20.0,
            25.0,
            30.0,
            40.0,
            60.0,
            120.0,
            300.0,
            600.0,
        ),
        token_buckets=(0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.5),
    ),
}
# A loading vLLM swallows SIGTERM, and a kubelet that terminates a pod ignores a shorter grace period.
_REVISION_2 = {each: replace(profile, ends_loading=True) for each, profile in _REVISION_1.items()}
# Why an engine ended stands in its log only; the user's ids and common labels of the cluster are settings since then.
_REVISION_3 = {each: replace(profile, last_words=True) for each, profile in _REVISION_2.items()}
REVISIONS: Mapping[int, Mapping[LatencyClass, Profile]] = MappingProxyType(
    {1: _REVISION_1, 2: _REVISION_2, 3: _REVISION_3, 4: _REVISION_3, 5: _REVISION_3}
)
# What a new template gets. One release knows a revision before the next defaults to it, so that a rollback by one
# release can still render every tier; 3 to 5 became known and the default at once, since no release was published before.
NEWEST = max(REVISIONS)
# From this revision on the settings of pods are an input.
SETTINGS_SINCE = 3
# From this one on a cache on the node has a folder for each namespace, an engine without GPUs sees none, and the chart's
# registry and pull Secrets hold for vLLM too.
TENANTS_SINCE = 4
# From this one on each engine has an agent; its image is an input.
AGENT_SINCE = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Inputs:
    """What a tier's pod template is made of beside its spec."""

    revision: int
    capacity: CapacityLabels
    pods: PodSettings = field(default_factory=PodSettings)
    agent_image: str = ""

    def text(self) -> str:
        """One line of JSON, for the Deployment's annotation."""
        agent = {} if self.revision < AGENT_SINCE else {"agentImage": self.agent_image}
        pods = {} if self.revision < SETTINGS_SINCE else {"pods": self.pods.document()}
        capacity = {
            "label": self.capacity.label,
            "spot": self.capacity.spot,
            "onDemand": self.capacity.on_demand,
        }
        return json.dumps(
            {"revision": self.revision, "capacity": capacity, **pods, **agent}, sort_keys=True
        )


def model_revision(spec: ModelTierSpec) -> str:
    """A short hash of model and image, or of the service elsewhere: what makes another engine of a tier."""
    if spec.engine.external is not None:
        return digest([spec.engine.external.open_ai.model_dump(mode="json", exclude_none=True)])[
            :10
        ]
    source = spec.files.source.model_dump(mode="json", exclude_none=True)
    return digest([source, spec.engine.effective_vllm.image])[:10]


def inputs(
    spec: ModelTierSpec, reported: int | None, live: Deployment | None, current: Inputs
) -> Inputs:
    """The inputs a tier's template has now.

    `reported` is the revision in status, `live` a Deployment of the tier, `current` what a new tier would get.
    Raises `UnknownRevisionError`.
    """
    kept = _kept(spec, reported, live, current)
    number = chosen(spec.template_revision, kept.revision, REVISIONS)
    return kept if number == kept.revision else replace(current, revision=number)


def _kept(
    spec: ModelTierSpec, reported: int | None, live: Deployment | None, current: Inputs
) -> Inputs:
    if live is None:
        return replace(current, revision=reported or current.revision)
    if live.model_revision != model_revision(spec):
        return current
    remembered = parse(live.remembered.get(TEMPLATE_INPUTS, ""))
    return remembered or replace(current, revision=reported or current.revision)


def parse(text: str) -> Inputs | None:
    """The inputs that an annotation holds; None if it is not one of ours."""
    try:
        entry = json.loads(text)
        capacity = CapacityLabels(
            label=entry["capacity"]["label"],
            spot=tuple(entry["capacity"]["spot"]),
            on_demand=tuple(entry["capacity"]["onDemand"]),
        )
        pods = PodSettings.parse(entry.get("pods")) or PodSettings()
        revision = int(entry["revision"])
        agent = str(entry["agentImage"]) if revision >= AGENT_SINCE else ""
        return Inputs(revision=revision, capacity=capacity, pods=pods, agent_image=agent)
    except (ValueError, KeyError, TypeError):
        return None
