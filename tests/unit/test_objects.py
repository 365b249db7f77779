import ast
import dataclasses
import re
import subprocess
from typing import Any

import pytest
from gameai_devcluster.testing.rendering import NOW
from gameai_operator.api.tier import ModelTier
from gameai_operator.controller.kind import Observed
from gameai_operator.resources.deployment import TEMPLATE_HASH, changes
from gameai_operator.settings import NetworkSettings, PodSettings
from gameai_operator.tier import objects
from gameai_operator.tier.decide import decide
from gameai_operator.tier.objects import Live
from gameai_operator.tier.revisions import REVISIONS
from gameai_operator.tier.template import KEEP_ALIVE_SECONDS, arguments
from support import tiers

SPOT = {"capacity": {"spotPercent": 80}, "replicas": 5}


def deployments(tier: ModelTier, live: Live = tiers.NOTHING) -> dict[str, dict[str, Any]]:
    """Rendered Deployments by capacity."""
    made = objects.deployments(tier, live, tiers.CURRENT)
    return {each["metadata"]["labels"]["gameai.dev/capacity"]: each for each in made}


def sizes(tier: ModelTier) -> dict[str, int]:
    """Replicas of the Deployments of a new tier, by capacity."""
    observed = Observed(root=tier.model_dump(by_alias=True), children={}, pods=(), now=NOW)
    found = decide(observed, current=tiers.CURRENT, network=NetworkSettings()).replicas
    return {key.name.removeprefix("gold-"): number for key, number in found.items()}


def pod_spec(**spec: Any) -> dict[str, Any]:
    made: dict[str, Any] = deployments(tiers.tier(**spec))["on-demand"]["spec"]["template"]["spec"]
    return made


def environment(**spec: Any) -> dict[str, Any]:
    return {entry["name"]: entry for entry in pod_spec(**spec)["containers"][0]["env"]}


def test_without_spot_there_is_one_deployment_and_no_affinity() -> None:
    made = deployments(tiers.tier(replicas=3))
    assert set(made) == {"on-demand"}
    assert sizes(tiers.tier(replicas=3)) == {"on-demand": 3, "spot": 0}
    assert "replicas" not in made["on-demand"]["spec"]
    assert "affinity" not in made["on-demand"]["spec"]["template"]["spec"]


def test_with_spot_each_deployment_asks_for_its_capacity_type() -> None:
    made = deployments(tiers.tier(**SPOT, hardware={"instanceTypes": ["g5.xlarge"]}))
    assert sizes(tiers.tier(**SPOT)) == {"on-demand": 1, "spot": 4}
    terms = made["spot"]["spec"]["template"]["spec"]["affinity"]["nodeAffinity"][
        "requiredDuringSchedulingIgnoredDuringExecution"
    ]["nodeSelectorTerms"][0]["matchExpressions"]
    assert terms == [
        {"key": "karpenter.sh/capacity-type", "operator": "In", "values": ["spot"]},
        {"key": "node.kubernetes.io/instance-type", "operator": "In", "values": ["g5.xlarge"]},
    ]


def kinds_around(**spec: Any) -> list[str]:
    return [each["kind"] for each in objects.surroundings(tiers.tier(**spec), NetworkSettings())]


def test_a_service_account_is_made_only_where_none_is_named() -> None:
    around = ["ServiceAccount", "NetworkPolicy", "Service", "PodDisruptionBudget"]
    assert kinds_around() == around
    assert kinds_around(serviceAccountName="mine") == around[1:]
    assert kinds_around(serviceAccountName="gold") == around
    assert pod_spec(serviceAccountName="mine")["serviceAccountName"] == "mine"


def test_three_of_four_reclaimed_spot_nodes_can_be_drained_at_once() -> None:
    made = objects.surroundings(tiers.tier(**SPOT), NetworkSettings())
    budgets = {
        each["metadata"]["name"]: each["spec"]
        for each in made
        if each["kind"] == "PodDisruptionBudget"
    }
    assert {name: spec["maxUnavailable"] for name, spec in budgets.items()} == {
        "gold-on-demand": 1,
        "gold-spot": "75%",
    }
    for name, spec in budgets.items():
        label = spec["selector"]["matchLabels"]["gameai.dev/capacity"]
        assert name == f"gold-{label}", "a pod in two budgets could not be evicted at all"


def test_a_cpu_tier_asks_for_no_gpu_and_tolerates_none() -> None:
    spec = pod_spec(hardware={"gpus": 0})
    assert "tolerations" not in spec
    assert set(spec["containers"][0]["resources"]["requests"]) == {"cpu", "memory"}


def test_several_gpus_split_the_model() -> None:
    spec = pod_spec(hardware={"gpus": 4})
    assert "--tensor-parallel-size=4" in spec["containers"][0]["args"]
    assert spec["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "4"
    assert not any("tensor" in each for each in pod_spec()["containers"][0]["args"])


def test_cpu_is_never_limited_and_memory_always_is() -> None:
    resources = pod_spec()["containers"][0]["resources"]
    assert resources["requests"]["memory"] == resources["limits"]["memory"]
    assert "cpu" not in resources["limits"]


def test_the_grace_period_holds_the_sleep_the_drain_and_the_teardown() -> None:
    for name, profile in (("Gold", 10), ("Silver", 60), ("Bronze", 300)):
        spec = pod_spec(**{"class": name})
        [*_, script] = spec["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
        slept = int(re.findall(r"sleep (\d+) ;;$", script, re.MULTILINE)[-1])
        assert spec["terminationGracePeriodSeconds"] >= slept + profile + 15
        assert f"--drain-seconds={profile}" in spec["initContainers"][0]["args"]
        assert f"'/drain', {profile + 5})" in script
        assert f"--shutdown-timeout={profile}" in spec["containers"][0]["args"]


def test_only_an_engine_whose_port_refuses_is_killed_before_it_is_asked_to_end() -> None:
    [*_, script] = pod_spec()["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
    asked, killed = script.index("except ConnectionRefusedError"), script.index("kill -9 -1")
    assert script.index("case $? in") in range(asked, killed)
    assert "sys.exit(7)" in script
    assert re.search(r"^ +7\) while .* kill -9 -1", script, re.MULTILINE)
    # A shell that understands it, and Python that does; it is run by `make e2e-vllm` alone.
    subprocess.run(["sh", "-n", "-c", script], check=True)
    ast.parse(script.split('"')[1])


def test_a_tier_of_the_first_revision_sleeps_as_before() -> None:
    first = dataclasses.replace(tiers.CURRENT, revision=1)
    [made] = objects.deployments(tiers.tier(), tiers.NOTHING, first)
    spec = made["spec"]["template"]["spec"]
    assert spec["containers"][0]["lifecycle"]["preStop"] == {"sleep": {"seconds": 5}}


def test_the_start_timeout_reaches_probe_engine_and_roll_out() -> None:
    made = deployments(tiers.tier(engine={"vllm": {"startTimeoutSeconds": 901}}))["on-demand"]
    container = made["spec"]["template"]["spec"]["containers"][0]
    probe = container["startupProbe"]
    assert probe["failureThreshold"] * probe["periodSeconds"] >= 901
    values = {entry["name"]: entry.get("value") for entry in container["env"]}
    assert values["VLLM_ENGINE_READY_TIMEOUT_S"] == "901"
    assert made["spec"]["progressDeadlineSeconds"] > 901


def test_vllm_keeps_connections_longer_than_a_gateway_does() -> None:
    assert KEEP_ALIVE_SECONDS > 60
    assert environment()["VLLM_HTTP_TIMEOUT_KEEP_ALIVE"]["value"] == str(KEEP_ALIVE_SECONDS)


def test_a_token_comes_from_its_secret_and_stands_nowhere_else() -> None:
    hub = {"repository": "a/b", "tokenSecretRef": {"name": "hf", "key": "token"}}
    entry = environment(model={"source": {"huggingFace": hub}})["HF_TOKEN"]
    assert entry["valueFrom"] == {"secretKeyRef": {"name": "hf", "key": "token"}}
    assert "HF_TOKEN" not in environment()


def test_a_model_on_a_volume_is_mounted_read_only_and_offline() -> None:
    claim = {"persistentVolumeClaim": {"claimName": "models", "path": "a/b"}}
    spec = pod_spec(model={"source": claim})
    container = spec["containers"][0]
    assert container["args"][0] == "/source/a/b"
    assert {"name": "source", "mountPath": "/source", "readOnly": True} in container["volumeMounts"]
    assert environment(model={"source": claim})["HF_HUB_OFFLINE"]["value"] == "1"


@pytest.mark.parametrize("name", ["Gold", "Silver", "Bronze"])
def test_histograms_are_fine_around_the_target_of_the_class(name: str) -> None:
    tier = tiers.tier(**{"class": name})
    profile = REVISIONS[1][tier.spec.class_]
    target = {"Gold": 0.016, "Silver": 0.25, "Bronze": 30.0}[name]
    near = [bound for bound in profile.latency_buckets if target / 2 <= bound <= target * 2]
    assert target in profile.latency_buckets
    assert len(near) >= 5
    assert list(profile.latency_buckets) == sorted(set(profile.latency_buckets))
    assert any(each.startswith("--custom-histogram-buckets=") for each in arguments(tier, profile))


def test_the_users_arguments_come_last() -> None:
    args = pod_spec(engine={"vllm": {"args": ["--max-num-seqs=9"]}})["containers"][0]["args"]
    assert args[-1] == "--max-num-seqs=9"
    assert args[:2] == ["Qwen/Qwen2.5-3B-Instruct-AWQ", "--served-model-name=gold"]


def test_a_kubelet_expands_nothing_in_an_argument() -> None:
    args = pod_spec(engine={"vllm": {"args": ["$(E)"], "image": "v:1"}})["containers"][0]["args"]
    assert args[-1] == "$$(E)"


def test_replicas_do_not_change_the_template() -> None:
    few, many = (deployments(tiers.tier(replicas=n))["on-demand"] for n in (1, 9))
    assert few["metadata"]["annotations"] == many["metadata"]["annotations"]
    assert few["spec"]["template"] == many["spec"]["template"]


def test_a_live_deployment_changes_only_with_its_template() -> None:
    made = deployments(tiers.tier())["on-demand"]
    assert not changes(made, None)
    assert not changes(made, tiers.as_live(made))
    assert changes(made, tiers.deployment(remembered={TEMPLATE_HASH: "other"}))
    assert not changes(made, tiers.deployment(remembered={}))


def live(before: ModelTier, **on_demand: Any) -> Live:
    """Both Deployments of `before`, complete; facts of the on-demand one replaced."""
    made = deployments(before)
    return Live(
        on_demand=tiers.as_live(made["on-demand"], **on_demand), spot=tiers.as_live(made["spot"])
    )


BEFORE = tiers.tier(**SPOT)
AFTER = tiers.tier(**SPOT, model={"source": {"huggingFace": {"repository": "a/b"}}})


def paused(after: ModelTier, seen: Live) -> dict[str, bool]:
    return {name: each["spec"]["paused"] for name, each in deployments(after, seen).items()}


def test_a_new_tier_starts_both_deployments_at_once() -> None:
    assert paused(BEFORE, tiers.NOTHING) == {"on-demand": False, "spot": False}


def test_a_changed_model_rolls_on_demand_first_and_holds_spot() -> None:
    assert paused(AFTER, live(BEFORE)) == {"on-demand": False, "spot": True}


def test_spot_stays_held_while_on_demand_rolls() -> None:
    new = deployments(AFTER, live(BEFORE))
    rolling = Live(
        on_demand=tiers.as_live(new["on-demand"], rolling=True), spot=tiers.as_live(new["spot"])
    )
    assert paused(AFTER, rolling) == {"on-demand": False, "spot": True}


def test_spot_rolls_when_on_demand_is_done() -> None:
    new = deployments(AFTER, live(BEFORE))
    done = Live(on_demand=tiers.as_live(new["on-demand"]), spot=tiers.as_live(new["spot"]))
    assert done.spot is not None
    assert done.spot.paused
    assert paused(AFTER, done) == {"on-demand": False, "spot": False}


def test_a_rolling_tier_that_is_not_changed_holds_nothing() -> None:
    assert paused(BEFORE, live(BEFORE, rolling=True)) == {"on-demand": False, "spot": False}


def test_spot_stays_held_until_on_demand_has_seen_its_new_template() -> None:
    new = deployments(AFTER, live(BEFORE))
    unseen = Live(
        on_demand=tiers.as_live(new["on-demand"], observed=False), spot=tiers.as_live(new["spot"])
    )
    assert paused(AFTER, unseen)["spot"] is True


def test_scaling_holds_nothing() -> None:
    more = tiers.tier(**(SPOT | {"replicas": 20}))
    assert paused(more, live(BEFORE)) == {"on-demand": False, "spot": False}


def test_a_missing_on_demand_deployment_does_not_hold_spot() -> None:
    seen = dataclasses.replace(live(BEFORE), on_demand=None)
    assert paused(AFTER, seen)["spot"] is False


def test_a_cache_on_the_node_is_given_to_the_engine_before_it_starts() -> None:
    source = {"huggingFace": {"repository": "a/b"}}
    model = {"source": source, "cache": {"hostPath": {"path": "/mnt/models"}}}
    owner, agent = pod_spec(model=model)["initContainers"]
    assert (agent["name"], agent["restartPolicy"]) == ("agent", "Always")
    assert owner["command"] == ["chown", "2000:2000", "/models"]
    assert owner["securityContext"]["capabilities"] == {"drop": ["ALL"], "add": ["CHOWN"]}
    [alone] = pod_spec()["initContainers"]
    assert alone["name"] == "agent"


def test_an_agent_stands_beside_the_engine_since_revision_5() -> None:
    [agent] = pod_spec(engine={"vllm": {"args": ["--max-num-seqs=24"]}})["initContainers"]
    assert agent["image"] == tiers.AGENT_IMAGE
    assert agent["resources"]["limits"] == {"memory": "128Mi"}
    assert {"--model=gold", "--class=Gold", "--slots=24"} <= set(agent["args"])
    former = dataclasses.replace(tiers.CURRENT, revision=4)
    [made] = objects.deployments(tiers.tier(), tiers.NOTHING, former)
    assert "initContainers" not in made["spec"]["template"]["spec"]


def test_the_hash_of_an_engine_is_that_of_what_decides_its_speed() -> None:
    def engine_hash(capacity: str = "on-demand", **spec: Any) -> str:
        made = deployments(tiers.tier(capacity={"spotPercent": 50}, **spec))[capacity]
        [agent] = made["spec"]["template"]["spec"]["initContainers"]
        [found] = [e for e in agent["args"] if e.startswith("--engine-hash=")]
        return str(found)

    assert engine_hash() == engine_hash("spot") == engine_hash(podLabels={"team": "npc"})
    others = [
        engine_hash(engine={"vllm": {"args": ["--max-num-seqs=24"]}}),
        engine_hash(engine={"vllm": {"env": [{"name": "A", "value": "1"}]}}),
        engine_hash(hardware={"cpu": "2"}),
        engine_hash(model={"source": {"huggingFace": {"repository": "a/b"}}}),
    ]
    assert len({engine_hash(), *others}) == 5


def test_pods_take_the_settings_of_their_cluster() -> None:
    pods = PodSettings(fixed_ids=False, labels={"cost-center": "games"})
    settings = dataclasses.replace(tiers.CURRENT, pods=pods)
    (made,) = objects.deployments(tiers.tier(), tiers.NOTHING, settings)
    template = made["spec"]["template"]
    assert template["metadata"]["labels"]["cost-center"] == "games"
    assert template["spec"]["securityContext"] == {
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    former = dataclasses.replace(settings, revision=2)
    (kept,) = objects.deployments(tiers.tier(), tiers.NOTHING, former)
    assert "cost-center" not in kept["spec"]["template"]["metadata"]["labels"]
    assert kept["spec"]["template"]["spec"]["securityContext"]["runAsUser"] == 2000


def test_a_cpu_limit_is_set_only_where_it_is_asked_for() -> None:
    resources = pod_spec(hardware={"cpuLimit": 8})["containers"][0]["resources"]
    assert resources["limits"]["cpu"] == "8"
