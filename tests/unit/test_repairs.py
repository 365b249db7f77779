from gameai_operator.controller.manifest import Key
from gameai_operator.controller.repairs import FORGET_SECONDS, FREE_REPAIRS, Repair, Repairs
from gameai_operator.controller.stillness import Stillness

KEY = Key("Service", "n", "gold")
REPAIR = Repair(key=KEY, digest="a", why="edited: .spec.ports")


def fought(repairs: Repairs, seconds: int, repair: Repair = REPAIR) -> int:
    """Writes in so many seconds while a rival answers each at once."""
    writes = 0
    for tenth in range(seconds * 10):
        if repairs.wait_seconds(repair, tenth / 10) == 0.0:
            repairs.wrote(repair, tenth / 10)
            writes += 1
    return writes


def test_a_fight_becomes_rare_within_two_minutes() -> None:
    repairs = Repairs()
    first = fought(repairs, 120)
    assert first <= FREE_REPAIRS + 8
    more = Repairs()
    assert fought(more, 240) - first <= 2


def test_another_rendering_or_another_edit_is_written_at_once() -> None:
    repairs = Repairs()
    fought(repairs, 60)
    assert repairs.wait_seconds(REPAIR, 60.0) > 0
    other = Repair(key=KEY, digest="a", why="edited: .metadata.labels")
    changed = Repair(key=KEY, digest="b", why="changed")
    assert repairs.wait_seconds(other, 60.0) == 0.0
    assert repairs.wait_seconds(changed, 60.0) == 0.0
    repairs.wrote(changed, 60.0)
    assert repairs.wait_seconds(REPAIR, 60.0) == 0.0


def test_an_old_fight_is_forgotten() -> None:
    repairs = Repairs()
    fought(repairs, 60)
    assert repairs.wait_seconds(REPAIR, 61 + FORGET_SECONDS) == 0.0
    fought(repairs, 60)
    repairs.forget(KEY)
    assert repairs.wait_seconds(REPAIR, 60.0) == 0.0


def test_an_object_stands_still_from_when_its_version_was_first_seen() -> None:
    stillness, root = Stillness(), Key("ModelTier", "n", "gold")
    assert stillness.note(root, [(KEY, 5)], 100.0) == {KEY: 0.0}
    assert stillness.note(root, [(KEY, 5)], 160.0) == {KEY: 60.0}
    assert stillness.note(root, [(KEY, 6)], 170.0) == {KEY: 0.0}
    stillness.forget(root)
    assert stillness.note(root, [(KEY, 6)], 200.0) == {KEY: 0.0}


def test_a_fight_counts_as_one_for_a_while_after_the_last_repair() -> None:
    repairs = Repairs()
    assert repairs.fought_seconds(REPAIR, 0.0) == 0.0
    for _ in range(FREE_REPAIRS + 1):
        repairs.wrote(REPAIR, 10.0)
    wait = repairs.wait_seconds(REPAIR, 10.0)
    assert repairs.fought_seconds(REPAIR, 10.0) == 1.5 * wait
    assert repairs.fought_seconds(REPAIR, 10.0 + 2 * wait) == 0.0
