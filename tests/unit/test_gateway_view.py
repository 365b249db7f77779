"""What a gateway looks up in its view."""

from gameai.gateway.routing.snapshot import ABSENT, TierView, View, WorldView
from gameai_contract.inference import LatencyClass


def test_a_caller_speaks_for_worlds_that_name_its_account_or_its_uid_each_once() -> None:
    def world(number: int, *callers: str) -> WorldView:
        return WorldView(key=f"a/{number}", epoch="1", roles={}, callers=frozenset(callers))

    worlds = (world(1, "a/s"), world(2, "a/s@u"), world(3, "a/s", "a/s@u"), world(4, "a/s@other"))
    view = View(worlds={each.key: each for each in worlds})
    assert [each.key for each in view.worlds_of("a/s")] == ["a/1", "a/3"]
    assert [each.key for each in view.worlds_of("a/s", "u")] == ["a/1", "a/3", "a/2"]
    assert [each.key for each in view.worlds_of("a/s", "none")] == ["a/1", "a/3"]
    assert view.worlds_of("a/none", "u") == []


def test_tiers_that_do_not_exist_have_one_label_for_all() -> None:
    def tier(model: str) -> TierView:
        return TierView(
            key="a/b",
            tier_class=LatencyClass.GOLD,
            model=model,
            target_ms=1,
            slots=1,
            context_tokens=1,
        )

    assert tier("").label == ABSENT
    assert tier("m").label == "a/b"
