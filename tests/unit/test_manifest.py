import pytest
from gameai_operator.controller.manifest import (
    MANIFEST_HASH,
    Key,
    Owner,
    Resource,
    controller,
    digest,
    key_of,
    owned_by,
    without_empty,
)
from gameai_operator.kinds import WATCHED, kinds
from gameai_operator.settings import Settings

OWNER = Owner(kind="ModelTier", name="gold", uid="u")
DEPLOYMENTS = Resource(group="apps", version="v1", kind="Deployment", plural="deployments")
PODS = Resource(group="", version="v1", kind="Pod", plural="pods")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"a": None, "b": {}, "c": [], "d": ""}, {"d": ""}),
        ({"a": {"b": {"c": None}}}, {}),
        ({"a": 0, "b": False}, {"a": 0, "b": False}),
        ([{"a": []}, {}, None, "x", ("y",)], ["x", ["y"]]),
        (7, 7),
    ],
)
def test_empty_parts_are_left_out_and_zeros_kept(value: object, expected: object) -> None:
    assert without_empty(value) == expected


def test_an_owned_manifest_names_its_owner_and_its_own_hash() -> None:
    metadata = {"name": "gold", "namespace": "n", "annotations": {"a": "b"}}
    made = owned_by(OWNER, {"kind": "Service", "metadata": metadata, "spec": {}})
    assert controller(made["metadata"]) == OWNER
    annotations = made["metadata"]["annotations"]
    assert set(annotations) == {"a", MANIFEST_HASH}
    again = owned_by(OWNER, {"spec": {}, "metadata": metadata, "kind": "Service"})
    assert again["metadata"]["annotations"] == annotations


@pytest.mark.parametrize(
    "other",
    [{"kind": "Service"}, {"spec": {"x": 1}}, {"metadata": {"name": "g", "namespace": "n"}}],
)
def test_any_change_changes_the_hash(other: dict[str, object]) -> None:
    base = {"kind": "Pod", "metadata": {"name": "gold", "namespace": "n"}, "spec": {"x": 2}}
    hashes = {
        owned_by(OWNER, each)["metadata"]["annotations"][MANIFEST_HASH]
        for each in (base, base | other)
    }
    assert len(hashes) == 2


def test_a_digest_does_not_hang_on_key_order() -> None:
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})


def test_only_a_controller_owner_counts() -> None:
    reference = {"kind": "ModelTier", "name": "gold", "uid": "u"}
    assert controller({"ownerReferences": [reference]}) is None
    assert controller({}) is None
    assert controller({"ownerReferences": [reference, {**reference, "controller": True}]}) == OWNER


def test_paths_are_those_of_the_api_server() -> None:
    assert DEPLOYMENTS.path("n", "x") == "/apis/apps/v1/namespaces/n/deployments/x"
    assert DEPLOYMENTS.path() == "/apis/apps/v1/deployments"
    assert PODS.path("n") == "/api/v1/namespaces/n/pods"
    assert (DEPLOYMENTS.api_version, PODS.api_version) == ("apps/v1", "v1")


def test_a_key_reads_as_kind_namespace_name() -> None:
    document = {"kind": "Pod", "metadata": {"name": "a", "namespace": "n"}}
    assert str(key_of(document)) == "Pod/n/a"
    assert key_of(document) == Key("Pod", "n", "a")


def test_only_children_are_found_by_a_label() -> None:
    found = {name for name, each in WATCHED.items() if each.resource.labelled}
    assert found == set(WATCHED) - {"Namespace", "Node"}
    assert not any(each.resource.labelled for each in kinds(Settings()).values())
