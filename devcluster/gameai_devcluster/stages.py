"""PURE: what kwok lets a simulated node and its pods go through, and how long each step takes.

A pod is created, its container runs (a model is loading), it becomes Ready; when it is deleted it goes exactly at
its deletionTimestamp, as a vLLM that ignores SIGTERM would. Faults on request, the way they happen in life:

- an image of a `.invalid` registry (RFC 2606) cannot be pulled;
- a pod of a Job ends in success, and what it would report is made up: one document and one chunk, or an archive with one event;
- a pod that needs a Secret waits for `gameai_devcluster.secrets`, which says what a kubelet says;
- the pod annotation `devcluster.gameai.dev/start-delay: 30s` replaces the start delay of its kind.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from gameai_contract.archives import ArchiveReport
from gameai_contract.knowledge import SourceReport
from gameai_contract.names import ARCHIVES_LABEL, KNOWLEDGE_LABEL, WORLD_LABEL

START_DELAY_ANNOTATION = "devcluster.gameai.dev/start-delay"
SECRETS_ANNOTATION = "devcluster.gameai.dev/secrets"
SECRETS_FOUND = "found"

COMPONENT_LABEL = "app.kubernetes.io/component"
# Milliseconds from "container runs" to Ready, by the pod's component label; "" is every other pod.
START_DELAYS_MS: Mapping[str, int] = MappingProxyType(
    {"model-gold": 2_000, "model-silver": 4_000, "model-bronze": 6_000, "": 500}
)

_NEEDS_SECRETS = "([.spec.containers[].env[]?.valueFrom.secretKeyRef | select(. != null and .optional != true)] | length) > 0"
_SECRETS_READY = (
    f'if {_NEEDS_SECRETS} then (.metadata.annotations["{SECRETS_ANNOTATION}"] // "unknown") '
    f'else "{SECRETS_FOUND}" end'
)
_PULLS = '[.spec.containers[].image | test("^[^/]*\\\\.invalid(:[0-9]+)?/")] | any | tostring'

_NOT_READY = """
conditions:
- {type: PodReadyToStartContainers, status: "True", lastTransitionTime: {{ Now | Quote }}}
- {type: Initialized, status: "True", lastTransitionTime: {{ Now | Quote }}}
- type: Ready
  status: "False"
  lastTransitionTime: {{ Now | Quote }}
  reason: ContainersNotReady
  message: 'containers with unready status: [{{ range .spec.containers }}{{ .name }} {{ end }}]'
- {type: ContainersReady, status: "False", lastTransitionTime: {{ Now | Quote }}, reason: ContainersNotReady}
hostIP: {{ NodeIPWith .spec.nodeName | Quote }}
podIP: {{ PodIPWith .spec.nodeName false .metadata.uid .metadata.name .metadata.namespace | Quote }}
startTime: {{ Now | Quote }}
phase: Pending
"""
_WAITING = """
containerStatuses:
{{ range .spec.containers }}
- {name: {{ .name | Quote }}, image: {{ .image | Quote }}, imageID: "", ready: false, started: false, restartCount: 0,
   state: {waiting: {reason: ContainerCreating}}}
{{ end }}
"""
_PULL_FAILED = """
containerStatuses:
{{ range .spec.containers }}
- name: {{ .name | Quote }}
  image: {{ .image | Quote }}
  imageID: ""
  ready: false
  started: false
  restartCount: 0
  state:
    waiting:
      reason: ImagePullBackOff
      message: {{ printf "Back-off pulling image \\"%s\\": ErrImagePull: failed to pull and unpack image \\"%s\\": failed to resolve reference: no such host" .image .image | Quote }}
{{ end }}
"""
_LOADING = """
containerStatuses:
{{ range .spec.containers }}
- {name: {{ .name | Quote }}, image: {{ .image | Quote }}, imageID: {{ .image | Quote }}, ready: false, started: false,
   restartCount: 0, state: {running: {startedAt: {{ Now | Quote }}}}}
{{ end }}
phase: Running
"""
_READY = """
conditions:
- {type: Ready, status: "True", lastTransitionTime: {{ Now | Quote }}, reason: "", message: ""}
- {type: ContainersReady, status: "True", lastTransitionTime: {{ Now | Quote }}, reason: "", message: ""}
{{ $root := . }}
containerStatuses:
{{ range $index, $container := .spec.containers }}
{{ $before := index $root.status.containerStatuses $index }}
- {name: {{ $container.name | Quote }}, image: {{ $container.image | Quote }}, imageID: {{ $container.image | Quote }},
   ready: true, started: true, restartCount: 0, state: {running: {startedAt: {{ $before.state.running.startedAt | Quote }}}}}
{{ end }}
"""
_JOB_LABEL = '.metadata.labels["batch.kubernetes.io/job-name"]'
_ARCHIVE = ArchiveReport(
    file="20261129T030000Z.0a1b2c3d.1.2.jsonl.gz", size=1000, worlds=1, events=1, concepts=1, kept=1
)
_COMPLETE = f"""
{{{{ $archives := index .metadata.labels "{ARCHIVES_LABEL}" }}}}
containerStatuses:
{{{{ range .spec.containers }}}}
- {{name: {{{{ .name | Quote }}}}, image: {{{{ .image | Quote }}}}, imageID: {{{{ .image | Quote }}}}, ready: false, started: false,
   restartCount: 0, state: {{terminated: {{exitCode: 0, reason: Completed,
   message: '{{{{ if $archives }}}}{_ARCHIVE.text()}{{{{ else }}}}{SourceReport(documents=1, chunks=1).text()}{{{{ end }}}}',
   startedAt: {{{{ Now | Quote }}}}, finishedAt: {{{{ Now | Quote }}}}}}}}}}
{{{{ end }}}}
phase: Succeeded
"""
_NODE = """
conditions:
{{ range NodeConditions }}
- {type: {{ .type | Quote }}, status: {{ .status | Quote }}, reason: {{ .reason | Quote }},
   message: {{ .message | Quote }}, lastHeartbeatTime: {{ Now | Quote }}, lastTransitionTime: {{ Now | Quote }}}
{{ end }}
addresses:
- {type: InternalIP, address: {{ NodeIP | Quote }}}
- {type: Hostname, address: {{ NodeName | Quote }}}
nodeInfo: {architecture: amd64, operatingSystem: linux, kubeletVersion: {{ printf "kwok-%s" Version | Quote }},
  kubeProxyVersion: "", kernelVersion: "", osImage: simulated, containerRuntimeVersion: kwok, machineID: "",
  bootID: "", systemUUID: ""}
phase: Running
"""

_RUNNING = ".status.containerStatuses.[].state.running.startedAt"

Stage = dict[str, Any]


def documents(start_delays_ms: Mapping[str, int] = START_DELAYS_MS) -> list[Stage]:
    """Stages of kwok, in kwok's own format, for nodes and pods."""
    ready_delays = [
        _pod_ready(component, milliseconds, start_delays_ms)
        for component, milliseconds in start_delays_ms.items()
    ]
    return [*_node_stages(), *_pod_stages(), *ready_delays, *_pod_delete()]


def _node_stages() -> list[Stage]:
    ready = '.status.conditions.[] | select(.type == "Ready") | .status'
    return [
        _stage("node-initialize", "Node", [_where(ready, "NotIn", "True")], template=_NODE),
        _stage(
            "node-heartbeat",
            "Node",
            [_where(ready, "In", "True")],
            template=_NODE,
            delay={"durationMilliseconds": 600_000},
        ),
    ]


def _pod_stages() -> list[Stage]:
    waiting = ".status.containerStatuses.[].state.waiting.reason"
    return [
        _stage(
            "pod-create",
            "Pod",
            [_alive(), _where(".status.podIP", "DoesNotExist")],
            template=_NOT_READY + _WAITING,
        ),
        _stage(
            "pod-pull-failed",
            "Pod",
            [_alive(), _where(waiting, "In", "ContainerCreating"), _where(_PULLS, "In", "true")],
            template=_PULL_FAILED,
        ),
        _stage(
            "pod-running",
            "Pod",
            [
                _alive(),
                _where(waiting, "Exists"),
                _where(_PULLS, "In", "false"),
                _where(_SECRETS_READY, "In", SECRETS_FOUND),
            ],
            template=_LOADING,
        ),
        _stage(
            "pod-complete",
            "Pod",
            [_alive(), _where(_JOB_LABEL, "Exists"), _where(_RUNNING, "Exists")],
            template=_COMPLETE,
            delay={"durationMilliseconds": 200},
        ),
    ]


def _pod_ready(component: str, milliseconds: int, all_delays: Mapping[str, int]) -> Stage:
    label = f'.metadata.labels["{COMPONENT_LABEL}"] // ""'
    named = [name for name in all_delays if name]
    others = [_where(label, "NotIn", *named)] if named else []  # kwok cannot bear an empty list
    mine = [_where(label, "In", component)] if component else others
    started = ".status.containerStatuses.[].started | tostring"
    no_job = _where(_JOB_LABEL, "DoesNotExist")
    return _stage(
        f"pod-ready-{component or 'other'}",
        "Pod",
        [_alive(), no_job, *mine, _where(_RUNNING, "Exists"), _where(started, "In", "false")],
        template=_READY,
        delay={
            "durationMilliseconds": milliseconds,
            "durationFrom": _expression(f'.metadata.annotations["{START_DELAY_ANNOTATION}"]'),
        },
    )


def _pod_delete() -> list[Stage]:
    """A vLLM takes all of its grace to end, a game service a moment."""
    deleted = _where(".metadata.deletionTimestamp", "Exists")
    free = _where(".metadata.finalizers", "DoesNotExist")
    labels = (f'.metadata.labels["{each}"]' for each in (WORLD_LABEL, KNOWLEDGE_LABEL))
    label = " // ".join(labels)
    whole = {"durationMilliseconds": 0, "durationFrom": _expression(".metadata.deletionTimestamp")}
    found = []
    for name, operator, delay in (
        ("pod-delete", "DoesNotExist", whole),
        ("pod-delete-service", "Exists", {"durationMilliseconds": 200}),
    ):
        where = [deleted, free, _where(label, operator)]
        stage = _stage(name, "Pod", where, template=None, delay=delay)
        stage["spec"]["next"] = {"delete": True}
        found.append(stage)
    return found


def _alive() -> dict[str, Any]:
    return _where(".metadata.deletionTimestamp", "DoesNotExist")


def _where(key: str, operator: str, *values: str) -> dict[str, Any]:
    return {"key": key, "operator": operator} | ({"values": list(values)} if values else {})


def _expression(text: str) -> dict[str, str]:
    return {"expressionFrom": text}


def _stage(
    name: str,
    kind: str,
    where: list[dict[str, Any]],
    *,
    template: str | None,
    delay: dict[str, Any] | None = None,
) -> Stage:
    spec: dict[str, Any] = {
        "resourceRef": {"apiGroup": "v1", "kind": kind},
        "selector": {"matchExpressions": where},
        "next": {"statusTemplate": template},
    }
    if delay:
        spec["delay"] = delay
    return {
        "apiVersion": "kwok.x-k8s.io/v1alpha1",
        "kind": "Stage",
        "metadata": {"name": name},
        "spec": spec,
    }
