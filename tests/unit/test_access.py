from typing import Any

import pytest
from gameai_operator.api.access import Access
from gameai_operator.api.views import namespace_labels, tier_view


def selector(**parts: Any) -> dict[str, Any]:
    return {"from": "Selector", "namespaceSelector": parts}


def requirement(operator: str, *values: str) -> dict[str, Any]:
    entry: dict[str, Any] = {"key": "studio", "operator": operator}
    return entry | ({"values": list(values)} if values else {})


@pytest.mark.parametrize(
    ("access", "labels", "permitted"),
    [
        ({}, {}, False),
        ({"from": "All"}, None, True),
        (selector(), {}, True),
        (selector(), None, False),
        (selector(matchLabels={"studio": "games"}), {"studio": "games"}, True),
        (selector(matchLabels={"studio": "games"}), {"studio": "other"}, False),
        (selector(matchLabels={"studio": "games"}), {}, False),
        (selector(matchExpressions=[requirement("In", "a", "b")]), {"studio": "b"}, True),
        (selector(matchExpressions=[requirement("In", "a", "b")]), {}, False),
        (selector(matchExpressions=[requirement("NotIn", "a")]), {}, True),
        (selector(matchExpressions=[requirement("NotIn", "a")]), {"studio": "a"}, False),
        (selector(matchExpressions=[requirement("Exists")]), {"studio": "x"}, True),
        (selector(matchExpressions=[requirement("Exists")]), {}, False),
        (selector(matchExpressions=[requirement("DoesNotExist")]), {}, True),
        (selector(matchExpressions=[requirement("DoesNotExist")]), {"studio": "x"}, False),
        ({"from": "Selector"}, {}, False),
    ],
)
def test_another_namespace_is_admitted_as_access_says(
    access: dict[str, Any], labels: dict[str, str] | None, permitted: bool
) -> None:
    assert Access.model_validate(access).permits("own", "other", labels) is permitted


def test_its_own_namespace_is_always_admitted() -> None:
    assert Access().permits("own", "own", None)


def test_a_tier_shows_access_readiness_and_endpoint_and_no_counts() -> None:
    root: dict[str, Any] = {
        "metadata": {"name": "gold"},
        "spec": {"access": {"from": "All"}},
        "status": {
            "endpoint": "http://gold.n.svc:8000",
            "readyReplicas": 3,
            "conditions": [{"type": "Ready", "status": "True", "reason": "AllReplicasReady"}],
        },
    }
    view = tier_view(root)
    assert view is not None
    assert (view.ready, view.reason, view.endpoint) == (True, "", "http://gold.n.svc:8000")
    root["status"]["readyReplicas"] = 4
    root["status"]["conditions"][0]["reason"] = "MinimumReplicasReady"
    assert tier_view(root) == view


def test_a_tier_without_a_report_is_not_ready_and_one_that_goes_is_gone() -> None:
    view = tier_view({"metadata": {}, "spec": {}})
    assert view is not None
    assert (view.ready, view.reason) == (False, "Unseen")
    assert tier_view({"metadata": {"deletionTimestamp": "x"}, "spec": {}}) is None


def test_access_that_only_a_newer_operator_understands_admits_no_world() -> None:
    view = tier_view({"metadata": {}, "spec": {"access": {"from": "Friends"}}})
    assert view is not None
    assert not view.access.permits("own", "other", {})


def test_of_a_namespace_only_its_labels_matter() -> None:
    assert namespace_labels({"metadata": {"labels": {"a": "b"}, "uid": "x"}}) == {"a": "b"}
    assert namespace_labels({"metadata": {}}) == {}
