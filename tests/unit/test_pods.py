from typing import Any

import pytest
from gameai_contract.names import CAPACITY_LABEL, SERVICE_LABEL
from gameai_operator.controller.pod_facts import Pod
from gameai_operator.kinds import kinds
from gameai_operator.resources.pod import pod
from gameai_operator.settings import Settings

BORN = "2026-11-22T10:00:00Z"
LATER = "2026-11-22T10:05:00Z"
RUNNING = {"running": {"startedAt": BORN}}


def document(
    *, ready: str = "False", since: str = BORN, state: Any = None, **metadata: Any
) -> dict[str, Any]:
    status: dict[str, Any] = {
        "containerStatuses": [{"name": "vllm", "state": RUNNING if state is None else state}],
        "conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": since}],
    }
    return {
        "metadata": {"name": "p", "namespace": "n", "uid": "u", **metadata},
        "spec": {"nodeName": "node"},
        "status": status,
    }


def seen(raw: dict[str, Any]) -> Pod:
    return pod(raw, "gameai.dev/capacity", "vllm")


GOING: dict[str, Any] = {"deletionTimestamp": LATER, "deletionGracePeriodSeconds": 30}


def test_a_fresh_pod_has_no_facts_yet() -> None:
    found = seen({"metadata": {"name": "p", "namespace": "n", "uid": "u"}, "spec": {}})
    assert (found.ready, found.terminating, found.force_delete, found.unschedulable) == (
        False,
    ) * 3 + ("",)


def test_a_pod_knows_its_group() -> None:
    assert seen(document(labels={"gameai.dev/capacity": "spot"})).group == "spot"


@pytest.mark.parametrize(
    ("raw", "starting"),
    [
        (document(), True),
        (document(state={"waiting": {"reason": "ContainerCreating"}}), False),
        (document(ready="True"), False),
        (document(**GOING), False),
        (document(state={"waiting": {"reason": "ErrImagePull"}}), False),
        (document(state={"waiting": {"reason": "CreateContainerConfigError"}}), False),
        ({**document(), "status": {"phase": "Failed"}}, False),
    ],
    ids=["runs", "created", "ready", "deleted", "no image", "no config", "failed"],
)
def test_a_pod_starts_while_nothing_is_known_to_keep_it_from_being_ready(
    raw: dict[str, Any], starting: bool
) -> None:
    assert seen(raw).starting == starting


@pytest.mark.parametrize(
    ("kind", "labels", "group", "force_delete"),
    [
        ("ModelTier", {CAPACITY_LABEL: "spot"}, "spot", True),
        ("GameWorld", {SERVICE_LABEL: "weather-manager"}, "weather-manager", False),
    ],
)
def test_each_kind_reads_its_own_pods(
    kind: str, labels: dict[str, str], group: str, force_delete: bool
) -> None:
    """A loading vLLM swallows SIGTERM; game services end on it."""
    raw = document(labels=labels, **GOING)
    raw["status"]["containerStatuses"] += [{"name": "service", "state": RUNNING}]
    found = kinds(Settings())[kind].read_pod(raw)
    assert (found.group, found.force_delete) == (group, force_delete)


@pytest.mark.parametrize(
    ("case", "force_delete"),
    [
        (document(**GOING), True),
        (document(state={"waiting": {"reason": "ContainerCreating"}}, **GOING), True),
        (document(since="2026-11-22T09:59:00Z", **GOING), True),
        (document(ready="True", **GOING), False),
        (document(since=LATER, **GOING), False),
        (document(state={"terminated": {"exitCode": 0}}, **GOING), False),
        (document(**(GOING | {"deletionGracePeriodSeconds": 1})), False),
        (document(), False),
    ],
    ids=[
        "loading",
        "not-started",
        "restarted-and-loading",
        "ready",
        "was-ready",
        "ended",
        "hastened-before",
        "not-deleted",
    ],
)
def test_only_a_going_pod_whose_process_never_was_ready_is_hastened(
    case: dict[str, Any], force_delete: bool
) -> None:
    assert seen(case).force_delete is force_delete


def test_a_pod_without_a_node_goes_by_itself() -> None:
    assert not seen({**document(**GOING), "spec": {}}).force_delete


def test_a_pod_that_its_kubelet_never_reported_is_hastened() -> None:
    assert seen({**document(**GOING), "status": {}}).force_delete


@pytest.mark.parametrize(
    ("reason", "message", "pull", "config"),
    [
        ("ImagePullBackOff", "no such host", "no such host", ""),
        ("ErrImagePull", "", "ErrImagePull", ""),
        ("CreateContainerConfigError", 'secret "hf" not found', "", 'secret "hf" not found'),
        ("CreateContainerError", "", "", "CreateContainerError"),
        ("ContainerCreating", "soon", "", ""),
    ],
)
def test_the_kubelets_words_are_sorted_by_its_reason(
    reason: str, message: str, pull: str, config: str
) -> None:
    found = seen(document(state={"waiting": {"reason": reason, "message": message}}))
    assert (found.pull_fault, found.config_fault) == (pull, config)


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        ({"status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}, "0/3 nodes"),
        ({"status": "False", "reason": "Unschedulable"}, "Unschedulable"),
        ({"status": "False", "reason": "SchedulingGated", "message": "gated"}, ""),
        ({"status": "True"}, ""),
    ],
)
def test_the_schedulers_words_are_kept(condition: dict[str, str], words: str) -> None:
    raw = document()
    raw["status"]["conditions"].append({"type": "PodScheduled", **condition})
    assert seen(raw).unschedulable == words


@pytest.mark.parametrize(
    ("last", "words"),
    [
        ({"exitCode": 2, "message": "bad flag"}, "exit code 2 after 3 restarts: bad flag"),
        ({"exitCode": 0, "reason": "Completed"}, "exit code 0 after 3 restarts: Completed"),
        ({}, "exit code unknown after 3 restarts: no message"),
    ],
)
def test_a_crash_is_reported_with_its_exit_code(last: dict[str, Any], words: str) -> None:
    raw = document()
    raw["status"]["containerStatuses"] = [
        {
            "name": "vllm",
            "restartCount": 3,
            "state": {"waiting": {"reason": "CrashLoopBackOff"}},
            "lastState": {"terminated": last},
        }
    ]
    assert seen(raw).crash == words
    assert seen(document()).crash == ""


@pytest.mark.parametrize(
    ("ready", "words"), [(False, "exit code 0 after 1 restarts: x"), (True, "")]
)
def test_a_crash_is_reported_until_the_next_process_is_ready(ready: bool, words: str) -> None:
    raw = document()
    raw["status"]["containerStatuses"] = [
        {
            "name": "vllm",
            "restartCount": 1,
            "ready": ready,
            "state": RUNNING,
            "lastState": {"terminated": {"exitCode": 0, "message": "x"}},
        }
    ]
    assert seen(raw).crash == words


def test_an_injected_container_does_not_speak_for_the_engine() -> None:
    raw = document(**GOING)
    proxy = {"name": "istio-proxy", "state": {"running": {"startedAt": "2026-11-22T09:00:00Z"}}}
    raw["status"]["containerStatuses"].insert(0, proxy)
    assert seen(raw).force_delete


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (
            {"phase": "Failed", "reason": "Evicted", "message": "Usage of volume exceeds 40Gi"},
            "Evicted: Usage of volume exceeds 40Gi",
        ),
        (
            {"phase": "Failed", "reason": "UnexpectedAdmissionError", "message": "no GPU"},
            "UnexpectedAdmissionError: no GPU",
        ),
        ({"phase": "Failed"}, "Failed"),
        ({"phase": "Running"}, ""),
    ],
)
def test_a_pod_that_ended_for_good_says_why(status: dict[str, str], words: str) -> None:
    raw = document()
    raw["status"] |= status
    assert seen(raw).dead == words


CRASH = {
    "restartCount": 4,
    "state": {"waiting": {"reason": "CrashLoopBackOff"}},
    "lastState": {"terminated": {"exitCode": 1, "message": "iptables: permission denied"}},
}


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (
            {"initContainerStatuses": [{"name": "istio-init", **CRASH}]},
            "init container istio-init: ends: exit code 1 after 4 restarts: iptables: permission denied",
        ),
        (
            {
                "containerStatuses": [
                    {"name": "vllm"},
                    {
                        "name": "log-shipper",
                        "state": {"waiting": {"reason": "ImagePullBackOff", "message": "denied"}},
                    },
                ]
            },
            "container log-shipper: denied",
        ),
        ({"initContainerStatuses": [{"name": "done", "ready": True}]}, ""),
    ],
)
def test_a_container_side_fault_the_main_one_says_what_is_wrong_with_it(
    status: dict[str, Any], words: str
) -> None:
    raw = document()
    raw["status"] |= status
    assert seen(raw).side_fault == words


def test_scheduling_gates_are_named() -> None:
    raw = document()
    raw["spec"]["schedulingGates"] = [{"name": "example.com/quota"}]
    assert seen(raw).gates == "example.com/quota"
    assert seen(document()).gates == ""


def test_readiness_gates_are_named_once_the_containers_are_ready() -> None:
    raw = document()
    raw["spec"]["readinessGates"] = [{"conditionType": "target-health.elbv2.k8s.aws/tg"}]
    assert seen(raw).unready == ""
    raw["status"]["conditions"].append({"type": "ContainersReady", "status": "True"})
    assert seen(raw).unready == "target-health.elbv2.k8s.aws/tg"


def test_a_sidecar_counts_once_the_main_container_is_ready() -> None:
    raw = document()
    raw["spec"]["initContainers"] = [
        {"name": "cache-owner"},
        {"name": "agent", "restartPolicy": "Always"},
    ]
    assert seen(raw).unready_sidecar == ""
    raw["status"]["containerStatuses"][0]["ready"] = True
    assert seen(raw).unready_sidecar == "agent"
    raw["status"]["initContainerStatuses"] = [{"name": "agent", "ready": True}]
    assert seen(raw).unready_sidecar == ""


def test_a_pod_has_an_address_and_perhaps_an_agent() -> None:
    raw = document()
    raw["status"]["podIP"] = "10.0.0.7"
    assert (seen(raw).address, seen(raw).has_agent) == ("10.0.0.7", False)
    raw["spec"]["initContainers"] = [{"name": "agent", "restartPolicy": "Always"}]
    assert (seen(raw).address, seen(raw).has_agent) == ("10.0.0.7", True)
    del raw["status"]["podIP"]
    assert seen(raw).address == ""
