from typing import Any

import pytest
from gameai_operator.controller.field_ownership import applied_fields, lost, rivals

MANIFEST: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "gold", "namespace": "n", "labels": {"a": "b"}},
    "spec": {
        "selector": {"x": "y"},
        "ports": [{"name": "http", "port": 8000, "protocol": "TCP"}],
        "finalizers": ["one"],
        "args": ["--a", "--b"],
    },
}


def fields() -> dict[str, Any]:
    return {
        "f:metadata": {"f:labels": {"f:a": {}}},
        "f:spec": {
            "f:selector": {},
            "f:ports": {
                'k:{"port":8000,"protocol":"TCP"}': {
                    ".": {},
                    "f:name": {},
                    "f:port": {},
                    "f:protocol": {},
                }
            },
            "f:finalizers": {'v:"one"': {}},
            "f:args": {},
        },
    }


def test_a_manifest_whose_fields_are_all_ours_has_lost_nothing() -> None:
    assert lost(MANIFEST, fields()) == ()


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (("f:metadata", "f:labels", "f:a"), ".metadata.labels.a"),
        (("f:metadata", "f:labels"), ".metadata.labels"),
        (("f:spec", "f:selector"), ".spec.selector"),
        (("f:spec", "f:args"), ".spec.args"),
        (("f:spec", "f:finalizers", 'v:"one"'), ".spec.finalizers[None]"),
        (
            ("f:spec", "f:ports", 'k:{"port":8000,"protocol":"TCP"}', "f:name"),
            '.spec.ports[k:{"port":8000,"protocol":"TCP"}].name',
        ),
    ],
)
def test_a_field_that_moved_to_another_manager_is_lost(
    path: tuple[str, ...], expected: str
) -> None:
    tree = fields()
    node = tree
    for step in path[:-1]:
        node = node[step]
    del node[path[-1]]
    if not node:  # a set that lost its last entry is no longer listed as one
        node["f:else"] = {}
    assert lost(MANIFEST, tree) == (expected,)


def test_a_list_item_with_another_key_is_not_ours() -> None:
    tree = fields()
    ports = tree["f:spec"]["f:ports"]
    ports['k:{"port":8001,"protocol":"TCP"}'] = ports.pop('k:{"port":8000,"protocol":"TCP"}')
    assert lost(MANIFEST, tree) == (".spec.ports[None]",)


def test_a_key_that_we_left_to_its_default_still_names_the_item() -> None:
    manifest = {"metadata": {}, "spec": {"ports": [{"port": 8000}]}}
    tree: dict[str, Any] = {
        "f:metadata": {},
        "f:spec": {"f:ports": {'k:{"port":8000,"protocol":"TCP"}': {"f:port": {}}}},
    }
    assert lost(manifest, tree) == ()


def test_a_scalar_that_became_a_map_is_no_field_of_ours_to_judge() -> None:
    tree: dict[str, Any] = {"f:metadata": {}, "f:spec": {"f:a": {}}}
    assert lost({"metadata": {}, "spec": "x"}, tree) == ()


def test_our_entry_is_the_one_that_we_applied_to_the_object_itself() -> None:
    ours = {"manager": "gameai-operator", "operation": "Apply", "fieldsV1": {"f:spec": {}}}
    others = [
        {**ours, "manager": "kubectl", "fieldsV1": {}},
        {**ours, "operation": "Update", "fieldsV1": {}},
        {**ours, "subresource": "status", "fieldsV1": {}},
    ]
    assert applied_fields({"managedFields": [*others, ours]}) == {"f:spec": {}}
    assert applied_fields({"managedFields": others}) is None
    assert applied_fields({}) is None


def test_the_holder_of_what_we_would_write_is_named() -> None:
    ours: dict[str, Any] = {"f:spec": {"f:type": {}}}
    entries = [
        {"manager": "gameai-operator", "operation": "Apply", "fieldsV1": ours},
        {"manager": "helm", "operation": "Update", "fieldsV1": {"f:spec": {"f:clusterIP": {}}}},
        {"manager": "kubectl", "operation": "Update", "fieldsV1": {"f:spec": {"f:ports": {}}}},
        {"manager": "kubelet", "subresource": "status", "fieldsV1": {"f:status": {}}},
    ]
    wanted = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "a", "namespace": "n"},
        "spec": {"type": "ClusterIP", "clusterIP": "None"},
    }
    assert rivals(wanted, entries) == ("helm",)
    assert rivals(wanted, entries[:1]) == ()
    scaled = {
        "manager": "hpa",
        "operation": "Update",
        "subresource": "scale",
        "fieldsV1": {"f:spec": {"f:clusterIP": {}}},
    }
    own = {**entries[0], "manager": "gameai-operator-replicas"}
    assert rivals(wanted, [entries[0], own, scaled]) == ("hpa",)
    assert rivals(wanted, entries[1:3]) == ("helm", "kubectl"), "nothing of it is ours"
