from typing import Any

import pytest
from gameai_operator.controller.manifest import MANIFEST_HASH, Key, Owner, owned_by
from gameai_operator.controller.plan import Apply, Child, Conflict, Number, Plan, plan
from support import tiers

OWNER = Owner(kind="ModelTier", name="gold", uid="uid-1")
FORMER = Owner(kind="ModelTier", name="gold", uid="uid-0")
OTHER = Owner(kind="Release", name="shop", uid="uid-9")
NAMESAKE = Owner(kind="Release", name="gold", uid="uid-8")
KEY = Key("Service", "eldermoor", "gold")


def manifest(name: str = "gold", **spec: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "eldermoor"}
    document = {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}
    return owned_by(OWNER, document)


WANTED = manifest(clusterIP="None")
OWNERS: dict[str, Any] = {f'k:{{"uid":"{OWNER.uid}"}}': {}}
FIELDS: dict[str, Any] = {
    "f:metadata": {"f:annotations": {f"f:{MANIFEST_HASH}": {}}, "f:ownerReferences": OWNERS},
    "f:spec": {"f:clusterIP": {}},
}


def child(**facts: Any) -> Child:
    given: dict[str, Any] = {
        "key": KEY,
        "uid": "child-1",
        "version": 5,
        "owner": OWNER,
        "terminating": False,
        "manifest_hash": WANTED["metadata"]["annotations"][MANIFEST_HASH],
        "fields": FIELDS,
    }
    return Child(**(given | facts))


DIGEST = WANTED["metadata"]["annotations"][MANIFEST_HASH]


def planned(present: Child | None, *wanted: dict[str, Any]) -> Plan:
    return plan(OWNER, wanted, {} if present is None else {present.key: present})


def test_an_absent_child_is_applied_without_force() -> None:
    assert planned(None, WANTED) == Plan(
        applies=(Apply(manifest=WANTED, force=False, why="absent", digest=DIGEST),)
    )


def test_an_unchanged_child_is_left_alone_and_its_judgement_kept() -> None:
    present = child()
    result = planned(present, WANTED)
    assert result == Plan(intact=(present,))


def test_a_child_judged_before_needs_no_fields() -> None:
    present = child(fields=None, intact=True)
    assert planned(present, WANTED) == Plan(intact=(present,))


def test_a_changed_rendering_is_applied_with_force() -> None:
    changed = manifest(clusterIP="10.0.0.7")
    assert planned(child(), changed) == Plan(
        applies=(
            Apply(
                manifest=changed,
                force=True,
                why="changed",
                version=5,
                digest=changed["metadata"]["annotations"][MANIFEST_HASH],
            ),
        )
    )


def test_a_changed_rendering_wins_over_an_old_judgement() -> None:
    changed = manifest(clusterIP="10.0.0.7")
    present = child(fields=None, intact=True)
    assert [each.why for each in planned(present, changed).applies] == ["changed"]


def test_a_field_taken_by_a_hand_is_taken_back() -> None:
    fields = {**FIELDS, "f:spec": {"f:type": {}}}
    expected = Apply(
        manifest=WANTED, force=True, why="edited: .spec.clusterIP", version=5, digest=DIGEST
    )
    assert planned(child(fields=fields), WANTED) == Plan(applies=(expected,))


def test_a_child_that_we_no_longer_own_a_field_of_is_applied_whole() -> None:
    present = child(fields=None)
    expected = Apply(
        manifest=WANTED, force=True, why="edited: everything", version=5, digest=DIGEST
    )
    assert planned(present, WANTED) == Plan(applies=(expected,))


def test_a_removed_owner_reference_is_put_back_on_what_we_applied() -> None:
    present = child(owner=None, fields={**FIELDS, "f:metadata": {"f:annotations": {}}})
    assert [each.force for each in planned(present, WANTED).applies] == [True]


@pytest.mark.parametrize(
    ("present", "holder"),
    [
        (child(owner=OTHER), "Release shop"),
        (child(owner=NAMESAKE), "Release gold"),
        (child(owner=Owner(kind="ModelTier", name="silver", uid="uid-2")), "ModelTier silver"),
        (
            child(owner=None, fields=None, manifest_hash=""),
            "another writer (it has no controller owner)",
        ),
    ],
    ids=["another", "another-kind-same-name", "another-tier", "no-owner"],
)
def test_a_child_of_somebody_else_is_a_conflict_and_never_written(
    present: Child, holder: str
) -> None:
    result = planned(present, WANTED)
    assert result == Plan(conflicts=(Conflict(key=KEY, holder=holder),))


@pytest.mark.parametrize(
    "present",
    [child(terminating=True), child(owner=FORMER), child(owner=FORMER, terminating=True)],
    ids=["terminating", "of-a-former-tier", "both"],
)
def test_a_child_that_is_going_is_waited_for(present: Child) -> None:
    assert planned(present, WANTED) == Plan(waits=(present,))


def test_a_child_no_longer_wanted_is_deleted() -> None:
    present = child()
    result = planned(present)
    assert result == Plan(deletes=(present,))


@pytest.mark.parametrize(
    "present",
    [child(terminating=True), child(owner=OTHER), child(owner=FORMER), child(owner=None)],
    ids=["terminating", "of-another", "of-a-former-tier", "of-no-owner"],
)
def test_only_own_and_living_children_are_deleted(present: Child) -> None:
    assert planned(present) == Plan()


def test_a_child_that_is_kept_is_neither_written_nor_deleted() -> None:
    present = child()
    assert plan(OWNER, [], {KEY: present}, keep=[KEY]) == Plan()


def test_an_owner_whose_name_a_hand_edited_is_still_ours() -> None:
    edited = child(owner=Owner(kind="ModelTierx", name="goldx", uid=OWNER.uid), manifest_hash="x")
    assert [each.force for each in planned(edited, WANTED).applies] == [True]
    assert planned(edited) == Plan(deletes=(edited,))


def test_writes_keep_the_order_of_what_is_wanted() -> None:
    first, second = manifest("a"), manifest("b")
    result = plan(OWNER, [first, second], {KEY: child()})
    assert [each.manifest["metadata"]["name"] for each in result.applies] == ["a", "b"]
    assert len(result.deletes) == 1


def test_what_was_applied_or_judged_or_carries_our_hash_counts_as_ours() -> None:
    assert child().ours
    assert child(fields=None, intact=True).ours
    assert child(fields=None).ours, "restored from a backup"
    assert not child(fields=None, manifest_hash="").ours


def test_what_a_restore_left_without_owner_and_managers_is_taken_over() -> None:
    restored = child(owner=None, fields=None)
    assert [each.why for each in planned(restored, WANTED).applies] == ["edited: everything"]


DEPLOYMENT = Key("Deployment", "eldermoor", "gold-spot")


def deployed(**facts: Any) -> Child:
    of_child = {name: facts.pop(name) for name in ("owner", "terminating") if name in facts}
    return child(key=DEPLOYMENT, facts=tiers.deployment(**facts), **of_child)


def counted(present: Child, number: int, *wanted: Any) -> list[tuple[int, str]]:
    result = plan(
        OWNER,
        wanted,
        {DEPLOYMENT: present},
        [DEPLOYMENT],
        numbers={DEPLOYMENT: Number(api_version="apps/v1", wanted=number)},
    )
    return [(each.number.wanted, each.why) for each in result.counts]


@pytest.mark.parametrize(
    ("present", "number", "expected"),
    [
        (deployed(asked=3), 3, []),
        (deployed(asked=3), 5, [(5, "3 → 5 replicas")]),
        # Another manager took the field.
        (deployed(asked=None, wanted=9), 3, [(3, "None → 3 replicas")]),
        # A policy keeps another number: it is not fought.
        (deployed(asked=3, wanted=1), 3, []),
        (deployed(asked=3, terminating=True), 5, []),
        (deployed(asked=3, owner=OTHER), 5, []),
    ],
)
def test_a_number_of_replicas_is_written_whether_or_not_a_template_is(
    present: Child, number: int, expected: list[tuple[int, str]]
) -> None:
    assert counted(present, number) == expected


@pytest.mark.parametrize(("apart", "counts"), [(True, 0), (False, 1)])
def test_a_number_moves_to_its_own_manager_before_a_template_leaves_it_out(
    apart: bool, counts: int
) -> None:
    metadata = {"name": "gold-spot", "namespace": "eldermoor"}
    document = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": {}}
    changed = owned_by(OWNER, document | {"spec": {"paused": False}})
    assert len(counted(deployed(asked=3, apart=apart), 3, changed)) == counts


def test_a_new_deployment_is_created_with_its_number() -> None:
    metadata = {"name": "gold-spot", "namespace": "eldermoor"}
    document = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": {}}
    made = owned_by(OWNER, document)
    (step,) = plan(
        OWNER, [made], {}, numbers={DEPLOYMENT: Number(api_version="apps/v1", wanted=4)}
    ).applies
    assert step.manifest["spec"]["replicas"] == 4
    assert step.manifest["metadata"]["annotations"]["gameai.dev/replicas"] == "4"
    assert step.digest == made["metadata"]["annotations"][MANIFEST_HASH]
