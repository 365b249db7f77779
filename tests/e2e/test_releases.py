"""Upgrades, rollbacks and removals of the operator, and new images of the game services."""

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import helm_python
import pytest
from gameai_devcluster import charts, e2e, install
from gameai_devcluster.api import Api, Json
from gameai_devcluster.nodes import SIMULATED_TAINT
from gameai_devcluster.testing.audit import AuditLog
from gameai_devcluster.testing.metrics import total
from gameai_devcluster.testing.waiting import condition, until, world_settled
from support import real
from support.live import manifest, world

Kubectl = Callable[..., str]
NAMESPACES = ("eldermoor", "shared", "e2e")
WORLDS = 6
RECONCILED = "controller_runtime_reconcile_total"
pytestmark = pytest.mark.timeout(900)


def state(api: Api) -> dict[str, Json]:
    return {each: real.identities(api, each) for each in NAMESPACES}


def may_restart() -> bool:
    """Whether the changelog says that the unreleased version restarts pods."""
    unreleased = (install.ROOT / "CHANGELOG.md").read_text().split("\n## ")[1]
    return re.search(r"^### Restarts pods$", unreleased, re.MULTILINE) is not None


def wait_acting(api: Api, which: str) -> None:
    """The operator of this release leads and acts: a new world becomes Ready."""
    real.wait_operator(api)
    document = world("e2e", name=which)
    document["spec"]["services"] = [{"name": "time-manager"}]
    api.apply(document, manager="kubectl")
    real.wait_ready(api, "GameWorld", "e2e", which)


def test_an_upgrade_and_a_rollback_of_the_operator_restart_no_pod(
    examples: list[Json],
    environment: e2e.Environment,
    helm: helm_python.Config,
    values: Json,
    api: Api,
) -> None:
    if not environment.former:
        pytest.skip("takes charts and an image of a former commit")
    former = Path(environment.former) / "charts" / "gameai-operator"
    image = {"repository": "former-gameai-operator", "tag": environment.former_operator_tag}
    known = json.loads((former / "values.schema.json").read_text())["properties"]
    given = {name: each for name, each in values.items() if name in known} | {"image": image}
    helm.upgrade(former, "gameai-operator", values=given, reset_values=True)
    wait_acting(api, "former")
    hardware = {"gpus": 0, "cpu": "10m", "memory": "16Mi"}
    hardware |= {"tolerations": [{"key": SIMULATED_TAINT}]}
    tier = manifest("e2e", name="former", hardware=hardware)
    api.apply(tier, manager="kubectl")
    real.wait_ready(api, "ModelTier", "e2e", "former")
    before = state(api)
    for number, step in enumerate(("upgrade", "rollback", "upgrade")):
        if step == "upgrade":
            helm.upgrade(charts.OPERATOR, "gameai-operator", values=values, reset_values=True)
        else:
            helm.rollback("gameai-operator")
        wait_acting(api, f"step{number}")
        api.delete("GameWorld", "e2e", f"step{number}")
        until("it is gone", lambda: not made_by(api, "step"), seconds=120)
        found = state(api)
        if not may_restart():
            assert found == before, f"after {step}"
    for kind in ("GameWorld", "ModelTier"):
        api.delete(kind, "e2e", "former")
    until("nothing of it is left", lambda: not api.list("Deployment", "e2e"), seconds=120)
    until("nor any pod", lambda: not api.list("Pod", "e2e"), seconds=120)


def made_by(api: Api, prefix: str) -> list[str]:
    names = [each["metadata"]["name"] for each in api.list("Pod", "e2e")]
    return [each for each in names if each.startswith(prefix)]


def test_an_uninstalled_operator_leaves_everything_and_a_new_one_writes_nothing(
    examples: list[Json],
    environment: e2e.Environment,
    helm: helm_python.Config,
    values: Json,
    api: Api,
) -> None:
    before, versions = state(api), generations(api)
    helm.uninstall("gameai-operator")
    until("its pods are gone", lambda: not api.list("Pod", real.SYSTEM), seconds=180)
    assert state(api) == before
    audit = AuditLog(Path(environment.audit_log)) if environment.audit_log else None
    helm.install(charts.OPERATOR, "gameai-operator", values=values)
    real.wait_operator(api)
    leads = "gameai_operator_leader 1.0"
    until(
        "one leads",
        lambda: any(leads in real.metrics(api, p) for p in real.operator_pods(api)),
        seconds=60,
    )
    for each in examples:
        metadata = each["metadata"]
        real.wait_ready(api, each["kind"], metadata["namespace"], metadata["name"])
    roots = len(api.list("ModelTier") + api.list("GameWorld"))
    until("it has looked at everything", lambda: reconciled(api) >= roots, seconds=60)
    # What it would write goes out at once, and its line in the audit log follows.
    time.sleep(3.0)
    assert state(api) == before
    assert generations(api) == versions
    if audit:
        assert [str(each) for each in audit.writes()] == []


def reconciled(api: Api) -> float:
    """How many roots the operators looked at, in all."""
    return sum(total(real.metrics(api, each), RECONCILED) for each in real.operator_pods(api))


def generations(api: Api) -> dict[str, int]:
    return {
        f"{namespace}/{each['metadata']['name']}": each["metadata"]["generation"]
        for namespace in NAMESPACES
        for each in api.list("Deployment", namespace)
    }


@pytest.fixture
def worlds(examples: list[Json], api: Api) -> Iterator[list[str]]:
    names = [f"roll{number}" for number in range(WORLDS)]
    for name in names:
        document = world("e2e", name=name)
        document["spec"]["services"] = [{"name": "time-manager"}]
        api.apply(document, manager="kubectl")
    for name in names:
        real.wait_ready(api, "GameWorld", "e2e", name)
    yield names
    for name in names:
        api.delete("GameWorld", "e2e", name)


def rolling(api: Api) -> set[str]:
    """Worlds under way with a new image, as of one moment."""
    return {
        each["metadata"]["name"]
        for each in api.list("GameWorld")
        if condition(each, "Reconciling").get("status") == "True"
    }


def images(api: Api) -> set[str]:
    return {each["status"]["workloadsImage"] for each in api.list("GameWorld")}


def test_a_new_image_of_the_game_services_goes_a_few_worlds_at_a_time(
    worlds: list[str],
    environment: e2e.Environment,
    helm: helm_python.Config,
    values: Json,
    api: Api,
) -> None:
    """First one that cannot be pulled, which must stop at the first few; then, where it can be made, a good one."""
    at_a_time = values["workloads"]["worldsAtATime"]
    good = values["workloads"]["image"]
    bad = "gameai-workloads:does-not-exist"
    new = {**values, "workloads": {**values["workloads"], "image": bad}}
    helm.upgrade(charts.OPERATOR, "gameai-operator", values=new, reset_values=True)
    real.wait_operator(api)
    until("some have begun", lambda: len(rolling(api)) == at_a_time, seconds=120)
    whole = {f"{environment.registry}/{each}" for each in (good, bad)}
    until("both images are reported", lambda: images(api) == whole, seconds=30)
    answering = [each for each in real.live(api, "e2e") if real.is_ready(each)]
    assert len(answering) == len(worlds)
    helm.rollback("gameai-operator")
    real.wait_operator(api)
    until("all are back", lambda: not rolling(api) and len(images(api)) == 1, seconds=180)

    if not environment.real_node:
        return
    other = f"gameai-workloads:{environment.workloads_tag}-again"
    e2e.tag(f"{environment.registry}/{good}", f"{environment.registry}/{other}")
    new = {**values, "workloads": {**values["workloads"], "image": other}}
    helm.upgrade(charts.OPERATOR, "gameai-operator", values=new, reset_values=True)
    most = 0

    def through() -> bool:
        nonlocal most
        most = max(most, len(rolling(api)))
        done = images(api) == {f"{environment.registry}/{other}"}
        return done and all(world_settled(e) for e in api.list("GameWorld", "e2e"))

    until("all have the new image", through, seconds=300)
    assert most <= at_a_time
    helm.upgrade(charts.OPERATOR, "gameai-operator", values=values, reset_values=True)
    real.wait_operator(api)
    until("all are back", lambda: images(api) == {f"{environment.registry}/{good}"}, seconds=300)
