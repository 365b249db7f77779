"""The chart's node pools for GPU tiers on EKS."""

from typing import Any

import pytest
from gameai_devcluster import charts
from support.rendered_charts import named, of_kind

NODES = {"role": "KarpenterNodeRole-games", "discovery": "games", "amiAlias": "al2023@v20261101"}
ENABLED: dict[str, Any] = {"karpenter": {"enabled": True, "nodeClass": NODES}}


def test_without_the_value_there_are_no_pools() -> None:
    kinds = {each["kind"] for each in charts.rendered()}
    assert not kinds & {"NodePool", "EC2NodeClass"}


def test_each_class_has_a_pool_of_each_capacity_type() -> None:
    documents = charts.rendered(values=ENABLED)
    (node_class,) = of_kind(documents, "EC2NodeClass")
    pools = {each["metadata"]["name"]: each["spec"] for each in of_kind(documents, "NodePool")}
    assert sorted(pools) == [
        "gameai-operator-gameai-system-gpu-gold-on-demand",
        "gameai-operator-gameai-system-gpu-gold-spot",
        "gameai-operator-gameai-system-gpu-silver-on-demand",
        "gameai-operator-gameai-system-gpu-silver-spot",
    ]
    for name, spec in pools.items():
        template = spec["template"]["spec"]
        requirements = {each["key"]: each["values"] for each in template["requirements"]}
        capacity = "spot" if name.endswith("spot") else "on-demand"
        assert requirements["karpenter.sh/capacity-type"] == [capacity]
        assert template["nodeClassRef"]["name"] == node_class["metadata"]["name"]
        assert template["taints"] == [{"key": "nvidia.com/gpu", "effect": "NoSchedule"}]
    gold = pools["gameai-operator-gameai-system-gpu-gold-spot"]
    assert gold["limits"] == {"nvidia.com/gpu": 50}
    assert gold["disruption"]["consolidationPolicy"] == "WhenEmpty"
    types = gold["template"]["spec"]["requirements"][2]["values"]
    assert types == ["g5.xlarge", "g6.xlarge"]


def test_classes_are_added_and_removed_by_name() -> None:
    classes = {"silver": None, "large": {"instanceTypes": ["g6e.2xlarge"], "maxGpus": 8}}
    documents = charts.rendered(
        values={"karpenter": {"enabled": True, "nodeClass": NODES, "classes": classes}}
    )
    names = {each["metadata"]["name"] for each in of_kind(documents, "NodePool")}
    assert "gameai-operator-gameai-system-gpu-large-spot" in names
    assert not [each for each in names if "silver" in each]
    assert named(documents, "NodePool", "gameai-operator-gameai-system-gpu-large-spot")["spec"][
        "limits"
    ] == {"nvidia.com/gpu": 8}


@pytest.mark.parametrize(("missing", "words"), [(name, f"nodeClass.{name}") for name in NODES])
def test_what_only_the_user_knows_is_asked_for(missing: str, words: str) -> None:
    nodes = {name: value for name, value in NODES.items() if name != missing}
    with pytest.raises(Exception, match=words):
        charts.rendered(values={"karpenter": {"enabled": True, "nodeClass": nodes}})
