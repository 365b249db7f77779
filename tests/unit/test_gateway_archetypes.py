"""Archetypes of tenants take a bounded part of a gateway's memory."""

import tracemalloc
import weakref
from dataclasses import replace

import pytest
from gameai.errors import NotFoundError
from gameai.gateway.routing import archetypes as index
from gameai.gateway.routing.archetypes import NONE, OVER_BUDGET, Archetypes, Library, within_budget
from gameai.gateway.routing.resolve import Planner
from gameai.gateway.routing.snapshot import WorldView
from gameai.gateway.sources import decode
from gameai.inference.v1 import inference_pb2 as pb
from gameai_contract import archetypes
from gameai_contract.archetypes import MOST_DOCUMENT_BYTES, parse_document
from support import inference


def worst(seed: int = 0) -> str:
    """A legal document that holds most for its size: cache fields without a rule, of names that differ."""

    def fields(number: int) -> str:
        return ",".join(f'"f{seed}x{number}y{each}":{{}}' for each in range(32))

    many = ",".join(f'"a{each}":{{"cache":{{"fields":{{{fields(each)}}}}}}}' for each in range(260))
    return f'{{"version":1,"archetypes":{{{many}}}}}'


def sized(*archetype_bytes: int) -> list[Archetypes]:
    found = []
    for each in archetype_bytes:
        made = Archetypes({})
        made.held_bytes = each
        found.append(made)
    return found


def test_a_document_is_kept_in_a_fifth_of_what_its_models_take() -> None:
    text = worst()
    assert len(text) <= MOST_DOCUMENT_BYTES
    tracemalloc.start()
    parsed = parse_document(text)
    models = tracemalloc.get_traced_memory()[0]
    made = Archetypes(parsed)
    del parsed
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert held <= models / 5
    assert held / 2 <= made.held_bytes <= held * 2


def test_equal_documents_are_read_once_and_go_with_the_last_world() -> None:
    library, text = Library(), worst(7)
    one, two = library.read("a", text), library.read("a", str(text.encode(), "utf-8"))
    assert one is two is library.read("b", text)
    gone = weakref.ref(one)
    del one, two
    assert gone() is None
    assert set(library.read("c", '{"version":1,"archetypes":{"a":{}}}')) == {"a"}
    assert set(library._spaces) == {"c"}


def test_a_document_larger_than_the_operator_hands_on_is_refused() -> None:
    with pytest.raises(archetypes.ArchetypeError, match="at most 512 KiB"):
        Library().read("a", "x" * (513 << 10))


def test_a_namespace_keeps_no_more_than_its_budget_and_leaves_others_theirs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    texts = [worst(each) for each in range(4)]
    monkeypatch.setattr(
        index,
        "MOST_NAMESPACE_BYTES",
        int(2.5 * Archetypes(parse_document(texts[0])).held_bytes),
    )
    library = Library()
    found = [library.read("greedy", each) for each in texts]
    assert [each is OVER_BUDGET for each in found] == [False, False, True, True]
    assert library.read("innocent", texts[3]) is not OVER_BUDGET
    found.pop(0)
    assert library.read("greedy", texts[2]) is not OVER_BUDGET, "room that is given back"


def test_what_would_be_too_much_is_not_even_read(monkeypatch: pytest.MonkeyPatch) -> None:
    text = worst()
    monkeypatch.setattr(index, "MOST_NAMESPACE_CHARACTERS", len(text) + 10)
    library = Library()
    first = library.read("greedy", text)
    assert first is not OVER_BUDGET
    assert library.read("greedy", "no document at all") is OVER_BUDGET


def test_everything_is_used_while_it_fits() -> None:
    small, other = sized(10, 20)
    assert within_budget({"a/1": small, "b/1": other}) == {"a/1", "b/1"}
    assert within_budget({}) == frozenset()


def test_a_namespace_that_holds_much_is_never_the_reason_to_refuse_another() -> None:
    most = 100
    greedy = {f"greedy/{each}": made for each, made in enumerate(sized(*[60] * 3))}
    innocent = dict(zip(("a/1", "b/1"), sized(30, 40), strict=True))
    assert within_budget(greedy | innocent, most) == {"a/1", "b/1"}
    same, more = sized(60, 40)
    assert within_budget({"a/1": same, "a/2": same, "b/1": more}, most) == {"a/1", "a/2", "b/1"}


def test_what_does_not_fit_is_refused_in_words_that_name_the_remedy() -> None:
    npcs = Archetypes(archetypes.parse({"n.yaml": "version: 1\narchetypes: {guard: {}}\n"}))
    bare = WorldView(key="a/1", epoch="1", roles={})
    assembly = decode.Assembly()
    view = assembly.view([], [], [decode.WorldFound(bare, frozenset(), OVER_BUDGET)], 1)
    assert assembly.over_budget == {"a/1"}
    assert view.worlds["a/1"].archetypes is OVER_BUDGET
    view = assembly.view([], [], [decode.WorldFound(bare, frozenset(), npcs)], 1)
    assert assembly.over_budget == frozenset()
    assert set(view.worlds["a/1"].archetypes) == {"guard"}


def test_a_question_to_such_a_world_says_why_its_archetypes_are_missing() -> None:
    world = replace(inference.world(), archetypes=OVER_BUDGET)
    question = pb.Question(role="reaction", archetype="guard", prompt=pb.Prompt(parts=["?"]))
    with pytest.raises(NotFoundError, match="fewer or smaller documents"):
        Planner(inference.view((), (), world)).plan(world, question)


def test_what_is_over_budget_is_not_what_has_no_archetypes() -> None:
    assert Archetypes({}) == NONE
    assert NONE != OVER_BUDGET
    assert OVER_BUDGET != NONE
    assert OVER_BUDGET == OVER_BUDGET  # noqa: PLR0124 - its own equality is asked


def test_many_worlds_of_a_tenant_take_a_bounded_part_of_the_memory() -> None:
    texts = [worst(each) for each in range(40)]
    tracemalloc.start()
    library = Library()
    found = [library.read("greedy", text) for text in texts]
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert held <= 64 << 20
    assert sum(each is OVER_BUDGET for each in found) >= 20
