"""The manifests of a cluster serve a gateway on a laptop too."""

from pathlib import Path

import pytest
import yaml
from gameai.gateway.sources import view_file
from gameai.gateway.sources.view_file import ViewError
from gameai_contract.inference import FALLBACK_CHAIN
from gameai_contract.names import PART_OF

ROOT = Path(__file__).resolve().parents[2]
TIER = "kind: ModelTier\nmetadata: {name: gold, namespace: moor}\nspec: {class: Gold}\n"
WORLD = "kind: GameWorld\nmetadata: {name: w, namespace: moor}\nspec: {roles: [{name: act, tierRef: {name: gold}}]}\n"
FILES = ("gameworld-eldermoor", "archetypes-eldermoor", "modeltier-gold", "modeltier-silver", "modeltier-shared")  # fmt: skip


def read(*documents: str, endpoints: dict[str, list[str]] | None = None) -> object:
    return view_file.parse("---\n".join(documents), str, endpoints or {})


def test_the_examples_of_the_cluster_are_a_view() -> None:
    text = "---\n".join((ROOT / "examples" / f"{name}.yaml").read_text() for name in FILES)
    view = view_file.parse(text, str, {"eldermoor/gold": ["127.0.0.1:8001", "127.0.0.1:8002"]})
    gold = view.tiers["eldermoor/gold"]
    assert [each.address for each in gold.endpoints] == ["127.0.0.1:8001", "127.0.0.1:8002"]
    world = view.worlds["eldermoor/moor"]
    assert set(world.roles) == {"reaction", "dialogue", "story"}
    assert world.roles["reaction"].deadline_ms == 16
    assert world.roles["reaction"].deferred_to == "dialogue"
    assert world.roles["dialogue"].fallback_chain == FALLBACK_CHAIN
    assert world.roles["dialogue"].deadline_ms == 250
    assert world.roles["story"].tier == "shared/bronze"
    assert world.callers == {"game-servers/eldermoor"}
    assert "guard" in world.archetypes


def test_a_namespace_that_is_left_out_is_default() -> None:
    text = (TIER + "---\n" + WORLD).replace(", namespace: moor", "")
    view = view_file.parse(text + "---\n# nothing\n", str)
    assert list(view.worlds) == ["default/w"]
    assert view.tiers["default/gold"].endpoints == ()


def test_a_list_as_kubectl_prints_it_is_read() -> None:
    items = [yaml.safe_load(each) for each in (TIER, WORLD)]
    view = view_file.parse(yaml.safe_dump({"kind": "List", "items": items}), str)
    assert (list(view.tiers), list(view.worlds)) == (["moor/gold"], ["moor/w"])
    with pytest.raises(ViewError, match="the file has no GameWorld"):
        view_file.parse("kind: List\nitems: 7\n", str)


@pytest.mark.parametrize(
    ("documents", "endpoints", "message"),
    [
        ((TIER,), {}, "the file has no GameWorld: add its manifest"),
        ((WORLD,), {}, "tier moor/gold does not exist: add its ModelTier to the file"),
        ((TIER, WORLD), {"moor/silver": ["a:1"]}, "--endpoint moor/silver: the file has no such ModelTier; it has moor/gold"),
        ((WORLD,), {"moor/silver": ["a:1"]}, "the file has no such ModelTier; it has none"),
        ((TIER.replace("Gold", "Platinum"), WORLD), {}, "ModelTier moor/gold: spec.class must be Gold, Silver or Bronze"),
        ((TIER.replace("class: Gold", ""), WORLD), {}, "ModelTier moor/gold: spec.class is missing or invalid"),
        ((TIER.replace("name: gold, ", ""), WORLD), {}, "ModelTier: metadata.name is missing"),
        ((TIER, WORLD.replace("tierRef: {name: gold}", "")), {}, "name and tierRef: {name: …} must be set"),
        ((TIER, WORLD.replace("spec: {", "spec: {callers: [{namespace: a}], ")), {}, "roles and callers must be as `kubectl explain gworld.spec` shows them: 'serviceAccount'"),
        ((TIER, WORLD.replace("tierRef:", "tierref:")), {}, "tierref is not a field (name, tierRef, deadlineMs, fallback, deferredTo, share); did you mean tierRef?"),
        ((TIER, WORLD.replace("spec: {", "spec: {archetypes: {configMap: {name: npcs}}, ")), {}, "ConfigMap moor/npcs does not exist: add it to the file"),
        (("tiers: []\nworlds: []\n",), {"a/b": ["c:1"]}, "--endpoint needs manifests: this file has its own endpoints"),
    ],
)  # fmt: skip
def test_what_is_missing_is_named(
    documents: tuple[str, ...], endpoints: dict[str, list[str]], message: str
) -> None:
    with pytest.raises(ViewError) as caught:
        read(*documents, endpoints=endpoints)
    assert message in str(caught.value)


def test_broken_archetypes_are_named_with_their_configmap() -> None:
    world = WORLD.replace("spec: {", "spec: {archetypes: {configMap: {name: npcs}}, ")
    bad = {"kind": "ConfigMap", "metadata": {"name": "npcs", "namespace": "moor", "labels": dict(PART_OF)}, "data": {"a.yaml": "version: 1\narchetypes: {guard: {actons: []}}\n"}}  # fmt: skip
    with pytest.raises(ViewError, match=r"ConfigMap moor/npcs: a\.yaml .*did you mean actions"):
        read(TIER, world, yaml.safe_dump(bad))


def test_what_a_cluster_would_refuse_is_refused_here_too() -> None:
    misspelt = WORLD.replace("tierRef:", "deadlineMS: 16, tierRef:", 1)
    with pytest.raises(ViewError, match=r"deadlineMS is not a field .*did you mean deadlineMs\?"):
        read(TIER, misspelt)
    other = WORLD.replace("spec: {", "spec: {archetypes: {configMap: {name: npcs}}, ")
    bare = {"kind": "ConfigMap", "metadata": {"name": "npcs", "namespace": "moor"}, "data": {}}
    with pytest.raises(
        ViewError, match=r"the label app\.kubernetes\.io/part-of: gameai is missing"
    ):
        read(TIER, other, yaml.safe_dump(bare))
    with pytest.raises(ViewError, match=r"moor/gld does not exist: .*did you mean moor/gold\?"):
        read(TIER, WORLD.replace("name: gold", "name: gld"))
