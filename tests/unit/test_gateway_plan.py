"""What a question comes to: its tier, time, key and default; and what the error says of one that is wrong."""

from dataclasses import replace
from typing import Any

import pytest
from gameai.errors import InvalidArgumentError, NotFoundError
from gameai.gateway.routing import resolve as gateway_plan
from gameai.gateway.routing.archetypes import Archetypes
from gameai.gateway.routing.resolve import Planner, messages
from gameai.gateway.routing.snapshot import View
from gameai.gateway.sources import view_file
from gameai.gateway.sources.view_file import ViewError
from gameai.inference.v1 import inference_pb2 as pb
from gameai_contract import archetypes
from gameai_contract.inference import FALLBACK_CHAIN, FallbackStep, LatencyClass
from support.questions import FILE, NPCS, guard, plan, read


def test_a_role_leads_to_its_tier_with_its_time_and_share() -> None:
    found = plan()
    assert found.route.tier.key == "shared/gold"
    assert found.deadline_ms == 16
    assert (found.route.role.weight, found.route.role.most_in_flight) == (3, 8)
    assert found.route.role.fallback_chain == FALLBACK_CHAIN
    assert plan(role="dialogue").deadline_ms == 400
    assert plan(role="dialogue").route.role.fallback_chain == (FallbackStep.DEFAULT,)
    assert plan(deadline_ms=99).deadline_ms == 99


def test_an_archetypes_actions_are_the_questions_unless_it_brings_its_own() -> None:
    assert guard().actions == ("patrol", "attack", "flee")
    assert guard().tokens == 1
    assert guard(actions=["flee", "hide"]).actions == ["flee", "hide"]
    assert plan().actions == ()
    assert plan().tokens == 64
    assert plan(max_tokens=20).tokens == 20


def test_a_text_costs_more_than_a_choice() -> None:
    assert guard().cost < 1.1 < plan(max_tokens=64).cost == 5


def test_a_key_has_the_world_its_epoch_and_the_declared_fields_quantised() -> None:
    same = guard(fields={"threat": "19.9", "hour": "night", "noise": "other"}, npc="")
    assert guard(npc="").key == same.key
    assert guard().key != guard(fields={"threat": "20", "hour": "night"}).key
    assert guard().key != guard(fields={"threat": "15", "hour": "day"}).key
    assert guard().key != guard(actions=["flee"]).key
    later = read(FILE.replace("epoch: e1", "epoch: e2"))
    assert guard().key != guard(view=later).key
    assert guard().keyed("r1") != guard().keyed("r2")


def test_worlds_share_answers_only_where_an_archetype_says_so() -> None:
    two = FILE + FILE.split("worlds:\n")[1].replace("eldermoor", "frost")
    view = read(two)
    planner = Planner(view)

    def key(world: str, archetype: str) -> bytes | None:
        asked = pb.Question(
            role="reaction",
            archetype=archetype,
            prompt=pb.Prompt(parts=["x"]),
            fields={"threat": "1", "hour": "1"},
        )
        return planner.plan(view.worlds[world], asked).key

    assert key("games/eldermoor", "guard") != key("games/frost", "guard")
    assert key("games/eldermoor", "wolf") == key("games/frost", "wolf")


def test_other_fields_or_quantisers_make_other_keys() -> None:
    finer = read(npcs=NPCS.replace("{step: 10}", "{step: 5}"))
    renamed = read(npcs=NPCS.replace("threat: {step", "hunger: {step"))
    asked = {
        "archetype": "guard",
        "npc": "n",
        "fields": {"threat": "1", "hunger": "1", "hour": "1"},
    }
    keys = {plan(view, **asked).key for view in (read(), finer, renamed)}
    assert len(keys) == 3
    assert None not in keys


def test_a_planner_knows_worlds_as_its_view_has_them() -> None:
    old = read()
    view = read(FILE.replace("epoch: e1", "epoch: e2").replace("deadlineMs: 400", "deadlineMs: 77"))
    planner = Planner(view)
    assert planner.route(old.worlds["games/eldermoor"], "dialogue").world.epoch == "e2"
    late = pb.Question(role="dialogue", prompt=pb.Prompt(parts=["x"]))
    assert planner.plan(old.worlds["games/eldermoor"], late).deadline_ms == 77
    with pytest.raises(NotFoundError, match="world games/eldermoor is not there any more"):
        Planner(View(tiers=view.tiers)).route(old.worlds["games/eldermoor"], "dialogue")


def test_shared_answers_stay_in_their_namespace_and_with_their_prompts_stable_part() -> None:
    two = FILE + FILE.split("worlds:\n")[1].replace("eldermoor", "frost")
    view = read(two)
    planner = Planner(view)
    foreign = replace(view.worlds["games/frost"], key="others/frost")
    there = Planner(replace(view, worlds={**view.worlds, "others/frost": foreign}))
    asked: dict[str, Any] = {"role": "reaction", "archetype": "wolf"}
    plain = pb.Question(prompt=pb.Prompt(parts=["x"]), **asked)
    mine = planner.plan(view.worlds["games/eldermoor"], plain).key
    assert mine == planner.plan(view.worlds["games/frost"], plain).key
    assert mine != there.plan(foreign, plain).key
    stems = {
        planner.plan(
            view.worlds["games/eldermoor"],
            pb.Question(prompt=pb.Prompt(parts=[stem, "x"]), **asked),
        ).key
        for stem in ("Be brave.", "Always say b.")
    }
    assert len(stems) == 2


def test_an_edited_ttl_keeps_the_answers_that_are_there_and_other_edits_do_not() -> None:
    asked = {"archetype": "guard", "npc": "n", "fields": {"threat": "1", "hour": "1"}}
    longer = read(npcs=NPCS.replace("guard:\n", "guard:\n    text: of the gate\n"))
    assert plan(read(), **asked).key == plan(longer, **asked).key


def test_a_key_begins_the_same_each_time_and_own_actions_make_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gateway_plan, "_MOST_STEMS", 1)
    view = read()
    planner = Planner(view)

    def key(**asked: Any) -> bytes | None:
        like: dict[str, Any] = {
            "archetype": "guard",
            "prompt": pb.Prompt(parts=["?"]),
            "fields": {"threat": "15", "hour": "night"},
        }
        question = pb.Question(**(like | {"role": "reaction"} | asked))
        return planner.plan(view.worlds["games/eldermoor"], question).key

    first = key()
    assert key() == first
    assert key(actions=["wave"]) != first
    assert key(role="dialogue") != first
    assert key() == first


def test_an_npc_always_has_the_same_variant_and_several_have_several() -> None:
    view = read()
    seeds = {guard(view=view, npc=f"n{each}").seed for each in range(100)}
    assert seeds == {1, 2, 3, 4}
    assert guard(npc="n1").key == guard(npc="n1").key


@pytest.mark.parametrize(
    "asked",
    [
        {"archetype": "guard", "fields": {"threat": "15"}},
        {"archetype": "guard", "fields": {"threat": "1", "hour": "x"}, "cache": pb.CACHE_USE_OFF},
        {"archetype": "sage"},
        {"archetype": ""},
    ],
)
def test_without_rules_or_fields_nothing_is_cached(asked: dict[str, Any]) -> None:
    assert plan(**asked).key is None


def test_free_text_is_cached_by_its_whole_prompt_where_that_is_asked_for() -> None:
    one, two = (
        plan(archetype="bard"),
        plan(archetype="bard", prompt=pb.Prompt(parts=["A wolf!", "again"])),
    )
    longer = plan(archetype="bard", max_tokens=99)
    assert one.key is not None
    assert len({one.key, two.key, longer.key}) == 3
    assert len(one.key) == 16


def test_another_answer_will_do_only_where_the_ladder_has_the_cache() -> None:
    bare = read(FILE.replace("deferredTo: dialogue,", "fallback: [StaleCache],"))
    assert guard().shares
    assert not guard(view=bare).shares
    assert guard(view=bare).key is not None
    assert not plan().shares


def test_a_default_fits_the_actions_that_were_asked_for() -> None:
    assert guard(npc="a").default in {"patrol", "flee"}
    view = read()
    assert {guard(view=view, npc=str(n)).default for n in range(50)} == {"patrol", "flee"}
    assert guard(actions=["flee", "hide"]).default == "flee"
    assert guard(actions=["hide"]).default == ""
    assert plan(archetype="bard").default == "Hm?"
    assert plan(archetype="sage").default == ""
    assert plan().default == ""


def test_choices_keep_together_by_archetype_and_conversations_by_npc() -> None:
    assert guard(npc="n1").affinity == "guard"
    assert plan(archetype="bard", npc="n1").affinity == "n1"
    assert plan(archetype="bard").affinity == "bard"


def test_a_deferred_question_has_the_other_roles_time_and_no_cache() -> None:
    view = read()
    planner = Planner(view)
    world = view.worlds["games/eldermoor"]
    first = planner.plan(
        world, pb.Question(role="reaction", prompt=pb.Prompt(parts=["x"]), archetype="wolf")
    )
    moved = first.moved(planner.route(world, "dialogue"))
    assert moved.route.tier.key == "shared/silver"
    assert moved.deadline_ms == 400
    assert moved.key is None
    assert planner.route(world, "dialogue") is planner.route(world, "dialogue")


def test_a_prompt_is_one_message_and_a_chat_stays_one() -> None:
    assert messages(pb.Question(prompt=pb.Prompt(parts=["a", "b"]))) == [
        {"role": "user", "content": "a\nb"}
    ]
    chat = [
        pb.Message(speaker=pb.SPEAKER_SYSTEM, text="s"),
        pb.Message(speaker=pb.SPEAKER_ASSISTANT, text="t"),
    ]
    assert messages(pb.Question(chat=pb.Chat(messages=chat))) == [
        {"role": "system", "content": "s"},
        {"role": "assistant", "content": "t"},
    ]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"actions": [f"a{n}" for n in range(27)]}, "actions must be at most 26, one letter each: 27 were given"),
        ({"actions": ["a", "a"]}, "actions must differ from each other"),
        ({"actions": ["a", ""]}, "each of actions must have 1 to 128 bytes"),
        ({"actions": ["ä" * 65]}, "each of actions must have 1 to 128 bytes"),
        ({"max_tokens": 2049}, "max_tokens must be at most 2048"),
        ({"role": "dialogue", "max_tokens": 513}, "max_tokens must be at most 512"),
        ({"deadline_ms": 600_001}, "deadline_ms must be at most 600000"),
        ({"npc": "n" * 129}, "npc must have at most 128 characters"),
        ({"prompt": pb.Prompt()}, "give a prompt with parts, or a chat with messages"),
        ({"prompt": None, "chat": pb.Chat()}, "give a prompt with parts, or a chat with messages"),
        ({"prompt": pb.Prompt(parts=["x"] * 65)}, "prompt.parts and chat.messages have at most 64 entries"),
        ({"prompt": None, "chat": pb.Chat(messages=[pb.Message(speaker=pb.SPEAKER_USER)] * 65)}, "prompt.parts and chat.messages have at most 64 entries"),
        ({"prompt": None, "chat": pb.Chat(messages=[pb.Message(text="x")])}, "chat.messages.speaker must be SYSTEM, USER or ASSISTANT"),
        ({"role": "dialogue", "prompt": pb.Prompt(parts=["x" * 6657])}, "the prompt has 6657 characters; at most 6656 fit the 512 tokens of shared/silver"),
        ({"archetype": "guard", "fields": {str(n): "" for n in range(65)}}, "fields must be at most 64"),
        ({"archetype": "guard", "fields": {"threat": "1", "hour": "x" * 257}}, "fields.hour must have at most 256 characters"),
        ({"archetype": "guard", "fields": {"threat": "high", "hour": "1"}}, "fields.threat: 'high' is not a number"),
    ],
)  # fmt: skip
def test_a_question_that_is_wrong_gets_to_know_what_and_how_to_correct_it(
    asked: dict[str, Any], expected: str
) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        plan(**asked)
    assert str(caught.value) == expected
    assert caught.value.field
    assert caught.value.field.partition(".")[0] in pb.Question.DESCRIPTOR.fields_by_name


def test_a_prompt_is_measured_in_characters_and_not_in_bytes() -> None:
    assert plan(role="dialogue", prompt=pb.Prompt(parts=["ä" * 6656])).tokens == 64


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"role": "reactoin"}, "role 'reactoin' not found in world games/eldermoor; available: dialogue, reaction"),
        ({"archetype": "gaurd"}, "archetype 'gaurd' not found in world games/eldermoor; available: bard, guard, sage, wolf"),
    ],
)  # fmt: skip
def test_what_does_not_exist_is_reported_with_what_does(
    asked: dict[str, Any], expected: str
) -> None:
    with pytest.raises(NotFoundError) as caught:
        plan(**asked)
    assert str(caught.value) == expected


def test_a_role_whose_tier_is_gone_says_so() -> None:
    view = read()
    without = View(tiers={}, worlds=view.worlds)
    with pytest.raises(NotFoundError, match="shared/gold is not there"):
        plan(without)


def test_many_names_are_listed_in_short() -> None:
    many = "version: 1\narchetypes:\n" + "".join(f"  n{each:02}: {{}}\n" for each in range(12))
    with pytest.raises(NotFoundError, match="n08, n09 and 2 more"):
        plan(read(npcs=many), archetype="x")


def test_a_world_without_archetypes_has_none() -> None:
    view = read(FILE.replace("  archetypes: npcs.yaml\n", ""))
    with pytest.raises(NotFoundError, match="the world has none"):
        plan(view, archetype="guard")


def test_a_file_makes_a_view() -> None:
    view = read()
    assert view.tiers["shared/gold"].tier_class is LatencyClass.GOLD
    assert view.tiers["shared/gold"].model == "gold"
    assert view.tiers["shared/silver"].model == "npc"
    assert [each.address for each in view.tiers["shared/gold"].endpoints] == [
        "10.0.0.1:8000",
        "10.0.0.2:8000",
    ]
    assert view.worlds_of("games/server") == [view.worlds["games/eldermoor"]]
    assert view.worlds["games/eldermoor"].archetypes == Archetypes(
        archetypes.parse({"npcs.yaml": NPCS})
    )


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("class: Gold", "class: Golden", "tiers.0.class: "),
        ("shared/gold,", "gold,", "worlds.games/eldermoor.roles.reaction: tier games/gold does not exist: shared/gold, shared/silver"),
        ("deferredTo: dialogue", "deferredTo: nobody", "role reaction: deferredTo names no other role"),
        ("slots: 16", "slot: 16", "tiers.0.slot: "),
        ("10.0.0.1:8000", "10.0.0.1", "tiers.0.endpoints.0: "),
        ("10.0.0.1:8000", "10.0.0.1:99999", "a port is at most 65535"),
        ("tiers:", "tiers: [", "no YAML: "),
        ("slots: 16", "slots: 2020-13-45", "no YAML: "),
        ("tiers:\n", "tiers: " + "[" * 1500 + "\n", "no YAML"),
    ],
)  # fmt: skip
def test_a_file_that_is_wrong_is_refused_by_name(old: str, new: str, expected: str) -> None:
    with pytest.raises(ViewError) as caught:
        read(FILE.replace(old, new, 1))
    assert expected in str(caught.value)


def test_a_file_whose_archetypes_are_wrong_is_refused_with_their_line() -> None:
    with pytest.raises(ViewError, match=r"worlds.games/eldermoor.archetypes: npcs.yaml line 1: "):
        read(npcs="version: 3\narchetypes: {a: {}}\n")


def test_an_empty_file_is_refused() -> None:
    with pytest.raises(ViewError, match="the file: "):
        view_file.parse("", str)
