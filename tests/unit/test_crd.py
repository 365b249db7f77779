import dataclasses
from typing import Annotated, Any

import pytest
import yaml
from gameai_operator.__main__ import main
from gameai_operator.api import crd
from gameai_operator.api.base import Model
from gameai_operator.api.schema import SchemaError, structural
from gameai_operator.api.schema_revisions import NEWEST, REVISIONS
from gameai_operator.api.tier import ModelTier, ModelTierStatus
from gameai_operator.kinds import WATCHED, kinds
from gameai_operator.settings import Settings
from gameai_operator.tier.status import FIELDS
from pydantic import Field, ValidationError

SCHEMA = crd.document(crd.MODEL_TIER)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]


def properties(schema: dict[str, Any], where: str = "") -> list[tuple[str, dict[str, Any]]]:
    found = []
    for name, each in schema.get("properties", {}).items():
        found += [(f"{where}.{name}", each), *properties(each, f"{where}.{name}")]
        found += properties(each.get("items", {}), f"{where}.{name}[]")
    return found


SPEC = [(path, each) for path, each in properties(SCHEMA) if path.startswith(".spec")]


@pytest.mark.parametrize(("path", "schema"), SPEC, ids=[path for path, _ in SPEC])
def test_every_field_has_words_a_bound_and_a_default_or_an_example(
    path: str, schema: dict[str, Any]
) -> None:
    words = schema.get("description", "")
    assert words.endswith(".")
    if "properties" in schema or path in (".spec", ".spec.class"):
        return
    documented = any(word in words for word in ("Default", "Example", "Absent")) or "enum" in schema
    assert documented, words
    kind = schema.get("type", "string")
    bound = {
        "string": "maxLength" in schema or "enum" in schema,
        "integer": "maximum" in schema,
        "array": "maxItems" in schema,
        "object": "maxProperties" in schema,
    }
    assert bound[kind], schema


def test_maps_are_bounded() -> None:
    maps = [schema for _, schema in SPEC if "additionalProperties" in schema]
    assert maps
    assert all("maxProperties" in schema for schema in maps)


def test_status_begins_unobserved_and_requires_nothing() -> None:
    status = SCHEMA["properties"]["status"]
    assert status["default"] == {"observedGeneration": -1}
    assert "required" not in status


@pytest.mark.parametrize(
    ("definition", "replicas"),
    [(crd.MODEL_TIER, ".spec.replicas"), (crd.KNOWLEDGE_BASE, ".spec.service.replicas")],
    ids=["tier", "knowledge base"],
)
def test_scale_has_all_three_paths(definition: crd.Definition, replicas: str) -> None:
    scale = crd.document(definition)["spec"]["versions"][0]["subresources"]["scale"]
    assert scale == {
        "specReplicasPath": replicas,
        "statusReplicasPath": ".status.replicas",
        "labelSelectorPath": ".status.selector",
    }


def test_a_kind_without_scale_has_none() -> None:
    plain = dataclasses.replace(crd.MODEL_TIER, scale="")
    assert crd.document(plain)["spec"]["versions"][0]["subresources"] == {"status": {}}


@pytest.mark.parametrize(
    ("revision", "same_hash", "fits"),
    [
        (str(NEWEST), True, True),
        (str(NEWEST), False, False),
        (str(NEWEST + 1), False, True),
        (str(NEWEST - 1), True, False),
        ("x", True, False),
    ],
)
def test_an_operator_takes_its_own_crd_or_a_newer(
    revision: str, same_hash: bool, fits: bool
) -> None:
    own = crd.schema_hash(crd.MODEL_TIER) if same_hash else "other"
    words = crd.fault(crd.MODEL_TIER, {crd.SCHEMA_REVISION: revision, crd.SCHEMA_HASH: own})
    assert (words is None) is fits
    assert words is None or "kubectl apply --server-side -f crds/modeltiers.yaml" in words


def test_what_an_api_server_refuses_is_not_emitted() -> None:
    class Wrong(Model):
        number: Annotated[int, Field(gt=0)]

    with pytest.raises(SchemaError, match="exclusiveMinimum"):
        structural(Wrong)


def test_a_tier_ignores_fields_of_a_newer_crd_and_refuses_nonsense() -> None:
    metadata = {"name": "a", "namespace": "b", "uid": "c"}
    source = {"huggingFace": {"repository": "a/b"}}
    spec = {"class": "Gold", "model": {"source": source}, "tomorrow": 1}
    tier = ModelTier.model_validate({"metadata": metadata, "spec": spec})
    assert tier.spec.replicas is None
    with pytest.raises(ValidationError):
        ModelTier.model_validate({"metadata": metadata, "spec": spec | {"class": "Iron"}})


def test_a_number_is_a_quantity_too() -> None:
    metadata = {"name": "a", "namespace": "b", "uid": "c"}
    source = {"huggingFace": {"repository": "a/b"}}
    spec = {"class": "Gold", "model": {"source": source}, "hardware": {"cpu": 3, "memory": "1Gi"}}
    assert ModelTier.model_validate({"metadata": metadata, "spec": spec}).spec.hardware.cpu == "3"


def test_the_operator_owns_every_status_field_there_is() -> None:
    fields = {each.alias for each in ModelTierStatus.model_fields.values()}
    assert {*FIELDS, "operator", "scaling", "performance", "conditions"} == fields


def test_the_table_of_kinds_and_the_crds_are_one() -> None:
    table = kinds(Settings())
    assert [each.definition for each in table.values()] == list(crd.DECLARED)
    assert list(table) == [each.kind for each in crd.DECLARED]
    assert {each.kind for each in crd.DEFINITIONS} <= {*table, *WATCHED}


def test_what_is_no_users_to_declare_is_in_no_category_and_has_no_conditions() -> None:
    names = crd.document(crd.WORLD_VIEW)["spec"]["names"]
    assert not {"categories", "shortNames"} & set(names)
    [version] = crd.document(crd.WORLD_VIEW)["spec"]["versions"]
    assert version["subresources"] == {"status": {}}
    assert set(version["schema"]["openAPIV3Schema"]["properties"]["status"]["properties"]) == {
        "parked"
    }


def test_the_command_prints_the_crds(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["crds"]) == 0
    documents = list(yaml.safe_load_all(capsys.readouterr().out))
    assert documents == [crd.document(each) for each in crd.DEFINITIONS]


def test_run_refuses_a_wrong_flag_with_its_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--workers=0"]) == 2
    assert capsys.readouterr().err == "error: --workers must be from 1 to 100\n"


def test_a_changed_schema_has_a_new_revision() -> None:
    found = {each.kind: crd.schema_hash(each) for each in crd.DEFINITIONS}
    assert found == REVISIONS[NEWEST], (
        "the schema changed: write these hashes into api/schema_revisions.py, as a new revision if the newest is released"
    )
