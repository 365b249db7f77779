import pytest
from gameai_operator.controller.pod_facts import Pod
from support.tier_decisions import a_pod, decided, said


def test_a_new_tier_is_starting_and_in_progress() -> None:
    decision = decided()
    assert (said(decision).status, said(decision).reason) == (False, "Starting")
    assert said(decision).message == "0 of 1 replicas are ready"
    assert said(decision, "Reconciling").status is True
    assert said(decision, "Stalled").status is False
    assert said(decision, "ArgumentsChecked").reason == "KnownVersion"


def test_a_tier_whose_replicas_answer_is_ready() -> None:
    decision = decided(live={})
    assert (said(decision).status, said(decision).reason) == (True, "AllReplicasReady")
    assert said(decision, "Reconciling").status is False
    assert decision.status["capacity"] == {
        "onDemand": 0,
        "spot": 0,
        "any": 1,
        "lent": 0,
        "headroom": 0,
    }
    assert decision.status["endpoint"] == "http://gold.eldermoor.svc:8000"
    assert decision.status["selector"] == "app.kubernetes.io/name=vllm,gameai.dev/tier=gold"


@pytest.mark.parametrize(
    ("replicas", "minimum", "answering", "status", "reason"),
    [
        (5, 1, 1, True, "MinimumReplicasReady"),
        (5, 3, 2, False, "Starting"),
        (5, 3, 3, True, "MinimumReplicasReady"),
        (2, 9, 1, False, "Starting"),
        (2, 9, 2, True, "AllReplicasReady"),
        (3, 0, 0, False, "Starting"),
        (0, 1, 0, True, "ScaledToZero"),
    ],
)
def test_a_tier_is_ready_when_its_minimum_answers(
    replicas: int, minimum: int, answering: int, status: bool, reason: str
) -> None:
    decision = decided(
        live={"ready": answering}, replicas=replicas, capacity={"minimumOnDemand": minimum}
    )
    assert (said(decision).status, said(decision).reason) == (status, reason)


@pytest.mark.parametrize(
    ("pod", "reason", "words"),
    [
        (
            a_pod(waiting=("CreateContainerConfigError", 'secret "hf" not found')),
            "SecretMissing",
            'Secret "hf" is missing: create it',
        ),
        (
            a_pod(waiting=("CreateContainerConfigError", "couldn't find key token in Secret n/hf")),
            "SecretMissing",
            'Secret "hf" has no key "token": add it',
        ),
        (
            a_pod(unschedulable='0/3 nodes: persistentvolumeclaim "models" not found.'),
            "VolumeClaimMissing",
            'PersistentVolumeClaim "models" is missing',
        ),
    ],
)
def test_what_only_the_user_can_correct_stalls(pod: Pod, reason: str, words: str) -> None:
    decision = decided(pod, live={"ready": 0, "rolling": True})
    for kind, status in (("Ready", False), ("Stalled", True)):
        assert (said(decision, kind).status, said(decision, kind).reason) == (status, reason)
        assert words in said(decision, kind).message
    assert said(decision, "Reconciling").status is False


@pytest.mark.parametrize(
    ("pod", "reason", "words"),
    [
        (a_pod(unschedulable="0/3 nodes"), "InsufficientCapacity", "scheduler: 0/3 nodes"),
        (a_pod(waiting=("ImagePullBackOff", "no host")), "ImagePullFailed", "kubelet: no host"),
        (a_pod(waiting=("CreateContainerError", "x")), "ContainerNotCreated", "kubelet: x"),
        (a_pod(crash="exit code 2"), "EngineCrashing", "vLLM exited: exit code 2"),
        (
            a_pod(side_fault="init container x: denied"),
            "ContainerFailing",
            "init container x: denied",
        ),
        (a_pod(gates="example.com/quota"), "SchedulingGated", "example.com/quota"),
        (a_pod(unready="elb/tg"), "ReadinessGatesClosed", "elb/tg"),
        (
            a_pod(unready_sidecar="agent"),
            "SidecarNotReady",
            "but another container of its pod is not: kubectl logs p -c agent",
        ),
        (
            a_pod(dead="Evicted: too much"),
            "PodsEvicted",
            "Evicted: too much (see spec.model.source or spec.model.cache)",
        ),
        (a_pod(dead="NodeShutdown: bye"), "PodsFailed", "NodeShutdown: bye"),
        (
            a_pod(unschedulable="0/3 nodes: 3 node(s) didn't match Pod's node affinity/selector"),
            "InsufficientCapacity",
            "add such nodes, or change spec.hardware.instanceTypes, spec.hardware.nodeSelector, spec.capacity.spotPercent",
        ),
    ],
)
def test_what_may_heal_by_itself_does_not_stall(pod: Pod, reason: str, words: str) -> None:
    decision = decided(pod, live={"ready": 0, "rolling": True})
    assert (said(decision).status, said(decision).reason) == (False, reason)
    assert words in said(decision).message
    assert said(decision, "Stalled").status is False
    assert said(decision, "Reconciling").status is True


def test_a_dead_pod_never_speaks_for_a_tier_whose_pods_all_answer() -> None:
    dead = a_pod(crash="exit code 1 after 2 restarts: Error", dead="Evicted: too much")
    assert said(decided(dead, live={})).message == "1 of 1 replicas are ready"
    living = a_pod(unschedulable="0/3 nodes")
    short = decided(dead, living, live={"ready": 0})
    assert said(short).reason == "InsufficientCapacity", "a living pod says why"


def test_a_tier_without_gpus_needs_an_image_that_needs_none() -> None:
    decision = decided(live={"ready": 0}, hardware={"gpus": 0})
    assert (said(decision).reason, said(decision, "Stalled").status) == ("ImageNeedsGPU", True)
    assert "spec.engine.vllm.image" in said(decision).message
    own = {"vllm": {"image": "registry.example:5000/vllm-cpu:v0.32.0"}}
    assert said(decided(hardware={"gpus": 0}, engine=own)).reason == "Starting"
    assert said(decided(live={}, hardware={"gpus": 0})).status is True, "it answers all the same"


def test_all_mistakes_of_a_tier_are_reported_at_once() -> None:
    pod = a_pod(waiting=("CreateContainerConfigError", 'secret "hf" not found'))
    args = {"vllm": {"args": ["--port=1", "--max-num-seqs 3"]}}
    message = said(decided(pod, live={"ready": 0}, engine=args), "Stalled").message
    assert "--port is not allowed in args" in message
    assert "--max-num-seqs=VALUE" in message
    assert 'Secret "hf" is missing' in message


def test_a_roll_out_without_room_for_a_surge_names_the_remedy() -> None:
    pod = a_pod(unschedulable="0/39 nodes are available")
    decision = decided(pod, live={"rolling": True, "exceeded": True})
    reconciling = said(decision, "Reconciling")
    assert (reconciling.status, reconciling.reason) == (True, "ProgressDeadlineExceeded")
    assert "maxSurge: 0, maxUnavailable: 1" in reconciling.message
    crash = a_pod(crash="exit code 1")
    other = said(decided(crash, live={"rolling": True, "exceeded": True}), "Reconciling")
    assert "EngineCrashing" in other.message
    assert "maxSurge" not in other.message
    silent = said(decided(live={"rolling": True, "exceeded": True}), "Reconciling")
    assert silent.reason == "ProgressDeadlineExceeded"


def test_a_number_of_replicas_that_a_policy_overrides_is_reported() -> None:
    decision = decided(live={"asked": 2, "wanted": 1, "ready": 1}, replicas=2)
    assert "2 replicas were requested, but the object has 1" in said(decision).message


def test_pods_that_the_api_server_refuses_are_reported() -> None:
    decision = decided(live={"ready": 0, "create_fault": "exceeded quota"})
    assert (said(decision).reason, said(decision).message) == (
        "PodsRefused",
        "0 of 1 replicas are ready; API server: exceeded quota",
    )


def test_pods_that_answer_or_go_are_no_fault() -> None:
    pods = (a_pod(ready=True, unschedulable="x"), a_pod(terminating=True, unschedulable="x"))
    assert said(decided(*pods, live={})).reason == "AllReplicasReady"


def test_a_ready_tier_shows_what_keeps_the_rest_away() -> None:
    decision = decided(a_pod(unschedulable="0/3"), live={"ready": 1}, replicas=3)
    assert said(decision).message == (
        "1 of 3 replicas are ready; InsufficientCapacity: scheduler: 0/3; "
        "one replica requests cpu 3, memory 11Gi, nvidia.com/gpu 1"
    )


def test_the_same_words_are_reported_whatever_the_order_of_pods() -> None:
    pods = [a_pod(unschedulable=text) for text in ("b", "a", "")]
    messages = {said(decided(*order, live={"ready": 0})).message for order in (pods, pods[::-1])}
    assert len(messages) == 1
    assert messages.pop().startswith("0 of 1 replicas are ready; scheduler: a; one replica")
