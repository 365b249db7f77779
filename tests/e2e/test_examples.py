"""Every example, as its user would see it; and what a real kubelet says when something is missing."""

from collections.abc import Callable

import pytest
from gameai_devcluster import e2e
from gameai_devcluster.api import Api, Json, path
from gameai_devcluster.testing.metrics import total
from gameai_devcluster.testing.waiting import condition, until, world_settled
from support import real
from support.live import world

Kubectl = Callable[..., str]
RELOADS = 'gameai_service_config_reloads_total{result="taken"}'


def test_kubectl_waits_for_every_example(examples: list[Json], kubectl: Kubectl) -> None:
    for each in examples:
        metadata = each["metadata"]
        which = f"{each['kind'].lower()}/{metadata['name']}"
        kubectl(
            "-n", metadata["namespace"], "wait", which, "--for=condition=Ready", "--timeout=60s"
        )
    listed = kubectl("get", "gameai", "-A")
    assert all(each["metadata"]["name"] in listed for each in examples)


def test_game_services_are_real_pods_of_the_strictest_kind(
    examples: list[Json], api: Api, environment: e2e.Environment
) -> None:
    pods = real.live(api, "eldermoor", "gameai.dev/world=moor")
    assert len(pods) == 4
    assert all(map(real.is_ready, pods))
    if environment.real_node:
        assert {each["spec"]["nodeName"] for each in pods} == {"real-0"}


def test_somebody_elses_image_runs_and_writes_where_it_may(
    examples: list[Json], api: Api, kubectl: Kubectl, environment: e2e.Environment
) -> None:
    [pod] = real.live(api, "eldermoor", "gameai.dev/service=duel-judge")
    assert pod["spec"]["containers"][0]["image"] == environment.duel_image
    assert "serving on :7000 in world moor" in kubectl(
        "-n", "eldermoor", "logs", pod["metadata"]["name"]
    )


@pytest.fixture
def broken(api: Api, release: dict[str, float]) -> Json:
    return world("e2e", name="broken")


def reason(api: Api, kind: str) -> str:
    return str(condition(api.get("GameWorld", "e2e", "broken"), kind).get("reason"))


def test_a_missing_secret_is_reported_in_the_kubelets_words_and_heals(
    api: Api, broken: Json
) -> None:
    [service, *_] = broken["spec"]["services"]
    broken["spec"]["services"] = [service | {"envFrom": [{"secretRef": {"name": "keys"}}]}]
    api.apply(broken, manager="kubectl")
    until("it is reported", lambda: reason(api, "Stalled") == "SecretMissing", seconds=60)
    message = condition(api.get("GameWorld", "e2e", "broken"), "Stalled")["message"]
    assert "keys" in message
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "keys", "namespace": "e2e"},
    }
    api.create(secret | {"stringData": {"LOG_LEVEL": "DEBUG"}})
    until("healed", lambda: world_settled(api.get("GameWorld", "e2e", "broken")), seconds=120)
    api.delete("GameWorld", "e2e", "broken")


def test_an_image_that_cannot_be_pulled_is_reported_in_the_kubelets_words(
    api: Api, broken: Json
) -> None:
    own = {"name": "duel", "image": "registry.invalid/nobody/duel:1"}
    broken["spec"]["services"] = [own]
    api.apply(broken, manager="kubectl")
    until("it is reported", lambda: reason(api, "Ready") == "ImagePullFailed", seconds=90)
    message = condition(api.get("GameWorld", "e2e", "broken"), "Ready")["message"]
    assert "registry.invalid/nobody/duel:1" in message
    api.delete("GameWorld", "e2e", "broken")


def reloads(api: Api, pod: Json) -> float:
    """How often a replica took a new configuration up."""
    return total(real.metrics(api, pod), RELOADS)


def test_a_changed_configuration_reaches_running_pods(
    examples: list[Json], api: Api, kubectl: Kubectl
) -> None:
    pods = real.live(api, "eldermoor", "gameai.dev/world=moor,gameai.dev/service=weather-manager")
    before = {each["metadata"]["uid"] for each in pods}
    earlier = {each["metadata"]["name"]: reloads(api, each) for each in pods}
    where = path("GameWorld", "eldermoor", "moor")
    roles = api.request("GET", where)["spec"]["roles"]
    api.patch(where, {"spec": {"roles": [*roles, {"name": "rumour", "tierRef": {"name": "gold"}}]}})

    # A kubelet looks after mounted files once a minute or so.
    until(
        "every replica took it up",
        lambda: all(reloads(api, each) > earlier[each["metadata"]["name"]] for each in pods),
        seconds=180,
    )
    api.patch(where, {"spec": {"roles": roles}})
    after = real.live(api, "eldermoor", "gameai.dev/world=moor,gameai.dev/service=weather-manager")
    assert {each["metadata"]["uid"] for each in after} == before
