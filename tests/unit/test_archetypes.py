"""The archetype document: what is read, what is refused and with which words, and how values become keys."""

import pytest
from gameai_contract import archetypes
from gameai_contract.archetypes import Archetype, ArchetypeError, Quantiser

GUARD = """\
version: 1
archetypes:
  guard:
    text: Keeps the gate.
    actions: [patrol, attack, flee]
    defaults: [patrol]
    cache:
      scope: World
      fields:
        threat: {step: 10}
        hour: {bounds: [6, 12, 20]}
        weather: {values: [storm, rain]}
        gate: {}
      variants: 2
      ttlSeconds: 30
      staleGraceSeconds: 600
"""


def refused(text: str, file: str = "npcs.yaml") -> str:
    with pytest.raises(ArchetypeError) as caught:
        archetypes.parse({file: text})
    return str(caught.value)


def test_a_document_is_read() -> None:
    found = archetypes.parse({"npcs.yaml": GUARD, "README.md": "not a document"})
    guard = found["guard"]
    assert guard.actions == ["patrol", "attack", "flee"]
    assert guard.cache is not None
    assert guard.cache.ttl_seconds == 30
    assert set(guard.cache.fields) == {"threat", "hour", "weather", "gate"}


def test_json_is_read_too() -> None:
    found = archetypes.parse({"n.json": '{"version": 1, "archetypes": {"crow": {}}}'})
    assert found == {"crow": Archetype()}


def test_several_files_make_one_set() -> None:
    other = "version: 1\narchetypes:\n  smith: {}\n"
    assert set(archetypes.parse({"a.yaml": GUARD, "b.yml": other})) == {"guard", "smith"}


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("ttlSeconds: 30", "ttlSeconds: 0", "npcs.yaml line 15: archetypes.guard.cache.ttlSeconds: "),
        ("variants: 2", "variants: many", "npcs.yaml line 14: archetypes.guard.cache.variants: "),
        ("scope: World", "scop: World", "npcs.yaml line 8: archetypes.guard.cache.scop: "),
        ("version: 1", "version: 2", "npcs.yaml line 1: version: "),
        ("  guard:", "  The Guard:", "npcs.yaml line 3: archetypes.The Guard: "),
        ("[patrol, attack, flee]", "[patrol, patrol]", "line 5: archetypes.guard.actions: actions must differ"),
        ("defaults: [patrol]", "defaults: [patrl]", "archetypes.guard.defaults: the default 'patrl' is not one of the actions (patrol, attack, flee); did you mean patrol?"),
        ("{bounds: [6, 12, 20]}", "{bounds: [6, 6]}", "line 11: archetypes.guard.cache.fields.hour: bounds must rise"),
        ("text: Keeps the gate.", "prompt: Keeps the gate.", "prompt is not a known key (there are actions, cache, defaults, text): the game server sends who the NPC is, with the prompt of each question"),
        ("text: Keeps the gate.", "step: 3", "step is not a known key (there are actions, cache, defaults, text)"),
        ("ttlSeconds: 30", "ttl: 30", "ttl is not a known key; did you mean ttlSeconds?"),
        ("{step: 10}", "{steps: 10}", "steps is not a known key; did you mean step?"),
        ("{step: 10}", "[a, b]", "threat: must be {}, {step: 10}, {bounds: [6, 20]} or {values: [storm]}"),
        ("version: 1", "version: 2", "version: must be 1"),
        ("  guard:", "  Fish Wife:", "archetypes.Fish Wife: must have small letters, digits and -, at most 63"),
        ("threat: {step", "the threat: {step", "must have letters, digits, _, . and -, a letter first, at most 63"),
        ("defaults: [patrol]", "defaults: patrol", "archetypes.guard.defaults: must be a list: [a, b]"),
        ("{step: 10}", "{step: 10, bounds: [1]}", "give one of step, bounds and values"),
        ("{step: 10}", "{step: 0}", "line 10: archetypes.guard.cache.fields.threat.step: "),
        ("[patrol, attack, flee]", f"[{', '.join(f'a{n}' for n in range(27))}]", "line 5: archetypes.guard.actions: "),
        ("defaults: [patrol]", "defaults: [patrol]\n    defaults: [flee]", "line 7: the key 'defaults' stands twice"),
        ("[patrol]", "&x [patrol]\n    also: *x", "line 7: aliases are not read"),
        ("text: Keeps the gate.", "1: 2", "line 4: a key must be text"),
        ("[patrol, attack, flee]", "\n    - patrol\n    - ''", "npcs.yaml line 7: archetypes.guard.actions.1: "),
        ("    text: Keeps the gate.", "    text: [a]", "npcs.yaml line 4: archetypes.guard.text: "),
        ("threat: {step: 10}", "threat: 10", "npcs.yaml line 10: archetypes.guard.cache.fields.threat: "),
        ("  guard:", "  The Fool: 3\n  guard:", "npcs.yaml line 3: archetypes.The Fool: "),
        ("actions: [", "actions: [[", "npcs.yaml line 6: "),
        ("text: Keeps the gate.", "text: =", "npcs.yaml line 4: "),
        ("text: Keeps the gate.", "text: !foo x", "npcs.yaml line 4: "),
        ("text: Keeps the gate.", "text: 2020-13-45", "npcs.yaml line 1: month must be"),
        ("ttlSeconds: 30", "ttlSeconds: " + "9" * 5000, "npcs.yaml line 1: "),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_file_line_and_key(old: str, new: str, expected: str) -> None:
    assert expected in refused(GUARD.replace(old, new, 1))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "the document is empty"),
        ("- guard", "line 1: document: "),
        ("version: 1\narchetypes: {}\n", "line 2: archetypes: "),
        ("x" * (128 * 1024 + 1), "at most 128 KiB are read"),
        ("[" * 1500, "npcs.yaml"),
        ("a: \x00", "npcs.yaml: no YAML"),
    ],
)
def test_what_is_no_document_is_said_to_be_none(text: str, expected: str) -> None:
    assert expected in refused(text)


def test_a_configmap_without_documents_is_refused() -> None:
    assert "no document found" in refused(GUARD, "npcs.txt")


def test_an_archetype_may_stand_in_one_file_only() -> None:
    with pytest.raises(ArchetypeError, match=r"b\.yaml: archetypes\.guard: a\.yaml has it already"):
        archetypes.parse({"a.yaml": GUARD, "b.yaml": GUARD})


def test_all_files_that_are_wrong_are_named() -> None:
    with pytest.raises(ArchetypeError, match=r"a\.yaml.*b\.yaml"):
        archetypes.parse({"a.yaml": "", "b.yaml": ""})


@pytest.mark.parametrize(
    ("rule", "value", "key"),
    [
        ({}, "north gate", "north gate"),
        ({"step": 10}, "19.9", "1"),
        ({"step": 10}, "20", "2"),
        ({"step": 10}, "-0.5", "-1"),
        ({"step": "0.1"}, "0.3", "3"),
        ({"bounds": [6, 12]}, "5.99", "0"),
        ({"bounds": [6, 12]}, "6", "1"),
        ({"bounds": [6, 12]}, "99", "2"),
        ({"values": ["storm"]}, "storm", "storm"),
        ({"values": ["storm"]}, "snow", "\x00other"),
    ],
)
def test_a_value_becomes_the_part_of_a_key(rule: dict[str, object], value: str, key: str) -> None:
    assert Quantiser.model_validate(rule).quantisation().quantise(value) == key


@pytest.mark.parametrize(
    "value", ["", "warm", "nan", "inf", "-inf", "1e999999", "1e999999999999", "9" * 40]
)
def test_where_a_number_is_wanted_nothing_else_passes(value: str) -> None:
    for rule in ({"step": 1}, {"bounds": [1]}):
        with pytest.raises(ValueError, match="is not a number"):
            Quantiser.model_validate(rule).quantisation().quantise(value)


def test_the_published_schema_describes_every_field() -> None:
    schema = archetypes.json_schema()
    assert schema["properties"]["version"]["const"] == 1
    rules = schema["$defs"]["CacheRules"]["properties"]
    assert {"scope", "fields", "freeText", "variants", "ttlSeconds", "staleGraceSeconds"} == set(
        rules
    )
    assert all("description" in each for each in rules.values())


def test_an_unknown_key_is_reported_with_the_nearest() -> None:
    text = "version: 1\narchetypes:\n  guard: {actons: [patrol]}\n"
    with pytest.raises(
        archetypes.ArchetypeError, match=r"actons is not a known key; did you mean actions\?"
    ):
        archetypes.parse({"npcs.yaml": text})
    strange = "version: 1\nzzzzzz: 1\narchetypes: {}\n"
    with pytest.raises(
        archetypes.ArchetypeError,
        match=r"zzzzzz is not a known key \(there are archetypes, version\)$",
    ):
        archetypes.parse({"npcs.yaml": strange})


@pytest.mark.parametrize(
    "value",
    [
        '!!int ""', "!!int +", "!!int _", '!!float ""', '!!bool "x"', '!!timestamp "x"', '!!binary "x"',
        '"\\U00110000"', '"\\Uffffffff"', "!!set {a}", "!!omap [a]", "!!pairs [a]",
    ],
)  # fmt: skip
def test_whatever_yaml_can_hold_is_a_mistake_with_a_line_and_no_crash(value: str) -> None:
    text = f"version: 1\narchetypes:\n  guard: {{text: {value}}}\n"
    with pytest.raises(archetypes.ArchetypeError, match=r"^a\.yaml"):
        archetypes.parse({"a.yaml": text})


def test_what_is_wrong_with_many_documents_is_said_in_few_words() -> None:
    """A user must not fill the memory of the operator with messages."""
    files = {f"{'x' * 200}-{number}.yaml": "]" for number in range(4000)}
    with pytest.raises(ArchetypeError) as caught:
        archetypes.parse(files)
    assert len(str(caught.value)) <= 2048
    large = {f"{'x' * 200}-{number}.yaml": "a" * 200 for number in range(4000)}
    with pytest.raises(ArchetypeError, match="together at most") as caught:
        archetypes.parse(large)
    assert len(str(caught.value)) <= 2200
