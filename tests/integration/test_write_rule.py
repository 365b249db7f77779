"""The write rule, edit by edit: what we rendered comes back, what others add stays, and nothing else is written."""

import copy
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from gameai_devcluster import install
from gameai_devcluster.api import JSON_PATCH, Api, ApiError, Json, path_of
from gameai_devcluster.operators import Launch, Operator
from gameai_devcluster.testing.audit import AuditLog
from gameai_devcluster.testing.rendering import decided, owned
from gameai_devcluster.testing.waiting import settled, until
from gameai_operator.controller import scale
from gameai_operator.controller.field_ownership import applied_fields, lost
from gameai_operator.controller.manifest import Key, Owner
from gameai_operator.controller.plan import Child, plan
from gameai_operator.tier.revisions import NEWEST
from support.live import manifest

GOLDEN = install.ROOT / "tests" / "data" / "tier"
RESTORED_SECONDS = 50.0  # 10 × the stated 5 s; `make bench` prints the seconds
Step = str | int


def leaves(value: Any, at: tuple[Step, ...] = ()) -> Iterator[tuple[Step, ...]]:
    """Paths of all scalars of a rendered object."""
    entries: Any = ()
    if isinstance(value, dict):
        entries = value.items()
    elif isinstance(value, list):
        entries = enumerate(value)
    else:
        yield at
    for step, below in entries:
        yield from leaves(below, (*at, step))


def edits(document: Json) -> list[tuple[Step, ...]]:
    """Rendered leaves but for the object's identity."""
    fixed = (("apiVersion",), ("kind",), ("metadata", "name"), ("metadata", "namespace"))
    return [leaf for leaf in leaves(document) if leaf not in fixed]


def at(document: Any, where: tuple[Step, ...]) -> Any:
    for step in where:
        document = document[step]
    return document


def pointer(where: tuple[Step, ...]) -> str:
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in where)


def other(value: Any) -> Any:
    """Another value of the same type."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    return (
        f"{value}x" if not value[-1:].isdigit() else f"{value[:-1]}{(int(value[-1]) + 1) % 10 or 5}"
    )


def locate(live: Json, rendered: Json, where: tuple[Step, ...]) -> tuple[Step, ...] | None:
    """The same leaf in the live object: list items are found by name, the server may have sorted or added some."""
    here: list[Step] = []
    node: Any = live
    wanted: Any = rendered
    for step in where:
        wanted = wanted[step]
        if isinstance(step, int) and isinstance(wanted, dict):
            names = [
                each
                for each in ("name", "uid", "key", "topologyKey", "mountPath", "port")
                if each in wanted
            ]
            found = [
                n for n, each in enumerate(node) if all(each.get(k) == wanted[k] for k in names[:1])
            ]
            here.append(found[0] if found else step)
        else:
            here.append(step)
        try:
            node = node[here[-1]]
        except (KeyError, IndexError):
            return None
    return tuple(here)


def fields_lost(live: Json, rendered: Json) -> tuple[str, ...]:
    """What of a rendering is not ours; a Deployment's number of replicas has a field manager of its own."""
    metadata = live["metadata"]
    fields = applied_fields(metadata)
    if fields is None:
        return ("everything",)
    template = copy.deepcopy(rendered)
    number = template["metadata"]["annotations"].pop(scale.REPLICAS, None)
    if number is None:
        return lost(template, fields)
    del template["spec"]["replicas"]
    asked = scale.asked_for(metadata, scale.FIELD_MANAGER, "gameai-operator")
    return (*lost(template, fields), *(() if asked == int(number) else ("replicas",)))


def restored(api: Api, rendered: Json, before: Json) -> bool:
    """Whether all that was there is there again, and all that we rendered is ours.

    A hand that edits the key of a list item (a variable's name) takes ours away and adds one of its own, which stays.
    """
    live = api.find(
        rendered["kind"], rendered["metadata"]["namespace"], rendered["metadata"]["name"]
    )
    return (
        live is not None
        and holds(comparable(live), comparable(before))
        and not fields_lost(live, rendered)
    )


def wait_restored(api: Api, what: str, rendered: Json, before: Json) -> None:
    """Wait until an object is as it was; where it does not come, show what it is."""
    try:
        until(what, lambda: restored(api, rendered, before), seconds=RESTORED_SECONDS)
    except AssertionError:
        metadata = rendered["metadata"]
        live = api.get(rendered["kind"], metadata["namespace"], metadata["name"])
        print(what, fields_lost(live, rendered))
        assert comparable(live) == comparable(before)
        raise


def holds(live: Any, before: Any) -> bool:
    """Whether `live` has everything of `before`; lists of objects may have more, all others are equal."""
    if isinstance(before, dict):
        return isinstance(live, dict) and all(holds(live.get(k), v) for k, v in before.items())
    if isinstance(before, list) and any(isinstance(each, dict) for each in before):
        return all(any(holds(each, wanted) for each in live or ()) for wanted in before)
    return bool(live == before)


def comparable(live: Json) -> Json:
    kept = ("labels", "annotations", "ownerReferences")
    metadata = {name: live["metadata"].get(name) for name in kept}
    metadata["name"] = live["metadata"]["name"]
    annotations = dict(metadata["annotations"] or {})
    annotations.pop("deployment.kubernetes.io/revision", None)
    body = {k: v for k, v in live.items() if k not in ("metadata", "status")}
    return copy.deepcopy({**body, "metadata": {**metadata, "annotations": annotations}})


def objects(api: Api, namespace: str) -> list[Json]:
    """The rendered objects of the tier in this namespace, as the operator applies them."""
    root = api.get("ModelTier", namespace, "gold")
    return owned(root, decided(root))


@pytest.fixture(scope="module")
def operator(operator_kubeconfig: Path, folder: Path) -> Iterator[Operator]:
    """One that takes hundreds of edits in a row for a person's, and for no rival controller's."""
    flags: dict[str, str | float] = {"free_repairs": 1000}
    launch = Launch(kubeconfig=operator_kubeconfig, log=folder / "edits.log", flags=flags)
    running = Operator(launch).wait_ready()
    yield running
    assert running.stop() == 0


def sample(namespace: str) -> Json:
    document = yaml.safe_load((GOLDEN / "every-field" / "resource.yaml").read_text())
    spec = document["spec"]
    del spec["serviceAccountName"], spec["priorityClassName"], spec["hardware"]["runtimeClassName"]
    return manifest(namespace, **spec) | {}


@pytest.fixture
def tier(api: Api, namespace: str, operator: Operator) -> str:
    """A namespace with a tier that renders nearly every field; its pods find no node and so stay quiet."""
    api.apply(sample(namespace), manager="kubectl")
    until(
        "every object is there and the roll-out was seen",
        lambda: (
            len(api.list("Deployment", namespace)) == 2
            and len(api.list("PodDisruptionBudget", namespace)) == 2
            and all(
                "status" in each and each["status"].get("unavailableReplicas")
                for each in api.list("Deployment", namespace)
            )
            and operator.alive()
        ),
        seconds=30,
    )
    return namespace


def edit(api: Api, rendered: Json, where: tuple[Step, ...], *, remove: bool) -> bool:
    """Change or remove one leaf as a hand would; False where the API server does not let it."""
    live = api.get(
        rendered["kind"], rendered["metadata"]["namespace"], rendered["metadata"]["name"]
    )
    here = locate(live, rendered, where)
    if here is None:
        return False
    operation: Json = {"op": "remove", "path": pointer(here)}
    if not remove:
        operation = {"op": "replace", "path": pointer(here), "value": other(at(live, here))}
    try:
        changed = api.patch(path_of(rendered), [operation], content_type=JSON_PATCH)
    except ApiError as error:
        if error.status not in (400, 422):
            raise
        return False
    return comparable(changed) != comparable(live)


def test_every_rendered_leaf_that_a_hand_changes_or_removes_is_restored(
    api: Api, tier: str
) -> None:
    counts = {"restored": 0, "not editable": 0}
    for rendered in objects(api, tier):
        before = api.get(rendered["kind"], tier, rendered["metadata"]["name"])
        for where in edits(rendered):
            for remove in (False, True):
                done = edit(api, rendered, where, remove=remove)
                counts["restored" if done else "not editable"] += 1
                if done:
                    wait_restored(
                        api,
                        f"{rendered['kind']} {pointer(where)}, removed: {remove}",
                        rendered,
                        before,
                    )
    print(counts)
    assert counts["restored"] > 150


def writes(audit: AuditLog, namespace: str) -> list[str]:
    """What the operator wrote there; its Events wait for their turn, and are another matter."""
    return [
        str(each)
        for each in audit.writes()
        if each.namespace == namespace and each.resource != "events"
    ]


def test_what_others_add_stays_and_causes_no_write(api: Api, tier: str, audit: AuditLog) -> None:
    audit.wait_rest(tier)
    additions = []
    for rendered in objects(api, tier):
        here = path_of(rendered)
        note = {"labels": {"a-team": "x"}, "annotations": {"a-note": "x"}}
        additions.append((rendered, {"metadata": note}))
        api.patch(here, {"metadata": note})
        if rendered["kind"] == "Service":
            port = {"name": "extra", "port": 9000, "protocol": "TCP", "targetPort": 9000}
            api.patch(
                here,
                [{"op": "add", "path": "/spec/ports/-", "value": port}],
                content_type=JSON_PATCH,
            )
    time.sleep(2.0)
    assert writes(audit, tier) == []
    for rendered, added in additions:
        live = api.get(rendered["kind"], tier, rendered["metadata"]["name"])
        assert live["metadata"]["labels"]["a-team"] == added["metadata"]["labels"]["a-team"]
        assert not fields_lost(live, rendered)
    service = api.get("Service", tier, "gold")
    assert [each["name"] for each in service["spec"]["ports"]] == ["http", "extra"]


def test_an_atomic_list_is_restored_whole(api: Api, tier: str) -> None:
    rendered = next(each for each in objects(api, tier) if each["kind"] == "Deployment")
    before = api.get("Deployment", tier, rendered["metadata"]["name"])
    where = "/spec/template/spec/containers/0/args/-"
    api.patch(
        path_of(rendered), [{"op": "add", "path": where, "value": "--x"}], content_type=JSON_PATCH
    )
    wait_restored(api, "the arguments", rendered, before)


def test_an_edited_port_number_is_restored(api: Api, tier: str) -> None:
    rendered = next(each for each in objects(api, tier) if each["kind"] == "Service")
    before = api.get("Service", tier, "gold")
    replace = [{"op": "replace", "path": "/spec/ports/0/port", "value": 8001}]
    api.patch(path_of(rendered), replace, content_type=JSON_PATCH)
    wait_restored(api, "the port", rendered, before)


def uid_of(api: Api, rendered: Json) -> str | None:
    metadata = rendered["metadata"]
    live = api.find(rendered["kind"], metadata["namespace"], metadata["name"])
    return None if live is None else live["metadata"]["uid"]


def test_a_deleted_child_comes_back(api: Api, tier: str) -> None:
    for rendered in objects(api, tier):
        kind, name = rendered["kind"], rendered["metadata"]["name"]
        before = uid_of(api, rendered)
        api.delete(kind, tier, name)
        end = time.monotonic() + RESTORED_SECONDS
        while (now := uid_of(api, rendered)) in (None, before):
            assert time.monotonic() < end, f"{kind} {name} is {now}, was {before}"
            time.sleep(0.05)


def edited_while_down(rendered: Json, number: int) -> list[tuple[Step, ...]]:
    """Every third leaf, from another start for each object, and one of what says who owns it.

    Many edits of one object at once are the harder case; but with all of its owner edited it is no longer ours.
    """
    owner = [where for where in edits(rendered) if where[:2] == ("metadata", "ownerReferences")]
    finders = ("app.kubernetes.io/managed-by", "gameai.dev/tier")
    others = [
        where
        for where in edits(rendered)
        if where not in owner and (where[-1] not in finders or rendered["kind"] == "Service")
    ]
    return [*others[number % 3 :: 3], owner[number % len(owner)]]


def test_edits_made_while_the_operator_was_down_are_repaired_at_its_start(
    api: Api, tier: str, operator: Operator, audit: AuditLog
) -> None:
    audit.wait_rest(tier)
    rendered = objects(api, tier)
    before = [api.get(each["kind"], tier, each["metadata"]["name"]) for each in rendered]
    assert operator.stop() == 0
    edited = sum(
        edit(api, each, where, remove=False)
        for number, each in enumerate(rendered)
        for where in edited_while_down(each, number)
    )
    operator.start()
    operator.wait_ready()
    for each, old in zip(rendered, before, strict=True):
        wait_restored(api, f"{each['kind']} is repaired", each, old)
    assert edited > 20
    applies = [
        each
        for each in audit.writes()
        if each.namespace == tier and each.verb == "patch" and not each.resource.endswith("/status")
    ]
    assert len(applies) <= 3 * len(rendered)


@pytest.mark.parametrize(
    "case",
    sorted(
        str(e.parent.relative_to(GOLDEN.parent))
        for e in GOLDEN.parent.glob("*/*/resource.yaml")
        if e.with_name("objects.yaml").read_text().strip()
    ),
)
def test_a_golden_file_applied_and_read_back_gives_an_empty_plan(
    case: str, api: Api, namespace: str
) -> None:
    text = (GOLDEN.parent / case / "objects.yaml").read_text()
    documents = [e for e in yaml.safe_load_all(text) if e["kind"] != "ScaledObject"]  # KEDA's
    own = install.as_account(api, install.NAMESPACE, install.ACCOUNT)
    children = {}
    for document in documents:
        document["metadata"]["namespace"] = namespace
        key = Key(document["kind"], namespace, document["metadata"]["name"])
        writer = own if document["kind"] == "WorldView" else api  # the operator alone writes those
        live = writer.apply(document, manager="gameai-operator")
        reference = document["metadata"]["ownerReferences"][0]
        children[key] = Child(
            key=key,
            uid=live["metadata"]["uid"],
            version=1,
            owner=Owner(kind=reference["kind"], name=reference["name"], uid=reference["uid"]),
            terminating=False,
            manifest_hash=live["metadata"]["annotations"]["gameai.dev/manifest-hash"],
            fields=applied_fields(live["metadata"]),
        )
    owner = next(each.owner for each in children.values())
    assert owner is not None
    found = plan(owner, documents, children)
    assert (found.applies, found.counts, found.deletes) == ((), (), ())
    for key in children:
        api.delete(key.kind, namespace, key.name)


def test_an_idle_tier_is_settled_and_quiet(
    api: Api, namespace: str, operator: Operator, audit: AuditLog
) -> None:
    api.apply(manifest(namespace), manager="kubectl")
    found = until(
        "the tier is settled",
        lambda: seen if settled(seen := api.get("ModelTier", namespace, "gold")) else None,
        seconds=60,
    )
    assert found["status"]["templateRevision"] == NEWEST
    assert operator.alive()
    audit.wait_rest(namespace)
    time.sleep(2.5)
    assert writes(audit, namespace) == []
