"""What the chart's policy lets manifests ask for."""

from typing import Any

import pytest
from gameai_devcluster.testing.rendering import decided
from gameai_operator.api.engine import DEFAULT_IMAGE
from gameai_operator.controller.manifest import Key
from gameai_operator.controller.plan import Child
from gameai_operator.settings import NetworkSettings, PodSettings, Policy, Settings
from support import tiers, worlds

HUB = "huggingFace"

TO_A_BLOCK = {"allowTo": [{"ipBlock": {"cidr": "203.0.113.0/24"}}]}
FROM_PODS = {"allowFrom": [{"podSelector": {"matchLabels": {"a": "b"}}}]}


def tier(hub: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    return tiers.resource(model={"source": {HUB: {"repository": "a/b", **(hub or {})}}}, **spec)


def service(**given: Any) -> dict[str, Any]:
    return worlds.resource(services=[{"name": "duel", "image": "games/duel:1", **given}])


def stateful(**database: Any) -> dict[str, Any]:
    external = {**worlds.DATABASE, **database}
    return worlds.resource(services=[{"name": "state-manager"}], database={"external": external})


def reasons(root: dict[str, Any], policy: Policy, pods: PodSettings | None = None) -> list[str]:
    """Why a decision is not carried out, by its conditions' reasons; what is allowed renders Deployments."""
    settings = Settings(policy=policy, pods=pods or PodSettings())
    decision = decided(root, settings, references=worlds.READY_TIERS)
    rendered = {each["kind"] for each in decision.wanted or ()}
    found = [each.reason for each in decision.conditions if each.type == "Stalled" and each.status]
    assert bool(found) is ("Deployment" not in rendered)
    assert ("Deployment" in rendered) <= (
        "NetworkPolicy" in rendered or root["spec"].get("network") == {"mode": "Open"}
    )
    return found


@pytest.mark.parametrize(
    ("root", "policy", "expected"),
    [
        (tier(), {}, []),
        (tier(), {"hubs": ("huggingface.co",)}, []),
        (tier(), {"hubs": ()}, ["HubNotAllowed"]),
        (tier({"endpoint": "https://hub.example.com"}), {"hubs": ("*.Example.com",)}, []),
        (tier({"endpoint": "https://HUB.example.com."}), {"hubs": ("hub.example.com",)}, []),
        (tier({"endpoint": "https://example.com"}), {"hubs": ("*.example.com",)}, ["HubNotAllowed"]),
        (tier({"endpoint": "https://evil.io/hub.example.com"}), {"hubs": ("hub.example.com",)}, ["HubNotAllowed"]),
        # One that programs read differently: the image's own would go to evil.io.
        (tier({"endpoint": "https://evil.io\\@hub.example.com"}), {"hubs": ("hub.example.com",)}, ["HubNotAllowed"]),
        (tier({"endpoint": "https://hub.example.com@evil.io"}), {"hubs": ("hub.example.com",)}, ["HubNotAllowed"]),
        (tier({"tokenSecretRef": {"name": "db", "key": "k"}}), {"secrets": ("hf",)}, ["SecretNotAllowed"]),
        (tier({"tokenSecretRef": {"name": "hf", "key": "k"}}), {"secrets": ("hf",)}, []),
        (tier(serviceAccountName="admin"), {"service_accounts": ()}, ["ServiceAccountNotAllowed"]),
        (tier(), {"service_accounts": ()}, []),
        (tier(engine={"vllm": {"image": "evil/vllm:v0.32.0"}}), {"images": ("vllm/vllm-openai",)}, ["ImageNotAllowed"]),
        (tier(), {"images": ("vllm/vllm-openai",)}, []),
        (tier(), {"images": ("vllm/vllm",)}, ["ImageNotAllowed"]),
        (service(), {"images": ("games/",)}, []),
        (service(), {"images": ("games/duel",)}, []),
        (service(), {"images": ("games/due",)}, ["ImageNotAllowed"]),
        (worlds.resource(), {"images": ()}, []),
        (service(serviceAccountName="admin"), {"service_accounts": ("duel",)}, ["ServiceAccountNotAllowed"]),
        (service(envFrom=[{"secretRef": {"name": "db"}}]), {"secrets": ()}, ["SecretNotAllowed"]),
        (service(envFrom=[{"configMapRef": {"name": "db"}}]), {"secrets": ()}, []),
        (stateful(), {"secrets": ("games-app",), "open_networks": False}, []),
        (stateful(), {"secrets": ()}, ["SecretNotAllowed"]),
        (stateful(host="db.example.com"), {"open_networks": False}, ["NetworkNotAllowed"]),
        (worlds.resource(network={"mode": "Open"}), {"open_networks": False}, ["NetworkNotAllowed"]),
        (worlds.resource(network=TO_A_BLOCK), {"open_networks": False}, ["NetworkNotAllowed"]),
        (worlds.resource(network=FROM_PODS), {"open_networks": False}, []),
    ],
)  # fmt: skip
def test_a_manifest_asks_for_what_the_chart_allows(
    root: dict[str, Any], policy: dict[str, Any], expected: list[str]
) -> None:
    assert reasons(root, Policy(**policy)) == expected


def test_vllms_own_image_comes_from_the_charts_registry_and_is_judged_as_such() -> None:
    pods = PodSettings(registry="registry.example/mirror", pull_secrets=("registry",))
    assert reasons(tier(), Policy(images=("registry.example/",)), pods) == []
    decision = decided(tier(imagePullSecrets=[{"name": "own"}]), Settings(pods=pods))
    [deployment] = [each for each in decision.wanted or () if each["kind"] == "Deployment"]
    spec = deployment["spec"]["template"]["spec"]
    assert spec["containers"][0]["image"] == f"registry.example/mirror/{DEFAULT_IMAGE}"
    assert spec["imagePullSecrets"] == [{"name": "own"}, {"name": "registry"}]
    assert PodSettings.parse(pods.document()) == pods


def test_a_world_whose_policy_is_there_already_goes_on_when_its_network_may_not_be_opened() -> None:
    policy = Settings(policy=Policy(open_networks=False))
    name = Key("NetworkPolicy", "eldermoor", "moor-world")
    live = Child(
        key=name,
        uid="u",
        version=1,
        owner=None,
        terminating=False,
        manifest_hash="",
    )
    root = worlds.resource(network={"mode": "Open"})
    decision = decided(root, policy, references=worlds.READY_TIERS, children={name: live})
    assert "Deployment" in {each["kind"] for each in decision.wanted}
    assert name in decision.keep


def test_a_world_that_has_no_policy_yet_does_not_begin_with_one_that_cannot_be_rendered() -> None:
    peer = {"namespaceSelector": {"matchLabels": {"a b": "c"}}}
    root = worlds.resource(network={"allowFrom": [peer]})
    decision = decided(root, references=worlds.READY_TIERS)
    assert "Deployment" not in {each["kind"] for each in decision.wanted}
    without = Settings(network=NetworkSettings(policies=False))
    decision = decided(root, without, references=worlds.READY_TIERS)
    assert "Deployment" in {each["kind"] for each in decision.wanted}, "others make the policies"
