from typing import Any

from gameai_operator.controller.cache import TOMBSTONE_SECONDS, Cache, Entry, Foreign, Root
from gameai_operator.controller.manifest import Key
from gameai_operator.controller.plan import Child

ROOT = Key("ModelTier", "n", "gold")
CHILD = Key("Service", "n", "gold")
RESTORED = Root(b'{"restored": true}')


def child(version: int = 1, **facts: Any) -> Child:
    given: dict[str, Any] = {
        "key": CHILD,
        "uid": "c",
        "version": version,
        "owner": None,
        "terminating": False,
        "manifest_hash": "h",
        "fields": {"f:spec": {}},
    }
    return Child(**(given | facts))


def entry(version: int, *, uid: str = "c", root: Key = ROOT, mark: str = "m") -> Entry:
    value = child(version, uid=uid)
    return Entry(key=CHILD, uid=uid, version=version, root=root, value=value, mark=mark)


def kept(store: Cache) -> Child:
    found = store.get(CHILD)
    assert found is not None
    assert isinstance(found.value, Child)
    return found.value


def test_a_new_object_touches_its_root() -> None:
    store = Cache()
    assert store.put(entry(1), 0.0) == (ROOT,)
    assert store.get(CHILD) == entry(1)
    assert list(store.below(ROOT)) == [entry(1)]
    assert store.keys("Service") == {CHILD}
    assert len(store) == 1


def test_an_older_or_equal_version_is_not_news() -> None:
    store = Cache()
    store.put(entry(5), 0.0)
    assert store.put(entry(5), 0.0) == ()
    assert store.put(entry(4), 0.0) == ()
    assert store.get(CHILD) == entry(5)


def test_versions_are_compared_as_numbers() -> None:
    store = Cache()
    store.put(entry(9), 0.0)
    assert store.put(entry(10), 0.0) == (ROOT,)


def test_a_late_change_does_not_bring_a_deleted_object_back() -> None:
    store = Cache()
    store.put(entry(5), 0.0)
    assert store.drop(CHILD, "c", 8, 0.0) == (ROOT,)
    assert store.put(entry(7), 1.0) == ()
    assert store.put(entry(8), 1.0) == ()
    assert store.get(CHILD) is None


def test_an_object_that_came_back_into_sight_is_taken_again() -> None:
    store = Cache()
    store.drop(CHILD, "c", 8, 0.0)
    assert store.put(entry(9), 1.0) == (ROOT,)


def test_a_tombstone_does_not_stay_forever() -> None:
    store = Cache()
    store.drop(CHILD, "c", 8, 0.0)
    store.drop(CHILD, "d", 9, TOMBSTONE_SECONDS + 1)
    assert store.put(entry(7), TOMBSTONE_SECONDS + 2) == (ROOT,)
    assert store.put(entry(8, uid="d"), TOMBSTONE_SECONDS + 2) == ()


def test_a_second_end_of_an_object_lengthens_its_tombstone() -> None:
    store = Cache()
    store.drop(CHILD, "c", 8, 0.0)
    store.drop(CHILD, "d", 9, 1.0)
    store.drop(CHILD, "c", 10, TOMBSTONE_SECONDS - 1)
    store.drop(CHILD, "e", 11, TOMBSTONE_SECONDS + 2)
    assert store.put(entry(10), TOMBSTONE_SECONDS + 3) == ()
    assert store.put(entry(9, uid="d"), TOMBSTONE_SECONDS + 3) == (ROOT,)


def test_a_recreated_object_is_not_dropped_by_the_old_ones_end() -> None:
    store = Cache()
    store.put(entry(10, uid="new"), 0.0)
    assert store.drop(CHILD, "old", 8, 0.0) == ()
    assert store.get(CHILD) is not None


def test_the_end_of_an_unknown_object_touches_nothing() -> None:
    assert Cache().drop(CHILD, "c", 8, 0.0) == ()


def test_an_object_that_changes_its_root_touches_both() -> None:
    store = Cache()
    other = Key("ModelTier", "n", "silver")
    store.put(entry(1), 0.0)
    assert store.put(entry(2, root=other), 0.0) == (other, ROOT)
    assert list(store.below(ROOT)) == []


def test_siblings_stay_when_one_object_goes() -> None:
    store = Cache()
    other = Key("Service", "n", "other")
    store.put(entry(1), 0.0)
    store.put(Entry(key=other, uid="o", version=1, root=ROOT, value=Foreign()), 0.0)
    store.drop(other, "o", 2, 0.0)
    assert [each.key for each in store.below(ROOT)] == [CHILD]


def test_what_was_never_kept_can_be_asked_for() -> None:
    assert list(Cache().below(ROOT)) == []
    assert Cache().keys("Service") == frozenset()
    assert Cache().drift("Service", {CHILD: 1}, 2).unseen == (CHILD,)


def test_a_root_is_not_below_itself() -> None:
    store = Cache()
    store.put(Entry(key=ROOT, uid="r", version=1, root=ROOT, value=Root(b"{}")), 0.0)
    assert list(store.below(ROOT)) == []
    assert store.root(ROOT) == {}
    assert store.root(CHILD) is None


def test_a_judgement_replaces_the_fields_it_took() -> None:
    store = Cache()
    store.put(entry(1), 0.0)
    store.keep_judgement(child(1))
    assert (kept(store).intact, kept(store).fields) == (True, None)


def test_a_judgement_of_an_older_version_is_not_kept() -> None:
    store = Cache()
    store.put(entry(2), 0.0)
    store.keep_judgement(child(1))
    store.keep_judgement(child(1, key=Key("Service", "n", "gone")))
    assert not kept(store).intact


def test_a_judgement_lasts_while_what_it_rests_on_does() -> None:
    store = Cache()
    store.put(entry(1), 0.0)
    store.keep_judgement(child(1))
    store.put(entry(2), 0.0)
    assert kept(store).intact
    store.put(entry(3, mark="edited"), 0.0)
    assert not kept(store).intact


def test_a_list_shows_what_was_missed_and_what_is_gone() -> None:
    store = Cache()
    store.put(entry(5), 0.0)
    seen, unknown = CHILD, Key("Service", "n", "new")
    assert store.drift("Service", {seen: 5}, 9).unseen == ()
    assert store.drift("Service", {seen: 6, unknown: 1}, 9).unseen == (seen, unknown)
    assert store.drift("Service", {}, 9).ghosts == (CHILD,)


def test_what_is_newer_than_a_list_is_no_ghost() -> None:
    store = Cache()
    store.put(entry(10), 0.0)
    assert store.drift("Service", {}, 9).ghosts == ()


def test_a_list_of_one_namespace_says_nothing_of_others() -> None:
    store = Cache()
    store.put(entry(5), 0.0)
    assert store.drift("Service", {}, 9, ["other"]).ghosts == ()
    assert store.drift("Service", {}, 9, ["n"]).ghosts == (CHILD,)


def test_the_newest_version_of_a_kind_is_known_of_all_or_some_namespaces() -> None:
    store = Cache()
    assert store.newest("Service") is None
    for namespace, version in (("a", 5), ("b", 9)):
        key = Key("Service", namespace, "gold")
        store.put(Entry(key=key, uid=namespace, version=version, root=key, value=Foreign()), 0.0)
    assert store.newest("Service") == 9
    assert store.newest("Service", ["a"]) == 5
    assert store.newest("Service", ["c"]) is None


def test_versions_that_went_back_are_forgotten_and_the_objects_stay() -> None:
    """As after a restore of etcd: else everything newer would be ignored until the old versions come again."""
    store = Cache()
    key, gone = Key("Service", "a", "gold"), Key("Service", "a", "gone")
    store.put(Entry(key=key, uid="u", version=900, root=key, value=Root(b"{}")), 0.0)
    store.drop(gone, "g", 901, 0.0)
    assert store.highest() == 900
    store.rewind()
    assert store.highest() == -1
    assert store.get(key) is not None
    assert store.drift("Service", {key: 90}, 100).unseen == (key,)
    store.put(Entry(key=key, uid="u", version=90, root=key, value=RESTORED), 0.0)
    found = store.get(key)
    assert found is not None
    assert found.value == RESTORED
    assert store.put(Entry(key=gone, uid="g", version=50, root=gone, value=RESTORED), 0.0) == (
        gone,
    )


def test_a_lower_version_in_a_newer_list_is_a_rewind() -> None:
    store = Cache()
    key = Key("Service", "a", "gold")
    store.put(Entry(key=key, uid="u", version=103, root=key, value=RESTORED), 0.0)
    assert store.drift("Service", {key: 80}, 105).rewound
    assert not store.drift("Service", {key: 103}, 105).rewound
    assert not store.drift("Service", {key: 80}, 90).rewound, "a LIST from before our version"
