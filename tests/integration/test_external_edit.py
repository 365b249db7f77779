"""A stored tier of vLLM becomes an external one, and back."""

from gameai_devcluster.api import Api, Json, path
from support.admission import external
from support.live import manifest


def test_a_tier_of_vllm_becomes_external_and_back_by_a_merge_patch(
    api: Api, namespace: str
) -> None:
    made = manifest(namespace, name="turned")
    made["spec"]["class"] = "Bronze"
    made["spec"]["replicas"] = 0
    api.apply(made, manager="kubectl")
    where = path("ModelTier", namespace, "turned")
    elsewhere: Json = {"vllm": None, **external()["engine"]}
    given: Json = {"spec": {"model": None, "scaling": None, "engine": elsewhere}}
    found = api.patch(where, given)
    assert "vllm" not in found["spec"]["engine"]
    assert found["spec"]["engine"]["external"]["maxContextTokens"] == 32_768
    given = {"spec": {"model": made["spec"]["model"], "engine": {"vllm": {}, "external": None}}}
    found = api.patch(where, given)
    assert found["spec"]["engine"]["vllm"]["image"].startswith("vllm/")
    api.delete("ModelTier", namespace, "turned")
